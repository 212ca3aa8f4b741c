/**
 * Write logs made up byte by byte, as ffi/writer.c describes them.
 *
 * @module
 */
import { Crc64 } from "../../src/ltx/checksum.ts";
import { samplePage } from "../support/ltx_files.ts";

const HEADER_SIZE = 64;
const FRAME_HEADER_SIZE = 40;

/** A frame; `commit` 0: not the last one of its transaction. */
export interface MadeFrame {
  readonly pgno: number;
  readonly commit?: number;
  readonly txid?: bigint;
  readonly timeMs?: number;
  /** Bytes of the file that were on the disk when it was written. */
  readonly synced?: number;
  readonly page?: Uint8Array;
}

/** What is in a log's header. */
export interface MadeHeader {
  readonly magic?: string;
  readonly version?: number;
  readonly pageSize?: number;
  readonly base?: Uint8Array;
  /** The CRC where the file before ends. */
  readonly crcBefore?: bigint;
}

/** Where the frame of that number begins. */
export function frameOffset(index: number, pageSize = 512): number {
  return HEADER_SIZE + index * (FRAME_HEADER_SIZE + pageSize);
}

/** A log of these frames. */
export function logBytes(frames: readonly MadeFrame[], header: MadeHeader = {}): Uint8Array<ArrayBuffer> {
  const { pageSize = 512 } = header;
  const bytes = new Uint8Array(frameOffset(frames.length, pageSize));
  const view = new DataView(bytes.buffer);
  writeHeader(bytes, view, header);
  const crc = new Crc64().update(bytes.subarray(0, HEADER_SIZE));
  for (const [i, frame] of frames.entries()) {
    const { pgno, commit = 0, txid = 0n, timeMs = 0, synced = 0, page = samplePage(pageSize, pgno) } = frame;
    const at = frameOffset(i, pageSize);
    view.setUint32(at, pgno);
    view.setUint32(at + 4, commit);
    view.setBigUint64(at + 8, BigInt(timeMs));
    view.setBigUint64(at + 16, txid);
    view.setBigUint64(at + 24, BigInt(synced));
    bytes.set(page, at + FRAME_HEADER_SIZE);
    view.setBigUint64(at + 32, crc.update(bytes.subarray(at, at + 32)).update(page).digest());
  }
  return bytes;
}

function writeHeader(bytes: Uint8Array, view: DataView, header: MadeHeader): void {
  const { magic = "LSWL", version = 1, pageSize = 512, base = new Uint8Array(24).fill(7), crcBefore } =
    header;
  bytes.set(new TextEncoder().encode(magic));
  view.setUint32(4, version);
  view.setUint32(8, pageSize);
  bytes.set(new Uint8Array(16).fill(0x5a), 16);
  if (crcBefore !== undefined) {
    view.setUint32(12, 1);
    view.setBigUint64(24, crcBefore);
  }
  bytes.set(base, 32);
  view.setBigUint64(56, new Crc64().update(bytes.subarray(0, 56)).digest());
}
