/**
 * An LTX file that is written page by page and given away in chunks.
 *
 * In memory are a chunk and the page index (about 10 bytes a page).
 *
 * @module
 */
import { CHECKSUM_FLAG, Crc64 } from "./checksum.ts";
import { ltxFault } from "./fault.ts";
import { encodeFrame, PAGE_HEADER_SIZE } from "./frame.ts";
import { encodeHeader, isSnapshot, type LtxHeader } from "./header.ts";
import { IndexEntries } from "./index_entries.ts";
import type { Lz4 } from "./lz4.ts";
import { encodeTrailer, FILE_CHECKSUM_OFFSET } from "./trailer.ts";
import { formatTxid, nextStoredPgno, storedPageCount } from "./txid.ts";

/** Bytes of a chunk, unless given. */
const CHUNK_SIZE = 256 * 1024;

/** A block frame's header: pgno, flags, and the compressed size. */
const BLOCK_HEADER_SIZE = PAGE_HEADER_SIZE + 4;

/** What is known of a file once all of it was given. */
export interface WrittenFile {
  readonly header: LtxHeader;
  readonly size: number;
  readonly pageCount: number;
  readonly fileChecksum: bigint;
}

/** Puts block frames one behind the other; flags are NoChecksum. */
export class LtxWriter {
  readonly #header: LtxHeader;
  readonly #chunkSize: number;
  readonly #crc = new Crc64();
  readonly #index = new IndexEntries();
  #parts: Uint8Array[] = [];
  #partsSize = 0;
  #size = 0;
  #lastPgno = 0;

  /** `chunkSize`: bytes of a chunk at least, but for the last one; 256 KiB unless given. */
  constructor(header: LtxHeader, { chunkSize = CHUNK_SIZE }: { chunkSize?: number | undefined } = {}) {
    this.#header = header;
    this.#chunkSize = chunkSize;
    const head = encodeHeader(header);
    this.#crc.update(head);
    this.#push(head);
  }

  /**
   * Adds a page behind the one before; gives a chunk when one is full.
   *
   * @throws {LtxFormatError} a snapshot lacks the page before
   */
  addPage(pgno: number, page: Uint8Array, lz4: Lz4): Uint8Array<ArrayBuffer> | null {
    return this.addFrame(pgno, page, encodeFrame(page, { pgno, encoding: "block", lz4 }));
  }

  /** The same where the page is encoded already: `frame` is its block frame, not to change before the next chunk. */
  addFrame(pgno: number, page: Uint8Array, frame: Uint8Array): Uint8Array<ArrayBuffer> | null {
    this.#checkNext(pgno);
    this.#crc.update(frame.subarray(0, BLOCK_HEADER_SIZE)).update(page);
    this.#index.add(pgno, this.#size, frame.length);
    this.#push(frame);
    return this.#partsSize < this.#chunkSize ? null : this.#chunk();
  }

  #checkNext(pgno: number): void {
    const expected = nextStoredPgno(this.#lastPgno, this.#header.pageSize);
    this.#lastPgno = pgno;
    if (isSnapshot(this.#header) && pgno !== expected) throw this.#missing(expected);
  }

  #missing(pgno: number): Error {
    return ltxFault(
      `write snapshot of TXID ${formatTxid(this.#header.maxTxid)}`,
      `page ${pgno} is in no file`,
      `every page up to commit ${this.#header.commit}`,
    );
  }

  /** Ends the file: gives terminator, page index and trailer, then what the file is. */
  *end(): Generator<Uint8Array<ArrayBuffer>, WrittenFile, undefined> {
    const { commit, pageSize } = this.#header;
    if (isSnapshot(this.#header) && this.#index.count !== storedPageCount(commit, pageSize)) {
      throw this.#missing(nextStoredPgno(this.#lastPgno, pageSize));
    }
    for (const part of [new Uint8Array(PAGE_HEADER_SIZE), ...this.#index.end()]) {
      this.#crc.update(part);
      this.#push(part);
      if (this.#partsSize >= this.#chunkSize) yield this.#chunk();
    }
    const context = { noChecksum: true };
    const draft = encodeTrailer({ postApplyChecksum: 0n, fileChecksum: CHECKSUM_FLAG }, context);
    const fileChecksum = this.#crc.update(draft.subarray(0, FILE_CHECKSUM_OFFSET)).checksum();
    this.#push(encodeTrailer({ postApplyChecksum: 0n, fileChecksum }, context));
    yield this.#chunk();
    return { header: this.#header, size: this.#size, pageCount: this.#index.count, fileChecksum };
  }

  #push(part: Uint8Array): void {
    this.#parts.push(part);
    this.#partsSize += part.length;
    this.#size += part.length;
  }

  #chunk(): Uint8Array<ArrayBuffer> {
    const chunk = new Uint8Array(this.#partsSize);
    let at = 0;
    for (const part of this.#parts) {
      chunk.set(part, at);
      at += part.length;
    }
    this.#parts = [];
    this.#partsSize = 0;
    return chunk;
  }
}
