import { formatChecksum, isChecksum } from "./checksum.ts";
import { ltxFault } from "./fault.ts";

/** Bytes of an LTX trailer. */
export const TRAILER_SIZE = 16;

/** Where the file's checksum stands in the trailer; it covers nothing from here on. */
export const FILE_CHECKSUM_OFFSET = 8;

/**
 * The last 16 bytes of an LTX file.
 *
 * @see LTX format version 3, §6
 */
export interface LtxTrailer {
  /** Rolling database checksum after the file, or 0 under the header's NoChecksum flag. */
  readonly postApplyChecksum: bigint;
  /** Checksum of the file, with its pages uncompressed; always there. */
  readonly fileChecksum: bigint;
}

/** What must be known of a file to check its trailer. */
export interface TrailerContext {
  /** Whether the header has the NoChecksum flag. */
  noChecksum: boolean;
  /** Bytes of the whole file; places errors in it. */
  fileSize?: number;
  /** Names the file in errors. */
  key?: string;
}

/**
 * Decodes and validates a trailer: exactly the last 16 bytes of a file. They are read, not kept; the result is
 * frozen.
 *
 * @throws {LtxFormatError} another count of bytes, or a checksum that is missing, forbidden or without bit 63
 * @see LTX format version 3, §6
 */
export function decodeTrailer(bytes: Uint8Array, context: TrailerContext): LtxTrailer {
  const act = "decode LTX trailer";
  if (bytes.length !== TRAILER_SIZE) {
    throw ltxFault(act, `${bytes.length} bytes`, `${TRAILER_SIZE}`, { key: context.key });
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, TRAILER_SIZE);
  const trailer = Object.freeze({
    postApplyChecksum: view.getBigUint64(0),
    fileChecksum: view.getBigUint64(FILE_CHECKSUM_OFFSET),
  });
  checkTrailer(trailer, act, context);
  return trailer;
}

/**
 * Encodes a trailer to its 16 bytes.
 *
 * @throws {LtxFormatError} a checksum is missing, forbidden, or without bit 63
 * @see LTX format version 3, §6
 */
export function encodeTrailer(trailer: LtxTrailer, context: TrailerContext): Uint8Array<ArrayBuffer> {
  checkTrailer(trailer, "encode LTX trailer", context);
  const bytes = new Uint8Array(TRAILER_SIZE);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, trailer.postApplyChecksum);
  view.setBigUint64(FILE_CHECKSUM_OFFSET, trailer.fileChecksum);
  return bytes;
}

function checkTrailer(trailer: LtxTrailer, act: string, { noChecksum, fileSize, key }: TrailerContext): void {
  const check = (holds: boolean, field: keyof LtxTrailer, expected: string): void => {
    if (holds) return;
    const place = field === "fileChecksum" ? FILE_CHECKSUM_OFFSET : 0;
    const offset = fileSize === undefined ? undefined : fileSize - TRAILER_SIZE + place;
    throw ltxFault(act, `${field} is ${formatChecksum(trailer[field])}`, expected, { key, offset });
  };
  if (noChecksum) check(trailer.postApplyChecksum === 0n, "postApplyChecksum", "0 under the NoChecksum flag");
  else check(isChecksum(trailer.postApplyChecksum), "postApplyChecksum", "a checksum with bit 63 set");
  check(isChecksum(trailer.fileChecksum), "fileChecksum", "a checksum with bit 63 set");
}
