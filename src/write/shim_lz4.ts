/**
 * LZ4 of the shim.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import type { Lz4 } from "../ltx/lz4.ts";

/** Compresses and decompresses in the shim. */
export function shimLz4({ calls }: Native): Lz4 {
  const own = (bytes: Uint8Array) => bytes as Uint8Array<ArrayBuffer>;
  return {
    compressBlock(src) {
      const target = new Uint8Array(src.length + Math.ceil(src.length / 255) + 16);
      const size = calls.ls_lz4_compress(own(src), src.length, target, target.length);
      if (size < 0) throw new RangeError(`Cannot compress ${src.length} bytes: the shim answers ${size}`);
      return target.subarray(0, size);
    },
    decompressBlock(src, dstSize) {
      const target = new Uint8Array(dstSize);
      return calls.ls_lz4_block(own(src), src.length, target, dstSize) === 0 ? target : null;
    },
    decompressFrame(src, dstSize) {
      const target = new Uint8Array(dstSize);
      return calls.ls_lz4_frame(own(src), src.length, target, dstSize) === 0 ? target : null;
    },
  };
}
