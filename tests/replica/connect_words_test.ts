/** Why connect() failed: each time, on each thread, in the words and the class of this very failure. */
import assert from "node:assert/strict";
import { Worker } from "node:worker_threads";
import { test } from "node:test";
import {
  joinReplica,
  LtxFormatError,
  openReplica,
  type Replica,
  ReplicaClosedError,
  type SharedReplica,
} from "../../mod.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { Connector } from "./connecting.ts";
import { noiseSql, rowsOf, tableSql, thrownBy, valueOf } from "./drivers.ts";
import { ASKED, stepValue } from "./following.ts";

const WORDS = /^Cannot connect to file:.*: Cannot read time "never mind"/;

test("the same failure twice has its words twice", () =>
  withReplicaFolder({}, async (folder) => {
    stepValue(folder, 2);
    await using replica = await openReplica(folder.url, ASKED);
    for (let again = 0; again < 3; again++) {
      for (
        const act of [
          () => replica.connect({ asOf: "never mind" }),
          () => replica.path({ asOf: "never mind" }),
        ]
      ) {
        const error = thrownBy(act);
        assert.ok(error instanceof TypeError, String(error));
        assert.match(error.message, WORDS);
        assert.ok(error.cause instanceof TypeError, String(error.cause));
      }
    }
    replica.connect().close();
  }));

test("page 1 that is damaged fails connect() with the same words each time", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1000));
    folder.snapshot();
    folder.damage({ level: 9, minTxid: 1, maxTxid: 1 }, (bytes) => void bytes.fill(0xee, 110, 400));
    await using replica = await openReplica(folder.url, ASKED);
    for (let again = 0; again < 3; again++) {
      const error = thrownBy(() => replica.connect());
      assert.match(error.message, /^Cannot connect to file:.*: Cannot decode page 1 of /);
      assert.ok(error.cause instanceof LtxFormatError, String(error.cause));
      assert.ok(error instanceof LtxFormatError && error.key === error.cause.key, String(error));
    }
  }));

test(
  "threads that fail at once are each told of their own failure",
  { timeout: 60_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      stepValue(folder, 2);
      await using replica = await openReplica(folder.url, ASKED);
      const connectors = await Promise.all([1, 2, 3].map(() => Connector.start(replica.share())));
      const answers = await Promise.all(
        connectors.map((connector, i) => connector.connect({ asOf: `never, thread ${i}`, times: 300 })),
      );
      for (const [i, { errors }] of answers.entries()) {
        assert.equal(errors!.length, 300);
        for (const { message, cause } of errors!) {
          assert.match(message, new RegExp(`^Cannot connect to file:.*"never, thread ${i}"`));
          assert.match(cause, new RegExp(`^TypeError: .*"never, thread ${i}"`));
        }
      }
      await Promise.all(connectors.map((connector) => connector.terminate()));
    }),
);

test(
  "a replica that closes meanwhile is named as the reason",
  { timeout: 60_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      stepValue(folder, 20);
      for (let round = 0; round < 5; round++) {
        const replica = await openReplica(folder.url, ASKED);
        const connector = await Connector.start(replica.share());
        const connecting = connector.connect({ asOf: 3n, times: 500 });
        await new Promise((resolve) => setTimeout(resolve, 5 * round));
        await replica.close();
        const { errors } = await connecting;
        for (const { name, message } of errors!) {
          assert.equal(name, "ReplicaClosedError", message);
          assert.match(message, /^Cannot connect to file:.*closed/);
        }
        await connector.terminate();
      }
    }),
);

/** Gives a replica that was joined here and opened on a thread, with what ends that thread. */
function withOpener(
  fill: (folder: ReplicaFolder) => void,
  use: (joined: Replica, end: () => Promise<unknown>) => Promise<void>,
): Promise<void> {
  return withReplicaFolder({}, async (folder) => {
    fill(folder);
    const worker = new Worker(new URL("./opener_worker.ts", import.meta.url), {
      workerData: { url: folder.url },
    });
    const shared = await new Promise<SharedReplica>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
    await using joined = await joinReplica(shared);
    await use(joined, async () => await worker.terminate());
  });
}

test(
  "a joined replica whose core has ended says so: waiting, connecting and reading",
  { timeout: 60_000 },
  () =>
    withOpener((folder) => folder.step(tableSql(50)), async (joined, end) => {
      const db = joined.connect();
      assert.equal(valueOf(db, "SELECT count(*) FROM t"), 50);
      const waiting = assert.rejects(joined.waitFor(99n), ReplicaClosedError);
      await end();
      await waiting;
      const began = performance.now();
      for (const act of [() => joined.refresh(), () => joined.waitFor(99n)]) {
        await assert.rejects(act, (error) => {
          assert.ok(error instanceof ReplicaClosedError, String(error));
          assert.match(error.message, /its core has ended$/);
          return true;
        });
      }
      for (const options of [{}, { asOf: 1n }]) {
        const error = thrownBy(() => joined.connect(options));
        assert.ok(error instanceof ReplicaClosedError, String(error));
        assert.match(error.message, /core has ended/);
      }
      thrownBy(() => rowsOf(db, "SELECT count(*) FROM t")); // though its pages are in memory
      assert.match(String(joined.lastError), /^ReplicaClosedError: .*core has ended/);
      assert.match(String(valueOf(db, "PRAGMA litestream_error")), /^ReplicaClosedError: .*core has ended/);
      assert.ok(performance.now() - began < 3_000, `${performance.now() - began} ms`);
      db.close();
    }),
);
