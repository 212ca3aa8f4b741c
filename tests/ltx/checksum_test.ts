import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CHECKSUM_FLAG,
  Crc64,
  formatChecksum,
  isChecksum,
  pageChecksum,
  rollChecksum,
} from "../../src/ltx/checksum.ts";
import { decodeFile } from "../../src/ltx/file.ts";
import { xxHash32 } from "../../src/ltx/xxhash32.ts";
import { lz4 } from "../support/lz4.ts";
import { Random } from "../support/random.ts";
import { EXAMPLE_A, EXAMPLE_D, EXAMPLE_PAGE_CRC } from "../vectors/ltx_examples.ts";

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** The table method of the format description, §7.1, in BigInt: slow, and nothing to get wrong. */
function slowCrc64(bytes: Uint8Array): bigint {
  const table = Array.from({ length: 256 }, (_, i) => {
    let entry = BigInt(i);
    for (let bit = 0; bit < 8; bit++) entry = entry & 1n ? (entry >> 1n) ^ 0xd800000000000000n : entry >> 1n;
    return entry;
  });
  let crc = 0xffff_ffff_ffff_ffffn;
  for (const byte of bytes) crc = table[Number((crc ^ BigInt(byte)) & 0xffn)]! ^ (crc >> 8n);
  return crc ^ 0xffff_ffff_ffff_ffffn;
}

test("Crc64 gives the check values", () => {
  assert.equal(new Crc64().update(bytesOf("123456789")).digest(), 0xb90956c775a41001n);
  assert.equal(new Crc64().digest(), 0n);
  assert.equal(new Crc64().checksum(), CHECKSUM_FLAG);
});

test("Crc64 agrees with the table method at every length and alignment", () => {
  const bytes = new Random(1).bytes(300);
  for (let size = 0; size <= 64; size++) {
    for (let start = 0; start < 9; start++) {
      const piece = bytes.subarray(start, start + size);
      assert.equal(new Crc64().update(piece).digest(), slowCrc64(piece), `${size} bytes at ${start}`);
    }
  }
  assert.equal(new Crc64().update(bytes).digest(), slowCrc64(bytes));
});

test("Crc64 does not depend on where its bytes are cut", () => {
  const bytes = new Random(2).bytes(100);
  const whole = slowCrc64(bytes);
  for (let cut = 0; cut <= bytes.length; cut++) {
    const crc = new Crc64().update(bytes.subarray(0, cut));
    assert.equal(crc.digest(), slowCrc64(bytes.subarray(0, cut)));
    assert.equal(crc.update(bytes.subarray(cut)).digest(), whole);
  }
});

test("Crc64.from() goes on from a digest, wherever the bytes are cut", () => {
  const bytes = new Random(4).bytes(100);
  for (let cut = 0; cut <= bytes.length; cut++) {
    const digest = new Crc64().update(bytes.subarray(0, cut)).digest();
    const crc = Crc64.from(digest);
    assert.equal(crc.digest(), digest);
    assert.equal(crc.update(bytes.subarray(cut)).digest(), slowCrc64(bytes));
  }
  for (const digest of [1n, 1n << 31n, 1n << 32n, 1n << 63n, 2n ** 64n - 1n]) {
    assert.equal(Crc64.from(digest).digest(), digest);
  }
});

test("pageChecksum() gives the page checksum of the worked example", () => {
  const page = decodeFile(EXAMPLE_A, lz4).frames[0]!.page;
  assert.equal(pageChecksum(1, page), CHECKSUM_FLAG | EXAMPLE_PAGE_CRC);
  assert.notEqual(pageChecksum(2, page), pageChecksum(1, page));
});

test("rollChecksum() gives the database checksum of the worked example", () => {
  const { frames, trailer } = decodeFile(EXAMPLE_D, lz4);
  assert.equal(rollChecksum(CHECKSUM_FLAG, pageChecksum(1, frames[0]!.page)), trailer.postApplyChecksum);
  assert.equal(trailer.postApplyChecksum, 0xd5ec6ff23dd7d1dfn);
});

test("rollChecksum() does not depend on the order of pages and takes a page out again", () => {
  const random = new Random(3);
  const [one, two, three] = [1, 2, 3].map((pgno) => pageChecksum(pgno, random.bytes(512))) as [
    bigint,
    bigint,
    bigint,
  ];
  const all = [one, two, three].reduce(rollChecksum, CHECKSUM_FLAG);
  assert.equal([three, one, two].reduce(rollChecksum, CHECKSUM_FLAG), all);
  assert.equal(rollChecksum(all, three), [one, two].reduce(rollChecksum, CHECKSUM_FLAG));
  assert.ok(isChecksum(all));
});

test("isChecksum() wants bit 63 and no more than 64 bits", () => {
  assert.ok(isChecksum(CHECKSUM_FLAG));
  assert.ok(isChecksum(0xffff_ffff_ffff_ffffn));
  for (const value of [0n, 1n, CHECKSUM_FLAG - 1n, CHECKSUM_FLAG << 1n, -1n]) assert.ok(!isChecksum(value));
});

test("formatChecksum() writes 16 lower-case hex digits", () => {
  assert.equal(formatChecksum(0n), "0000000000000000");
  assert.equal(formatChecksum(0xd5ec6ff23dd7d1dfn), "d5ec6ff23dd7d1df");
});

test("xxHash32() gives the values of its specification and of the worked example", () => {
  assert.equal(xxHash32(bytesOf("")), 0x02cc5d05);
  assert.equal(xxHash32(bytesOf("a")), 0x550d7456);
  assert.equal(xxHash32(bytesOf("abc")), 0x32d153ff);
  assert.equal(xxHash32(bytesOf("Nobody inspects the spammish repetition")), 0xe2293b2f);
  assert.equal((xxHash32(new Uint8Array([0x64, 0x40])) >> 8) & 0xff, 0xa7);
  assert.equal(xxHash32(decodeFile(EXAMPLE_A, lz4).frames[0]!.page), 0xb9a5c678);
});
