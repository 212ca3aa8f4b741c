import { CHECKSUM_FLAG, Crc64, formatChecksum, pageChecksum, rollChecksum } from "./checksum.ts";
import { type FaultPlace, ltxFault } from "./fault.ts";
import { decodeFrame, type Frame, PAGE_HEADER_SIZE } from "./frame.ts";
import { decodeHeader, HEADER_SIZE, isNoChecksum, isSnapshot, type LtxHeader } from "./header.ts";
import type { Lz4 } from "./lz4.ts";
import { decodePageIndex, MIN_FILE_SIZE, type PageIndex } from "./page_index.ts";
import { decodeTrailer, FILE_CHECKSUM_OFFSET, type LtxTrailer, TRAILER_SIZE } from "./trailer.ts";

/** A whole LTX file, verified. */
export interface LtxFile {
  /** The first 100 bytes, validated. */
  readonly header: LtxHeader;
  /** Where the frames are, each checked against its frame. */
  readonly index: PageIndex;
  /** The last 16 bytes; the file checksum holds, and in a snapshot that tracks it the database's. */
  readonly trailer: LtxTrailer;
  /** One frame a page, ascending by pgno, in the order of `index`. */
  readonly frames: readonly Frame[];
}

/**
 * Decodes a whole LTX file and verifies all of it: header, index, every frame against its entry, the terminator, the
 * file's checksum, and in a snapshot that tracks it the database's checksum. `bytes` is the file, all of it; it is
 * read, not kept. All pages are in memory at once. `key` names the file in errors.
 *
 * @throws {LtxFormatError} anything is amiss
 * @see LTX format version 3, §11
 */
export function decodeFile(bytes: Uint8Array, lz4: Lz4, { key }: { key?: string } = {}): LtxFile {
  const header = decodeHeader(bytes, { key });
  const index = decodeWholeIndex(bytes, header, key);
  const trailer = decodeTrailer(bytes.subarray(bytes.length - TRAILER_SIZE), {
    noChecksum: isNoChecksum(header),
    fileSize: bytes.length,
    key,
  });
  checkTerminator(bytes, index.indexOffset - PAGE_HEADER_SIZE, key);
  const crc = new Crc64().update(bytes.subarray(0, HEADER_SIZE));
  const frames: Frame[] = [];
  for (let i = 0; i < index.pgnos.length; i++) {
    const offset = index.offsets[i]!;
    const stored = bytes.subarray(offset, offset + index.sizes[i]!);
    const frame = decodeFrame(stored, { pgno: index.pgnos[i]!, pageSize: header.pageSize, lz4, offset, key });
    crc.update(stored.subarray(0, frame.headerSize)).update(frame.page);
    frames.push(frame);
  }
  const hashedEnd = bytes.length - TRAILER_SIZE + FILE_CHECKSUM_OFFSET;
  crc.update(bytes.subarray(index.indexOffset - PAGE_HEADER_SIZE, hashedEnd));
  checkChecksum("file", crc.checksum(), trailer.fileChecksum, { key, offset: hashedEnd });
  if (isSnapshot(header) && !isNoChecksum(header)) {
    const place = { key, offset: bytes.length - TRAILER_SIZE };
    checkChecksum("database", databaseChecksum(frames), trailer.postApplyChecksum, place);
  }
  return Object.freeze({ header, index, trailer, frames });
}

/** Gives the rolling checksum of a database whose pages are all here. */
function databaseChecksum(frames: readonly Frame[]): bigint {
  return frames.reduce(
    (rolling, { pgno, page }) => rollChecksum(rolling, pageChecksum(pgno, page)),
    CHECKSUM_FLAG,
  );
}

function decodeWholeIndex(bytes: Uint8Array, header: LtxHeader, key?: string): PageIndex {
  const index = decodePageIndex(bytes, {
    fileSize: bytes.length,
    commit: header.commit,
    pageSize: header.pageSize,
    minTxid: header.minTxid,
    key,
  });
  if ("needBytes" in index) {
    // Not reached: the index's size is bounded by the file's, and the tail is the file.
    throw ltxFault("decode LTX file", `${bytes.length} bytes`, `${MIN_FILE_SIZE} or more`, { key });
  }
  return index;
}

function checkTerminator(bytes: Uint8Array, offset: number, key?: string): void {
  const terminator = bytes.subarray(offset, offset + PAGE_HEADER_SIZE);
  if (terminator.some((byte) => byte !== 0)) {
    throw ltxFault("decode LTX file", "the bytes after the last frame are not zero", "a terminator", {
      key,
      offset,
    });
  }
}

function checkChecksum(of: "file" | "database", computed: bigint, stored: bigint, place: FaultPlace): void {
  if (computed === stored) return;
  const found = `${of} checksum is ${formatChecksum(computed)}`;
  throw ltxFault("decode LTX file", found, `${formatChecksum(stored)} as its trailer says`, place);
}
