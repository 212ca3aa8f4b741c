/** What users do to a replica without meaning harm: threads that are ended anywhere, connections that nobody closes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { openReplica, type Replica } from "../../mod.ts";
import { noiseSql, valueOf, withConnection } from "../replica/drivers.ts";
import { Reader } from "../replica/reader.ts";
import { outcome, spawnScript } from "../soak/soak_support.ts";
import { Random } from "../support/random.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { SEED, size } from "./size.ts";

/** Threads that are ended, and connections that nobody closes. */
const THREADS = size(4, 60);
const CONNECTIONS = size(400, 5_000);
const ROUNDS = size(1, 10);
const ROWS = 2000;

function count(replica: Replica): unknown {
  return withConnection(replica, undefined, (db) => valueOf(db, "SELECT count(*) FROM n"));
}

test(`${THREADS} threads that join, query and are ended anywhere leave the replica as it was`, {
  timeout: 300_000,
}, () =>
  withReplicaFolder({}, async (folder) => {
    const random = new Random(SEED);
    folder.record(noiseSql(ROWS + 100));
    folder.snapshot();
    await using replica = await openReplica(folder.url, { cacheBytesMax: 1024 * 1024 });
    const wrong: string[] = [];
    const script = new URL("./hostile_thread.ts", import.meta.url);
    const live = async (seed: number) => {
      const worker = new Worker(script, { workerData: { shared: replica.share(), seed, rows: ROWS } });
      const querying = new Promise<void>((resolve) =>
        worker.on("message", (told) => told === "querying" ? resolve() : void wrong.push(told))
      );
      worker.on("error", (error) => wrong.push(String(error)));
      if (seed % 4 > 0) await querying; // else it is ended while it starts
      await new Promise((resolve) => setTimeout(resolve, random.next(60)));
      await worker.terminate();
    };
    for (let seed = 0; seed < THREADS; seed += 4) {
      await Promise.all([0, 1, 2, 3].map((i) => live(seed + i)));
      assert.equal(count(replica), ROWS + 100);
      folder.step(`UPDATE n SET x = randomblob(900) WHERE id % 7 = 1`);
      await replica.refresh();
    }
    assert.deepEqual(wrong, []);
    const reader = await Reader.start({ shared: replica.share() });
    assert.deepEqual((await reader.ask("SELECT count(*) AS n FROM n")).rows, [{ n: ROWS + 100 }]);
    await reader.close();
  }));

test(
  "close() beside queries ends them with words, and nobody hangs",
  { timeout: 120_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(ROWS));
      folder.snapshot();
      for (let round = 0; round < ROUNDS; round++) {
        const replica = await openReplica(folder.url, { cacheBytesMax: 1024 * 1024 });
        const readers = await Promise.all([1, 2, 3, 4].map(() => Reader.start({ shared: replica.share() })));
        const asked = readers.map((reader) =>
          Promise.all(
            [1, 2, 3, 4, 5].map(() => reader.ask("SELECT count(*) AS n FROM n WHERE length(x) > 0")),
          )
        );
        await new Promise((resolve) => setTimeout(resolve, 5 + round * 10));
        await replica.close();
        for (const { rows, error } of (await Promise.all(asked)).flat()) {
          if (error) assert.match(error.lastError, /ReplicaClosedError/, error.message);
          else assert.deepEqual(rows, [{ n: ROWS }]);
        }
        await Promise.all(readers.map((reader) => reader.close()));
      }
    }),
);

test(
  "two copies of the module in one process read one replica, each by its own core",
  { timeout: 60_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(200));
      folder.snapshot();
      const name = "../../mod.ts?another";
      const other = await import(name) as typeof import("../../mod.ts");
      await using first = await openReplica(folder.url);
      await using second = await other.openReplica(folder.url);
      await using joined = await other.joinReplica(first.share());
      for (const replica of [first, second, joined, first]) assert.equal(count(replica as Replica), 200);
      const txid = folder.step("DELETE FROM n WHERE id > 100");
      for (const replica of [first, second]) assert.equal(await replica.refresh(), BigInt(txid));
      for (const replica of [first, second, joined]) assert.equal(count(replica as Replica), 100);
    }),
);

test(
  `${CONNECTIONS} connections that nobody closes are closed as they are collected`,
  { timeout: 300_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(200));
      folder.snapshot();
      const child = spawnScript("../load/unclosed_child.ts", [folder.url, String(CONNECTIONS)]);
      const { how, printed } = await outcome(child, 60_000);
      assert.equal(how, "0", printed);
      const { most, left } = JSON.parse(printed.slice(printed.lastIndexOf("{"))) as {
        most: number;
        left: number;
      };
      console.log(printed.trim());
      assert.ok(most < CONNECTIONS / 2 && left < CONNECTIONS / 4, `${most} at once, ${left} left`);
    }),
);
