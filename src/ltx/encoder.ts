import { CHECKSUM_FLAG, Crc64, formatChecksum, pageChecksum, rollChecksum } from "./checksum.ts";
import { ltxFault } from "./fault.ts";
import { encodeFrame, type FrameEncoding, PAGE_HEADER_SIZE } from "./frame.ts";
import {
  completeHeader,
  encodeHeader,
  isNoChecksum,
  isSnapshot,
  type LtxHeader,
  type LtxHeaderFields,
} from "./header.ts";
import type { Lz4 } from "./lz4.ts";
import { encodePageIndex } from "./page_index.ts";
import { encodeTrailer, FILE_CHECKSUM_OFFSET } from "./trailer.ts";
import { lockPgno, nextStoredPgno, storedPageCount } from "./txid.ts";

/** A page to be stored. */
export interface LtxPage {
  /** Page number, from 1. */
  readonly pgno: number;
  /** The page, uncompressed: exactly the file's page size. */
  readonly page: Uint8Array;
}

/** How a file is written. */
export interface EncodeOptions {
  /** Compresses the pages. */
  lz4: Lz4;
  /** How pages are stored; `"block"` unless given, which Litestream before 0.5.16 does not read. */
  encoding?: FrameEncoding;
  /**
   * Rolling database checksum after the file. Needed where `flags` is 0 and the file is no snapshot; in a snapshot it
   * is computed, and must agree if given.
   */
  postApplyChecksum?: bigint;
}

/**
 * Encodes a whole LTX file. `pages` come in ascending pgno, a snapshot's without a gap but the lock page's; none is
 * kept. The result is new and the caller's; pages and result are in memory at once.
 *
 * The database's checksum is not tracked unless `flags` is 0: Litestream fails to compact or restore replicas with files
 * that track it.
 *
 * @throws {LtxFormatError} the file would break the format
 * @see LTX format version 3, §10
 */
export function encodeFile(
  fields: LtxHeaderFields,
  pages: Iterable<LtxPage>,
  { lz4, encoding = "block", postApplyChecksum }: EncodeOptions,
): Uint8Array<ArrayBuffer> {
  const header = completeHeader(fields);
  const head = encodeHeader(header);
  const crc = new Crc64().update(head);
  const parts: Uint8Array[] = [head];
  const index = { pgnos: [] as number[], offsets: [] as number[], sizes: [] as number[] };
  const isRolling = isSnapshot(header) && !isNoChecksum(header);
  let rolling = CHECKSUM_FLAG;
  let offset = head.length;
  for (const { pgno, page } of pages) {
    checkPage(pgno, page, index.pgnos.at(-1) ?? 0, header);
    const frame = encodeFrame(page, { pgno, encoding, lz4 });
    const headerSize = encoding === "block" ? PAGE_HEADER_SIZE + 4 : PAGE_HEADER_SIZE;
    crc.update(frame.subarray(0, headerSize)).update(page);
    if (isRolling) rolling = rollChecksum(rolling, pageChecksum(pgno, page));
    parts.push(frame);
    index.pgnos.push(pgno);
    index.offsets.push(offset);
    index.sizes.push(frame.length);
    offset += frame.length;
  }
  checkComplete(index.pgnos.length, header);
  const tail = encodePageIndex(index);
  const post = choosePostApplyChecksum(header, isRolling ? rolling : undefined, postApplyChecksum);
  parts.push(new Uint8Array(PAGE_HEADER_SIZE), tail, encodeEnd(header, post, crc, tail));
  return concat(parts);
}

/** The rules for one page, in the order of §10. */
function checkPage(pgno: number, page: Uint8Array, lastPgno: number, header: LtxHeader): void {
  const { commit, pageSize } = header;
  const act = `encode page ${pgno}`;
  if (!Number.isInteger(pgno) || pgno < 1 || pgno > commit) {
    throw ltxFault(act, `pgno is ${pgno}`, `1 to commit ${commit}`);
  }
  if (page.length !== pageSize) throw ltxFault(act, `it has ${page.length} bytes`, `${pageSize}`);
  if (pgno === lockPgno(pageSize)) throw ltxFault(act, "it is the lock page", "any other");
  if (isSnapshot(header)) {
    const expected = nextStoredPgno(lastPgno, pageSize);
    if (pgno !== expected) {
      throw ltxFault(act, `it follows page ${lastPgno} of a snapshot`, `page ${expected}`);
    }
  } else if (pgno <= lastPgno) {
    throw ltxFault(act, `it follows page ${lastPgno}`, "ascending pages");
  }
}

/** Upstream's encoder lets a snapshot end early; every reader would miss its pages. */
function checkComplete(pageCount: number, header: LtxHeader): void {
  const expected = storedPageCount(header.commit, header.pageSize);
  if (isSnapshot(header) && pageCount !== expected) {
    throw ltxFault(
      "encode LTX file",
      `snapshot of ${header.commit} pages was given ${pageCount}`,
      `${expected}`,
    );
  }
}

function choosePostApplyChecksum(
  header: LtxHeader,
  rolling: bigint | undefined,
  given: bigint | undefined,
): bigint {
  const chosen = given ?? rolling ?? 0n;
  if (rolling !== undefined && chosen !== rolling) {
    const found = `postApplyChecksum is ${formatChecksum(chosen)}`;
    throw ltxFault("encode LTX file", found, `${formatChecksum(rolling)} of its pages`);
  }
  if (header.commit === 0 && chosen !== CHECKSUM_FLAG) {
    const found = `commit is 0 and postApplyChecksum ${formatChecksum(chosen)}`;
    throw ltxFault("encode LTX file", found, `${formatChecksum(CHECKSUM_FLAG)} for an empty database`);
  }
  return chosen;
}

/** The trailer, its file checksum taken over everything before that. */
function encodeEnd(header: LtxHeader, postApplyChecksum: bigint, crc: Crc64, index: Uint8Array): Uint8Array {
  const noChecksum = isNoChecksum(header);
  const draft = encodeTrailer({ postApplyChecksum, fileChecksum: CHECKSUM_FLAG }, { noChecksum });
  crc.update(new Uint8Array(PAGE_HEADER_SIZE)).update(index).update(draft.subarray(0, FILE_CHECKSUM_OFFSET));
  return encodeTrailer({ postApplyChecksum, fileChecksum: crc.checksum() }, { noChecksum });
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
