/**
 * One LTX file read from its beginning to its end, a page at a time, out of ranged reads.
 *
 * Its page index is not used: frames lie one behind the other, so a piece of the file is all that is in
 * memory.
 *
 * @module
 */
import { Crc64, formatChecksum } from "../ltx/checksum.ts";
import { ltxFault } from "../ltx/fault.ts";
import { decodeFrame, type Frame, maxFrameSize, PAGE_HEADER_SIZE } from "../ltx/frame.ts";
import { decodeHeader, HEADER_SIZE, isNoChecksum, type LtxHeader } from "../ltx/header.ts";
import type { Lz4 } from "../ltx/lz4.ts";
import { MIN_FILE_SIZE } from "../ltx/page_index.ts";
import { decodeTrailer, FILE_CHECKSUM_OFFSET, TRAILER_SIZE } from "../ltx/trailer.ts";
import { lockPgno } from "../ltx/txid.ts";
import type { ReplicaFile } from "../view/restore_plan.ts";
import type { CompactionStore } from "./compaction_store.ts";
import { lz4FrameSize } from "./lz4_frame_size.ts";

const SIZE_FLAG = 0x1;

/** How a source is read. */
export interface LtxSourceOptions {
  readonly store: Pick<CompactionStore, "read">;
  readonly lz4: Lz4;
  /** Bytes of a read; two of these are in memory at once. */
  readonly pieceSize: number;
  readonly signal?: AbortSignal | undefined;
}

/** A page as its file stores it, and decoded. */
export interface StoredFrame extends Frame {
  /** The whole frame; to be copied before the next one is taken. */
  readonly stored: Uint8Array;
}

/** A file under way. Its checksum is verified when its last page has been taken. */
export class LtxSource {
  readonly file: ReplicaFile;
  readonly header: LtxHeader;
  readonly #options: LtxSourceOptions;
  readonly #crc = new Crc64();
  /** What has arrived and is not used up, and where in the file it begins. */
  #window: Uint8Array;
  #offset: number;
  /** The piece behind the window, on its way; null behind the last. */
  #next: Promise<Uint8Array> | null = null;
  #pgno = 0;
  #frameSize = 0;

  /**
   * Reads a file's head.
   *
   * @throws {LtxFormatError} it breaks the format, or is not what its name says
   * @throws {ObjectGoneError} it is not there any more
   */
  static async open(file: ReplicaFile, options: LtxSourceOptions): Promise<LtxSource> {
    if (file.size < MIN_FILE_SIZE) {
      throw ltxFault("read LTX file", `${file.size} bytes`, `${MIN_FILE_SIZE} or more`, { key: file.key });
    }
    const first = await readPiece(file, 0, options);
    const source = new LtxSource(file, first, options);
    await source.#findNext();
    return source;
  }

  private constructor(file: ReplicaFile, first: Uint8Array, options: LtxSourceOptions) {
    const header = decodeHeader(first, { key: file.key });
    if (header.minTxid !== file.minTxid || header.maxTxid !== file.maxTxid) {
      const found = `TXIDs are ${header.minTxid} to ${header.maxTxid}`;
      const expected = `${file.minTxid} to ${file.maxTxid} of its name`;
      throw ltxFault("read LTX file", found, expected, { key: file.key, offset: 16 });
    }
    this.file = file;
    this.header = header;
    this.#options = options;
    this.#window = first;
    this.#offset = 0;
    this.#askNext();
    this.#crc.update(this.#use(HEADER_SIZE));
  }

  /** The page that {@link take} gives; 0 behind the last one. */
  get pgno(): number {
    return this.#pgno;
  }

  /**
   * Gives the next page.
   *
   * @throws {LtxFormatError} it, or behind the last one the file's checksum, is wrong
   */
  async take(): Promise<StoredFrame> {
    const offset = this.#offset;
    const stored = this.#use(this.#frameSize);
    const { pageSize } = this.header;
    const frame = decodeFrame(stored, {
      pgno: this.#pgno,
      pageSize,
      lz4: this.#options.lz4,
      offset,
      key: this.file.key,
    });
    this.#crc.update(stored.subarray(0, frame.headerSize)).update(frame.page);
    await this.#findNext();
    return { ...frame, stored };
  }

  /** Looks at the next frame's header, and has all of the frame in the window. */
  async #findNext(): Promise<void> {
    await this.#fill(PAGE_HEADER_SIZE);
    const view = this.#view();
    const pgno = view.getUint32(0);
    const flags = view.getUint16(4);
    if (pgno === 0 && flags === 0) return await this.#finish();
    this.#checkPgno(pgno);
    this.#frameSize = flags === SIZE_FLAG ? await this.#blockFrameSize() : await this.#lz4FrameSize();
    await this.#fill(this.#frameSize);
    this.#pgno = pgno;
  }

  #checkPgno(pgno: number): void {
    const { commit, pageSize } = this.header;
    if (pgno <= this.#pgno) throw this.#fault(`page ${pgno} follows page ${this.#pgno}`, "ascending pages");
    if (pgno > commit) throw this.#fault(`page is ${pgno}`, `at most commit ${commit}`);
    if (pgno === lockPgno(pageSize)) throw this.#fault(`page is ${pgno}`, "any but the lock page");
  }

  async #blockFrameSize(): Promise<number> {
    await this.#fill(PAGE_HEADER_SIZE + 4);
    const size = PAGE_HEADER_SIZE + 4 + this.#view().getUint32(PAGE_HEADER_SIZE);
    const sizeMax = maxFrameSize(this.header.pageSize);
    if (size > sizeMax) throw this.#fault(`its frame has ${size} bytes`, `at most ${sizeMax}`);
    return size;
  }

  async #lz4FrameSize(): Promise<number> {
    const sizeMax = maxFrameSize(this.header.pageSize);
    for (let have = PAGE_HEADER_SIZE + 7;;) {
      await this.#fill(have);
      const needed = PAGE_HEADER_SIZE + lz4FrameSize(this.#window.subarray(PAGE_HEADER_SIZE, have));
      if (needed > sizeMax) throw this.#fault(`its frame has ${needed} bytes or more`, `at most ${sizeMax}`);
      if (needed <= have) return have;
      have = needed;
    }
  }

  /** Behind the last frame: the rest counts for the checksum alone. */
  async #finish(): Promise<void> {
    this.#pgno = 0;
    const { header, file } = this;
    const trailerOffset = file.size - TRAILER_SIZE;
    while (this.#offset < trailerOffset) {
      await this.#fill(1);
      this.#crc.update(this.#use(Math.min(this.#window.length, trailerOffset - this.#offset)));
    }
    await this.#fill(TRAILER_SIZE);
    const bytes = this.#use(TRAILER_SIZE);
    const context = { noChecksum: isNoChecksum(header), fileSize: file.size, key: file.key };
    const { fileChecksum } = decodeTrailer(bytes, context);
    const computed = this.#crc.update(bytes.subarray(0, FILE_CHECKSUM_OFFSET)).checksum();
    if (computed !== fileChecksum) {
      const found = `file checksum is ${formatChecksum(computed)}`;
      throw this.#fault(found, `${formatChecksum(fileChecksum)} as its trailer says`);
    }
  }

  /** Has at least `size` bytes in the window. */
  async #fill(size: number): Promise<void> {
    while (this.#window.length < size) {
      const piece = await this.#next;
      if (piece === null) throw this.#fault(`it ends after ${this.#window.length} bytes`, `${size} more`);
      this.#window = this.#window.length === 0 ? piece : concat(this.#window, piece);
      this.#askNext();
    }
  }

  /** The window's first bytes, which are used up with that. */
  #use(size: number): Uint8Array {
    const bytes = this.#window.subarray(0, size);
    this.#window = this.#window.subarray(size);
    this.#offset += size;
    return bytes;
  }

  #view(): DataView {
    return new DataView(this.#window.buffer, this.#window.byteOffset, this.#window.length);
  }

  #askNext(): void {
    const offset = this.#offset + this.#window.length;
    this.#next = offset < this.file.size ? readPiece(this.file, offset, this.#options) : null;
    // Whoever waits for it is told; where nobody does any more, nobody needs to be.
    this.#next?.catch(() => {});
  }

  #fault(found: string, expected: string): Error {
    return ltxFault("read LTX file", found, expected, { key: this.file.key, offset: this.#offset });
  }
}

async function readPiece(file: ReplicaFile, offset: number, options: LtxSourceOptions): Promise<Uint8Array> {
  const size = Math.min(Math.max(options.pieceSize, HEADER_SIZE), file.size - offset);
  const { bytes } = await options.store.read(file, { offset, size }, { signal: options.signal });
  return bytes;
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(a.length + b.length);
  bytes.set(a);
  bytes.set(b, a.length);
  return bytes;
}
