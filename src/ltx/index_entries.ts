/**
 * The page index of a file that is being written: kept encoded, about 10 bytes a page.
 *
 * @module
 */
import { encodePageIndex } from "./page_index.ts";

/** Entries that are encoded at once. */
const BLOCK_ENTRIES = 4096;

/** Bytes behind an index's entries: its end marker and its size. */
const AFTER_ENTRIES = 1 + 8;

/** The entries so far. */
export class IndexEntries {
  readonly #blocks: Uint8Array[] = [];
  #pgnos: number[] = [];
  #offsets: number[] = [];
  #sizes: number[] = [];
  #count = 0;

  /** Pages entered. */
  get count(): number {
    return this.#count;
  }

  /** Enters a frame. */
  add(pgno: number, offset: number, size: number): void {
    this.#pgnos.push(pgno);
    this.#offsets.push(offset);
    this.#sizes.push(size);
    this.#count++;
    if (this.#pgnos.length === BLOCK_ENTRIES) this.#encode();
  }

  /** The whole index in pieces: entries, end marker and size field. Nothing is to be entered after that. */
  end(): Uint8Array[] {
    this.#encode();
    const size = this.#blocks.reduce((sum, block) => sum + block.length, 0) + 1;
    const end = new Uint8Array(AFTER_ENTRIES);
    new DataView(end.buffer).setBigUint64(1, BigInt(size));
    return [...this.#blocks, end];
  }

  #encode(): void {
    const index = encodePageIndex({ pgnos: this.#pgnos, offsets: this.#offsets, sizes: this.#sizes });
    this.#blocks.push(index.subarray(0, index.length - AFTER_ENTRIES));
    this.#pgnos = [];
    this.#offsets = [];
    this.#sizes = [];
  }
}
