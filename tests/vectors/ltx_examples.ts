/**
 * Four LTX files, byte for byte.
 *
 * SOURCE  The worked examples of the LTX format description, version 3, §19. A, C and D were written by an encoder
 *         independent of this project and opened by the released Litestream VFS 0.5.17, which verified their
 *         checksums. B was written by that VFS itself, in write mode, after
 *         `CREATE TABLE t(a); INSERT INTO t VALUES('hello litestream');` on top of A.
 *
 * @module
 */

/** Snapshot 1-1, NoChecksum, one block frame; a 512-byte database without tables, `user_version` 7. */
export const EXAMPLE_A: Uint8Array = fromHex(`
  4c 54 58 31 00 00 00 02 00 00 02 00 00 00 00 01
  00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 01
  00 00 01 8b cf e5 68 7b 00 00 00 00 00 00 00 00
  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
  00 00 00 00 00 00 00 01 00 01 00 00 00 43 f3 0d
  53 51 4c 69 74 65 20 66 6f 72 6d 61 74 20 33 00
  02 00 01 01 00 40 20 20 00 00 00 01 04 00 0f 02
  00 09 1f 07 1d 00 09 01 40 00 91 2e 63 01 0d 00
  00 00 00 02 10 00 0f 02 00 ff 7a 50 00 00 00 00
  00 00 00 00 00 00 00 01 64 4d 00 00 00 00 00 00
  00 00 04 00 00 00 00 00 00 00 00 b4 83 c2 5c 5d
  06 38 a3
`);

/** Transaction 2 on top of A: two pages in block frames. */
export const EXAMPLE_B: Uint8Array = fromHex(`
  4c 54 58 31 00 00 00 02 00 00 02 00 00 00 00 02
  00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 02
  00 00 01 a1 fb e7 97 51 00 00 00 00 00 00 00 00
  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
  00 00 00 00 00 00 00 01 00 01 00 00 00 75 f6 12
  53 51 4c 69 74 65 20 66 6f 72 6d 61 74 20 33 00
  02 00 01 01 00 40 20 20 8e 84 6f c1 00 00 00 02
  00 01 00 55 01 00 00 00 04 0e 00 02 10 00 17 07
  10 00 0d 02 00 fc 03 8e 84 6f c1 00 2e 63 01 0d
  00 00 00 01 01 df 00 01 df 22 00 0f 02 00 ff 4f
  f0 12 1f 01 06 17 0f 0f 01 2f 74 61 62 6c 65 74
  74 02 43 52 45 41 54 45 20 54 41 42 4c 45 20 74
  28 61 29 00 00 00 02 00 01 00 00 00 27 cf 0d 00
  00 00 01 01 ec 00 01 ec 00 00 02 00 ff ce f0 05
  12 01 02 2d 68 65 6c 6c 6f 20 6c 69 74 65 73 74
  72 65 61 6d 00 00 00 00 00 00 01 64 7f 02 e3 01
  31 00 00 00 00 00 00 00 00 08 00 00 00 00 00 00
  00 00 84 c6 bb 69 72 cf 90 69
`);

/** As A, the page in an LZ4 frame, as Litestream 0.5.0 to 0.5.15 wrote it. */
export const EXAMPLE_C: Uint8Array = join(
  EXAMPLE_A.subarray(0, 100),
  fromHex(`
  00 00 00 01 00 00 04 22 4d 18 64 40 a7 42 00 00
  00 f3 0d 53 51 4c 69 74 65 20 66 6f 72 6d 61 74
  20 33 00 02 00 01 01 00 40 20 20 00 00 00 01 04
  00 0f 02 00 09 1f 07 1d 00 09 01 40 00 40 2e 63
  01 0d 0b 00 10 02 05 00 0f 02 00 ff 7b 50 00 00
  00 00 00 00 00 00 00 78 c6 a5 b9 00 00 00 00 00
  00 01 64 5b 00 00 00 00 00 00 00 00 04 00 00 00
  00 00 00 00 00 db 5c 60 db d2 47 8d 29
`),
);

/** As A, with the database checksum tracked: flags are 0. */
export const EXAMPLE_D: Uint8Array = join(
  EXAMPLE_A.subarray(0, 7),
  fromHex("00"),
  EXAMPLE_A.subarray(8, 195),
  fromHex(`
  d5 ec 6f f2 3d d7 d1 df cc a3 91 dd 20 55 21 d7
`),
);

/** The checksum of page 1 of A, C and D without its flag, as the description gives it. */
export const EXAMPLE_PAGE_CRC = 0x55ec6ff23dd7d1dfn;

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(text.trim().split(/\s+/), (pair) => parseInt(pair, 16));
}

function join(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}
