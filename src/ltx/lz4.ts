/**
 * What this folder needs of LZ4.
 *
 * Every buffer returned is new and belongs to the caller; `src` is read, not kept. Nothing here throws on malformed
 * input.
 *
 * @see LTX format version 3, §4.2 and §4.3
 */
export interface Lz4 {
  /** Compresses `src` to one raw LZ4 block; incompressible bytes become a block of literals, longer than `src`. */
  compressBlock(src: Uint8Array): Uint8Array;
  /** Gives the `dstSize` bytes that one raw LZ4 block holds; null when it is malformed or holds more or fewer. */
  decompressBlock(src: Uint8Array, dstSize: number): Uint8Array | null;
  /**
   * Gives the `dstSize` bytes that one whole LZ4 frame (`.lz4`) holds; null when it is malformed, a checksum in it is
   * wrong, it holds more or fewer bytes, or `src` goes on after it.
   */
  decompressFrame(src: Uint8Array, dstSize: number): Uint8Array | null;
}
