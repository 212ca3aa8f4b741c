/**
 * How long an LZ4 frame is, which only walking along its blocks tells.
 *
 * @module
 */

const HEAD_SIZE = 7;
const CONTENT_SIZE_FLAG = 0x08;
const DICTIONARY_FLAG = 0x01;
const BLOCK_CHECKSUM_FLAG = 0x10;
const CONTENT_CHECKSUM_FLAG = 0x04;
const BLOCK_SIZE_MASK = 0x7fff_ffff;

/**
 * Gives the size in bytes of the frame that begins `bytes`, or where they end too early, how many are needed
 * to see more. `bytes` has at least 7; whether they are a frame at all is its decoder's to say.
 *
 * @see LZ4 Frame Format Description 1.6
 */
export function lz4FrameSize(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const flags = bytes[4]!;
  const blockChecksumSize = flags & BLOCK_CHECKSUM_FLAG ? 4 : 0;
  let at = HEAD_SIZE + (flags & CONTENT_SIZE_FLAG ? 8 : 0) + (flags & DICTIONARY_FLAG ? 4 : 0);
  for (;;) {
    if (at + 4 > bytes.length) return at + 4;
    const field = view.getUint32(at, true);
    at += 4;
    if (field === 0) return at + (flags & CONTENT_CHECKSUM_FLAG ? 4 : 0);
    at += (field & BLOCK_SIZE_MASK) + blockChecksumSize;
  }
}
