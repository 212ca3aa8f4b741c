import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { contentOfBytes, contentOfChunks, type Piece } from "../../src/storage/content.ts";
import { Random } from "../support/random.ts";
import { ChunkSource } from "../../src/contract/chunk_source.ts";

const { signal } = new AbortController();

async function all(pieces: AsyncIterable<Piece> | Iterable<Piece>): Promise<Piece[]> {
  const found: Piece[] = [];
  for await (const piece of pieces) found.push(piece);
  return found;
}

test("pieces are the same of bytes and of chunks, however these are cut", async () => {
  const random = new Random(5);
  for (let round = 0; round < 300; round++) {
    const bytes = random.bytes(random.next(60));
    const size = 1 + random.next(20);
    const sizes = [1 + random.next(50), random.next(3), random.next(30)];
    const content = contentOfChunks(new ChunkSource(bytes, sizes).chunks);
    const [ours, theirs] = [
      await all(content.pieces(size, signal)),
      await all(contentOfBytes(bytes).pieces(size, signal)),
    ];
    assert.deepEqual(ours, theirs, `${bytes.length} bytes by ${sizes}, in pieces of ${size}`);
    assert.ok(Buffer.concat(ours.map((piece) => piece.bytes)).equals(bytes));
    assert.deepEqual(ours.map(({ isLast }) => isLast), ours.map((_, i) => i === ours.length - 1));
  }
});

test("pieces of chunks are cut as they are asked for, and whoever makes them is told of an end", async () => {
  const source = new ChunkSource(new Uint8Array(100), [10]);
  for await (const { bytes } of contentOfChunks(source.chunks).pieces(25, signal)) {
    assert.equal(bytes.length, 25);
    break;
  }
  assert.deepEqual([source.given, source.begun, source.ended], [30, 1, 1]);
});

test("pieces of chunks end with the signal while a chunk does not come", async () => {
  const controller = new AbortController();
  const silent = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) };
  const pieces = all(contentOfChunks(() => silent).pieces(5, controller.signal));
  controller.abort(new Error("enough"));
  await assert.rejects(pieces, /enough/);
  await assert.rejects(all(contentOfChunks(() => silent).pieces(5, controller.signal)), /enough/);
});
