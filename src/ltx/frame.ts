import { ltxFault } from "./fault.ts";
import type { Lz4 } from "./lz4.ts";
import { xxHash32 } from "./xxhash32.ts";

/** Bytes of the page header that begins every frame; all zero, it ends the frames. */
export const PAGE_HEADER_SIZE = 6;

/** Page flag: a size and one raw LZ4 block follow. Without it, one LZ4 frame follows. */
const SIZE_FLAG = 0x1;

const SIZE_FIELD_SIZE = 4;

/** LZ4 frame magic; version 1, independent blocks, content checksum; blocks up to 64 KiB; the checksum of these. */
const LZ4_FRAME_HEAD = new Uint8Array([0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7]);
const LZ4_STORED = 0x8000_0000;

/** How a frame stores its page: `"block"` since Litestream 0.5.16, `"frame"` (of LZ4) in 0.5.0 to 0.5.15. */
export type FrameEncoding = "block" | "frame";

/** One stored page. */
export interface Frame {
  /** Page number, from 1. */
  readonly pgno: number;
  /** How the page was stored. */
  readonly encoding: FrameEncoding;
  /** Bytes before the compressed page: 10 or 6. The file's checksum covers them as stored. */
  readonly headerSize: number;
  /** The page, uncompressed; new, and the caller's. */
  readonly page: Uint8Array;
}

/** What must be known to decode a frame. */
export interface FrameContext {
  /** The page the page index promises here. */
  pgno: number;
  /** Bytes of a page, from the file's header. */
  pageSize: number;
  /** Decompresses the page. */
  lz4: Lz4;
  /** Where the frame begins in its file; places errors. */
  offset?: number;
  /** Names the file in errors. */
  key?: string;
}

/** The smallest frame there can be, in bytes: both headers and a block of one byte. */
export const MIN_FRAME_SIZE: number = PAGE_HEADER_SIZE + SIZE_FIELD_SIZE + 1;

/**
 * Gives the largest frame that a page can need, in bytes: a block frame of incompressible bytes.
 *
 * @see LTX format version 3, §17
 */
export function maxFrameSize(pageSize: number): number {
  return PAGE_HEADER_SIZE + SIZE_FIELD_SIZE + pageSize + Math.floor(pageSize / 255) + 16;
}

/**
 * Decodes one frame of either encoding. `bytes` is exactly the frame, as the page index bounds it; it is read, not
 * kept.
 *
 * A block carries no checksum: of a flipped bit inside one, nothing is noticed here as long as a page of the right size
 * comes out.
 *
 * @throws {LtxFormatError} the frame is another page's, has unknown flags, does not fill `bytes` exactly, or does not
 *   decompress to exactly one page
 * @see LTX format version 3, §4
 */
export function decodeFrame(bytes: Uint8Array, context: FrameContext): Frame {
  const { pgno, pageSize, lz4, key, offset } = context;
  const fault = (found: string, expected: string, at = 0): Error =>
    ltxFault(`decode page ${pgno}`, found, expected, {
      key,
      offset: offset === undefined ? undefined : offset + at,
    });
  if (bytes.length < MIN_FRAME_SIZE || bytes.length > maxFrameSize(pageSize)) {
    throw fault(`its frame has ${bytes.length} bytes`, `${MIN_FRAME_SIZE} to ${maxFrameSize(pageSize)}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const flags = view.getUint16(4);
  if (view.getUint32(0) !== pgno) throw fault(`its frame is of page ${view.getUint32(0)}`, `${pgno}`);
  if ((flags & ~SIZE_FLAG) !== 0) throw fault(`page flags are 0x${flags.toString(16)}`, "0x0 or 0x1", 4);
  const encoding = flags === SIZE_FLAG ? "block" : "frame";
  const headerSize = encoding === "block" ? PAGE_HEADER_SIZE + SIZE_FIELD_SIZE : PAGE_HEADER_SIZE;
  const payload = bytes.subarray(headerSize);
  if (encoding === "block" && view.getUint32(PAGE_HEADER_SIZE) !== payload.length) {
    throw fault(
      `compressed size is ${view.getUint32(PAGE_HEADER_SIZE)}`,
      `${payload.length}`,
      PAGE_HEADER_SIZE,
    );
  }
  const page = encoding === "block"
    ? lz4.decompressBlock(payload, pageSize)
    : lz4.decompressFrame(payload, pageSize);
  if (page?.length !== pageSize) {
    throw fault(`its LZ4 ${encoding} is malformed`, `one of ${pageSize} bytes`, headerSize);
  }
  return { pgno, encoding, headerSize, page };
}

/**
 * Encodes one page to a new frame. `page` has the file's page size and is not kept; `pgno` and the size are the
 * caller's to check.
 *
 * @see LTX format version 3, §4.2 and §4.3
 */
export function encodeFrame(
  page: Uint8Array,
  { pgno, encoding, lz4 }: { pgno: number; encoding: FrameEncoding; lz4: Lz4 },
): Uint8Array<ArrayBuffer> {
  return encoding === "block" ? encodeBlockFrame(page, pgno, lz4) : encodeLz4Frame(page, pgno, lz4);
}

function encodeBlockFrame(page: Uint8Array, pgno: number, lz4: Lz4): Uint8Array<ArrayBuffer> {
  const block = lz4.compressBlock(page);
  const headerSize = PAGE_HEADER_SIZE + SIZE_FIELD_SIZE;
  const bytes = new Uint8Array(headerSize + block.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, pgno);
  view.setUint16(4, SIZE_FLAG);
  view.setUint32(PAGE_HEADER_SIZE, block.length);
  bytes.set(block, headerSize);
  return bytes;
}

function encodeLz4Frame(page: Uint8Array, pgno: number, lz4: Lz4): Uint8Array<ArrayBuffer> {
  const block = lz4.compressBlock(page);
  const isStored = block.length >= page.length;
  const content = isStored ? page : block;
  const blockOffset = PAGE_HEADER_SIZE + LZ4_FRAME_HEAD.length + 4;
  const bytes = new Uint8Array(blockOffset + content.length + 4 + 4);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, pgno);
  bytes.set(LZ4_FRAME_HEAD, PAGE_HEADER_SIZE);
  view.setUint32(blockOffset - 4, isStored ? content.length + LZ4_STORED : content.length, true);
  bytes.set(content, blockOffset);
  view.setUint32(bytes.length - 4, xxHash32(page), true);
  return bytes;
}
