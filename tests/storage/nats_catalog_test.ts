/** What is known of a bucket's objects, over a stream that is none: long ways, and listings that meet each other. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { OBJECTS_MAX } from "../../src/storage/listing_bound.ts";
import { ObjectCatalog } from "../../src/storage/nats/object_catalog.ts";
import type { MessageRange, ObjectStream, PendingMessage } from "../../src/storage/nats/object_stream.ts";
import { requestOf } from "../support/backend_context.ts";

const ASKED = { what: "list", key: "", kind: "list" } as const;
const KEYS = ["a", "b", "c"];
const ALL = "M.>";

/** What an object's message says; the subject of a removed one is of no matter. */
function contentOf(key: string, deleted = false): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ name: key, nuid: "N", deleted }));
}

const REMOVED = contentOf("removed", true);

/** A stream of messages that are numbered from 1 on. */
class FakeStream {
  /** From which message on was asked, of all subjects. */
  readonly asked: number[] = [];
  /** Awaited by each request that has its answer already. */
  held: Promise<void> = Promise.resolve();
  count: number;
  readonly #contentAt: (sequence: number) => Uint8Array;
  /** Where messages were before, and where those are that have taken their places. */
  readonly #before = new Map<number, number>();
  readonly #moved = new Set<number>();

  constructor(count: number, contentAt: (sequence: number) => Uint8Array) {
    this.count = count;
    this.#contentAt = contentAt;
  }

  /** Has a later message take the place of one. */
  move(from: number, to: number): void {
    this.#before.set(to, from);
    this.#moved.add(from);
  }

  metaSubject(): string {
    return ALL;
  }

  madeAt(): Promise<string> {
    return Promise.resolve("then");
  }

  async messages({ subject, sequence, count }: MessageRange): Promise<PendingMessage[]> {
    if (subject === ALL) this.asked.push(sequence);
    const found: PendingMessage[] = [];
    for (let at = sequence; at <= this.count && found.length < count; at++) {
      const first = this.#before.get(at) ?? at;
      const own = `M.${first}`;
      if (this.#moved.has(at) || subject !== ALL && subject !== own) continue;
      const data = this.#contentAt(first);
      found.push({ subject: own, sequence: at, timeMs: at, data, pending: this.count - at });
    }
    await this.held;
    return found;
  }
}

/** A stream of three objects. */
function streamOfThree(): FakeStream {
  return new FakeStream(KEYS.length, (sequence) => contentOf(KEYS[sequence - 1]!));
}

function catalogOf(stream: FakeStream, now?: () => number): ObjectCatalog {
  return new ObjectCatalog(stream as unknown as ObjectStream, now);
}

async function keysIn(catalog: ObjectCatalog): Promise<string> {
  for await (const objects of catalog.list(ASKED, requestOf())) {
    if (objects !== undefined) return Array.from(objects, ({ key }) => key).sort().join();
  }
  assert.fail("no objects came");
}

test("ObjectCatalog: what is forgotten while changes are asked for is listed anew", async () => {
  const stream = streamOfThree();
  const catalog = catalogOf(stream);
  for (const known of ["", "a,b,c"]) {
    if (known !== "") assert.equal(await keysIn(catalog), known);
    const gate = Promise.withResolvers<void>();
    stream.held = gate.promise;
    const listing = keysIn(catalog);
    catalog.forgetAll();
    gate.resolve();
    assert.equal(await listing, "a,b,c");
    assert.equal(await keysIn(catalog), "a,b,c", "and the next one");
  }
});

test("ObjectCatalog: removed objects do not count, however many they are", async () => {
  const removed = OBJECTS_MAX + 1;
  const stream = new FakeStream(
    removed + KEYS.length,
    (sequence) => sequence <= removed ? REMOVED : contentOf(KEYS[sequence - removed - 1]!),
  );
  assert.equal(await keysIn(catalogOf(stream)), "a,b,c");
});

test("ObjectCatalog: a listing that failed on its way is gone on with, and tells that it goes on", async () => {
  let nowMs = 0;
  const stream = new FakeStream(5_000, (sequence) => sequence < 5_000 ? REMOVED : contentOf("a"));
  const catalog = catalogOf(stream, () => nowMs);
  const given: number[] = [];
  const list = async () => {
    for await (const objects of catalog.list(ASKED, requestOf())) {
      given.push(objects === undefined ? 0 : [...objects].length);
    }
  };
  const messages = stream.messages.bind(stream);
  stream.messages = async (range) => {
    nowMs += 600;
    if (range.sequence === 3_001) throw new Error("not now");
    return await messages(range);
  };
  await assert.rejects(list(), /not now/);
  assert.deepEqual([stream.asked.splice(0), given.splice(0)], [[1, 1_001, 2_001], [0]]);
  await list();
  assert.deepEqual(
    [stream.asked, given],
    [[3_000, 4_000, 5_000], [0, 1]],
    "from the last message on that it had",
  );
});

test("ObjectCatalog: many changes are taken in though the last message listed was replaced", async () => {
  const stream = new FakeStream(2, (sequence) => sequence > 2 ? REMOVED : contentOf(KEYS[sequence - 1]!));
  const catalog = catalogOf(stream);
  assert.equal(await keysIn(catalog), "a,b");
  for (
    const { last, moved, count, asked } of [
      { last: 2, moved: 3_500, count: 4_000, asked: [2, 1, 1_002, 2_002, 3_002] }, // the stream is known since
      { last: 4_000, moved: 7_500, count: 7_800, asked: [4_000, 5_001, 6_001, 7_001] },
    ]
  ) {
    stream.move(last, moved);
    stream.count = count;
    stream.asked.length = 0;
    assert.equal(await keysIn(catalog), "a,b");
    assert.deepEqual(stream.asked, asked);
  }
});
