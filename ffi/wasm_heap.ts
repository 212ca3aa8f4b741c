/**
 * The memory that all threads of a WASM shim share, as JavaScript reads and writes it.
 *
 * @module
 */

/** What takes and gives back places in it; addresses are bytes from its start, and unsigned. */
export interface HeapCalls {
  /** 0 when there is no room. */
  lsHeapAlloc(size: number): number;
  lsHeapFree(address: number): void;
}

/** Text up to this many bytes is read a byte at a time, which then is faster than a decoder. */
const SHORT = 32;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** A thread's eyes on the memory. */
export class WasmHeap {
  /** All of it. Shared with other threads: decoders and the like need a copy. */
  readonly bytes: Uint8Array;
  readonly #words: DataView;
  readonly #calls: HeapCalls;

  constructor(memory: WebAssembly.Memory, calls: HeapCalls) {
    this.bytes = new Uint8Array(memory.buffer);
    this.#words = new DataView(memory.buffer);
    this.#calls = calls;
  }

  /** A copy of bytes. */
  copy(address: number, size: number): Uint8Array<ArrayBuffer> {
    const copy = new Uint8Array(size);
    copy.set(this.bytes.subarray(address, address + size));
    return copy;
  }

  /** UTF-8 text of a known size. */
  text(address: number, size: number): string {
    if (size > SHORT) return decoder.decode(this.copy(address, size));
    const { bytes } = this;
    let text = "";
    for (let i = address; i < address + size; i++) {
      const byte = bytes[i]!;
      if (byte > 0x7f) return decoder.decode(this.copy(address, size));
      text += String.fromCharCode(byte);
    }
    return text;
  }

  /** UTF-8 text that a zero byte ends; "" at 0. */
  cText(address: number): string {
    if (address === 0) return "";
    return this.text(address, this.bytes.indexOf(0, address) - address);
  }

  /** The 32-bit word at an address, unsigned. */
  word(address: number): number {
    return this.#words.getUint32(address, true);
  }

  /**
   * A place for `size` bytes, which {@link free} gives back.
   *
   * @throws {RangeError} there is no room
   */
  alloc(size: number): number {
    const address = this.#calls.lsHeapAlloc(size) >>> 0;
    if (address !== 0) return address;
    throw new RangeError(`Cannot allocate in WASM: no room for ${size} bytes`);
  }

  /** The same, with these bytes in it. */
  place(bytes: Uint8Array): number {
    const address = this.alloc(Math.max(bytes.length, 1));
    this.bytes.set(bytes, address);
    return address;
  }

  /** The same, with text in UTF-8 that a zero byte ends; gives its size without that byte, too. */
  placeText(text: string): { address: number; size: number } {
    const bytes = encoder.encode(`${text}\0`);
    return { address: this.place(bytes), size: bytes.length - 1 };
  }

  /** Gives a place back. */
  free(address: number): void {
    this.#calls.lsHeapFree(address);
  }
}
