/**
 * What a runtime must give: the shim's functions, and a way to wait for its bell without blocking.
 *
 * @module
 */
import type { symbols } from "./symbols.ts";
import type { WasmPart } from "./wasm.ts";

/** The value passed for a parameter of an ABI type. */
interface ParameterOf {
  i32: number;
  u32: number;
  u64: bigint;
  buffer: Uint8Array<ArrayBuffer>;
  bytes: Uint8Array<ArrayBuffer>;
}

type Parameters<T extends readonly (keyof ParameterOf)[]> = { [K in keyof T]: ParameterOf[T[K]] };

/** The shim's functions, each called at once on the calling thread. Every result is a 32-bit integer. */
export type NativeCalls = {
  readonly [K in keyof typeof symbols]: (...args: Parameters<(typeof symbols)[K]["parameters"]>) => number;
};

/** The shim as one runtime loaded it. A buffer passed in must have at least one byte. */
export interface Native {
  /** Absolute path of the shared library; every thread and every SQLite must load this very file. Or a name, in WASM. */
  readonly path: string;
  /** The shim's functions. */
  readonly calls: NativeCalls;
  /**
   * Gives back what the runtime has made for functions that this thread has called; they go on being called as before. Bun 1.4.5
   * keeps 0.6 KB a function when a thread ends. Absent where nothing is kept.
   */
  readonly release?: () => void;
  /** Of a shim in WASM alone. */
  readonly wasm?: WasmPart;

  /**
   * Starts waiting for the bell of a core that the calling thread has started.
   *
   * `onRing` is called on this thread's loop after each request that was queued (once for several), until the core
   * is stopped; then the promise resolves.
   */
  listen(core: number, onRing: () => void): Promise<void>;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A string as C wants it: UTF-8, ended by a zero byte. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text.replaceAll("\0", "") + "\0");
}

/** Calls a function that fills a buffer with UTF-8 text and returns its length in bytes; "" for a negative one. */
export function readText(fill: (buffer: Uint8Array<ArrayBuffer>) => number, size = 1024): string {
  const buffer = new Uint8Array(size);
  const length = fill(buffer);
  return length > 0 ? decoder.decode(buffer.subarray(0, length)) : "";
}
