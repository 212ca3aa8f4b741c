import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { encodeFile, type LtxPage } from "../../src/ltx/encoder.ts";
import { decodeFile } from "../../src/ltx/file.ts";
import { encodeFrame } from "../../src/ltx/frame.ts";
import { completeHeader, type LtxHeaderFields } from "../../src/ltx/header.ts";
import { LtxWriter, type WrittenFile } from "../../src/ltx/ltx_writer.ts";
import { assertFault, samplePage, samplePages, snapshotFields } from "../support/ltx_files.ts";
import { lz4 } from "../support/lz4.ts";

/** The chunks of a file, and what it is. */
function write(
  fields: LtxHeaderFields,
  pages: Iterable<LtxPage>,
  options: { chunkSize?: number } = {},
): { chunks: Uint8Array[]; written: WrittenFile } {
  const writer = new LtxWriter(completeHeader(fields), options);
  const chunks: Uint8Array[] = [];
  for (const { pgno, page } of pages) {
    const chunk = writer.addPage(pgno, page, lz4);
    if (chunk !== null) chunks.push(chunk);
  }
  const end = writer.end();
  for (;;) {
    const { done, value } = end.next();
    if (done) return { chunks, written: value };
    chunks.push(value);
  }
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(chunks.flatMap((chunk) => [...chunk]));
}

/** A file of TXID 2 to 5. */
const changes: LtxHeaderFields = { ...snapshotFields(512, 9), minTxid: 2n, maxTxid: 5n };

test("LtxWriter gives the encoder's bytes, in chunks of at least the size that is asked for but for the last", () => {
  for (const fields of [snapshotFields(512, 7), changes]) {
    const pages = samplePages(512, [1, 2, 3, 4, 5, 6, 7]);
    const whole = encodeFile(fields, pages, { lz4 });
    for (
      const chunkSize of [1, 99, 100, 101, 110, 400, 1000, whole.length - 1, whole.length, whole.length + 1]
    ) {
      const { chunks, written } = write(fields, pages, { chunkSize });
      assert.deepEqual(joined(chunks), new Uint8Array(whole), `chunks of ${chunkSize} bytes`);
      assert.ok(chunks.slice(0, -1).every(({ length }) => length >= chunkSize));
      assert.ok(chunks.length >= Math.min(8, Math.floor(whole.length / (chunkSize + 520))));
      const { header, trailer } = decodeFile(joined(chunks), lz4);
      assert.deepEqual(written, {
        header,
        size: whole.length,
        pageCount: 7,
        fileChecksum: trailer.fileChecksum,
      });
    }
  }
});

test("LtxWriter gives a chunk as soon as one is full, and 256 KiB make one", () => {
  const page = samplePage(65_536, 3); // noise
  const frame = encodeFrame(page, { pgno: 1, encoding: "block", lz4 });
  assert.ok(frame.length > 65_536 && 3 * frame.length < 262_144);
  const exact = { chunkSize: 100 + 2 * frame.length };
  for (const [options, wanted] of [[{}, 4], [exact, 2], [{ chunkSize: exact.chunkSize + 1 }, 3]] as const) {
    const writer = new LtxWriter(completeHeader({ ...changes, pageSize: 65_536 }), options);
    let count = 1;
    let chunk: Uint8Array | null;
    while ((chunk = writer.addFrame(count, page, frame)) === null) count++;
    assert.equal(count, wanted);
    assert.ok(chunk.length >= (options.chunkSize ?? 262_144), `${chunk.length} bytes`);
    if (wanted === 2) assert.equal(chunk.length, exact.chunkSize);
  }
});

test("LtxWriter gives index and terminator in chunks too", () => {
  const { chunks } = write({ ...changes, commit: 9 }, samplePages(512, [1, 5]), { chunkSize: 6 });
  // header and first frame, second frame, terminator, entries, end of the index, trailer
  assert.equal(chunks.length, 6);
  assert.deepEqual(chunks[2], new Uint8Array(6));
  assert.equal(chunks[4]!.length, 9);
  assert.equal(chunks[5]!.length, 16);
});

test("LtxWriter writes an index of more entries than it encodes at once", () => {
  const page = new Uint8Array(512);
  const noise = samplePage(512, 3);
  for (const count of [4096, 4097]) {
    const pages = Array.from({ length: count }, (_, i) => ({ pgno: i + 1, page: i < 9 ? noise : page }));
    const fields = snapshotFields(512, count);
    const { chunks, written } = write(fields, pages);
    assert.deepEqual(
      new Uint8Array(Buffer.concat(chunks)),
      new Uint8Array(encodeFile(fields, pages, { lz4 })),
    );
    assert.equal(written.pageCount, count);
  }
});

test("LtxWriter refuses a snapshot that lacks a page, wherever, and nothing of other files", () => {
  const act = "Cannot write snapshot of TXID 0000000000000001: ";
  const wanted = ", expected every page up to commit 3$";
  for (const [pgnos, missing] of [[[2, 3], 1], [[1, 3], 2], [[1, 2], 3], [[], 1], [[1, 1, 2], 2]] as const) {
    const pages = samplePages(512, pgnos);
    assertFault(
      () => write(snapshotFields(512, 3), pages),
      new RegExp(`^${act}page ${missing} is in no file${wanted}`),
    );
  }
  assert.equal(write(changes, samplePages(512, [2, 9])).written.pageCount, 2);
  assert.equal(write(changes, []).written.size, 131);
});
