/** What fails at a NATS server before anybody waits for it is told once: a rejection that nobody handles fails its test. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { NatsClient } from "../../src/storage/nats/nats_client.ts";
import type { ObjectStream } from "../../src/storage/nats/object_stream.ts";
import { ObjectWriter } from "../../src/storage/nats/object_writer.ts";
import { requestOf } from "../support/backend_context.ts";

const ASKED = { what: "put", key: "k", kind: "put" } as const;
const SIZE = 256 * 1024;

/** Lets all that is due happen: who misses a handler is told of after the microtasks. */
function aTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

test("ObjectWriter: a chunk that is refused while the next one is read fails the put alone", async () => {
  const stream = {
    bucket: "b",
    chunkSubject: (nuid: string) => nuid,
    metaSubject: (key: string) => key,
    publish: () => Promise.reject(new Error("no room")),
    purge: () => Promise.resolve(),
  } as unknown as ObjectStream;
  const messageSizeMax = () => Promise.resolve(SIZE);
  const writer = new ObjectWriter({ stream, messageSizeMax, onLeftBehind: () => {} });
  const chunks = async function* () {
    for (let i = 0; i < 2; i++) {
      yield new Uint8Array(SIZE);
      await aTurn();
    }
  };
  const content = { key: "k", size: 2 * SIZE, chunks: chunks() };
  await assert.rejects(writer.put(content, ASKED, { ...requestOf(), ifAbsent: true }), /no room/);
  await aTurn();
});

test("NatsClient: a connection that fails is nobody's where the one who wanted it has gone", async () => {
  const options = () => Promise.reject(new Error("no key"));
  const client = new NatsClient({ options, redact: (text) => text });
  const gone = requestOf(AbortSignal.abort(new Error("gone")));
  await assert.rejects(client.ask({ ...ASKED, subject: "s", payload: "" }, gone), /gone/);
  await aTurn();
});
