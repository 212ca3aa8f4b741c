/**
 * LZ4 through the shim, for files too large for the one in TypeScript.
 *
 * @module
 */
import { loadNative } from "../../ffi/mod.ts";
import type { Lz4 } from "../../src/ltx/lz4.ts";
import { findShim } from "../../src/shim_path.ts";

const own = (bytes: Uint8Array) => bytes as Uint8Array<ArrayBuffer>;

/** Loads the shim and gives its LZ4. */
export async function nativeLz4(): Promise<Lz4> {
  const { calls } = await loadNative(findShim());
  return {
    compressBlock(source) {
      const target = new Uint8Array(source.length + Math.ceil(source.length / 255) + 16);
      return target.subarray(0, calls.ls_lz4_compress(own(source), source.length, target, target.length));
    },
    decompressBlock(source, size) {
      const target = new Uint8Array(size);
      return calls.ls_lz4_block(own(source), source.length, target, size) === 0 ? target : null;
    },
    decompressFrame(source, size) {
      const target = new Uint8Array(size);
      return calls.ls_lz4_frame(own(source), source.length, target, size) === 0 ? target : null;
    },
  };
}
