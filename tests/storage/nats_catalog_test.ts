/** What is known of a bucket's objects, over a stream that is none: listings that meet each other. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ObjectCatalog } from "../../src/storage/nats/object_catalog.ts";
import type { MessageRange, ObjectStream, PendingMessage } from "../../src/storage/nats/object_stream.ts";
import { requestOf } from "../support/backend_context.ts";

const ASKED = { what: "list", key: "", kind: "list" } as const;
const KEYS = ["a", "b", "c"];

/** The message of an object, or that it was removed. */
function messageOf(sequence: number, key: string, deleted = false): Omit<PendingMessage, "pending"> {
  const data = new TextEncoder().encode(JSON.stringify({ name: key, nuid: `N${sequence}`, deleted }));
  return { subject: `M.${key}`, sequence, timeMs: sequence, data };
}

/** A stream of the given messages. */
class FakeStream {
  readonly asked: number[] = [];
  readonly #messages: readonly Omit<PendingMessage, "pending">[];
  /** Awaited by each request that has its answer already. */
  held: Promise<void> = Promise.resolve();

  constructor(messages: readonly Omit<PendingMessage, "pending">[]) {
    this.#messages = messages;
  }

  metaSubject(): string {
    return "M.>";
  }

  async messages({ sequence, count }: MessageRange): Promise<PendingMessage[]> {
    this.asked.push(sequence);
    const left = this.#messages.filter((message) => message.sequence >= sequence);
    const found = left.slice(0, count).map((message, i) => ({ ...message, pending: left.length - 1 - i }));
    await this.held;
    return found;
  }
}

function catalogOf(stream: FakeStream): ObjectCatalog {
  return new ObjectCatalog(stream as unknown as ObjectStream);
}

async function keysIn(catalog: ObjectCatalog): Promise<string> {
  return Array.from(await catalog.list(ASKED, requestOf()), ({ key }) => key).sort().join();
}

test("ObjectCatalog: what is forgotten while changes are asked for is listed anew", async () => {
  const stream = new FakeStream(KEYS.map((key, i) => messageOf(i + 1, key)));
  const catalog = catalogOf(stream);
  assert.equal(await keysIn(catalog), "a,b,c");
  const gate = Promise.withResolvers<void>();
  stream.held = gate.promise;
  const listing = keysIn(catalog);
  catalog.forgetAll();
  gate.resolve();
  assert.equal(await listing, "a,b,c");
  assert.equal(await keysIn(catalog), "a,b,c", "and the next one");
});
