/** Two hundred connections in some threads on one replica that goes on meanwhile. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { openReplica } from "../../mod.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { size } from "./size.ts";
import type { ConnectionsStart, SeenGenerations } from "./connections_thread.ts";

const THREADS = size(4, 16);
const CONNECTIONS = 200;
const ROUNDS = size(1, 10);

/** The next message of a thread. */
function answerOf(worker: Worker): Promise<SeenGenerations> {
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}

test(
  `${CONNECTIONS} connections in ${THREADS} threads each see whole states, and never an older one after a newer`,
  {
    timeout: 120_000,
  },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(`CREATE TABLE whole (rows INTEGER); INSERT INTO whole VALUES (1500);
      CREATE TABLE part (id INTEGER PRIMARY KEY, generation INTEGER, noise BLOB);
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
      INSERT INTO part SELECT i, 1, randomblob(600) FROM n`);
      folder.snapshot();
      // Less than the table takes: pages come and go while they are read.
      await using replica = await openReplica(folder.url, { cacheBytesMax: 1024 * 1024 });
      const script = new URL("./connections_thread.ts", import.meta.url);
      const workers = Array.from({ length: THREADS }, (_, i) => {
        const connections = Math.floor((CONNECTIONS * (i + 1)) / THREADS) -
          Math.floor(CONNECTIONS * i / THREADS);
        const workerData: ConnectionsStart = { shared: replica.share(), connections };
        return new Worker(script, { workerData });
      });
      await Promise.all(workers.map(answerOf));
      const last = workers.map((): number[] => []);
      for (let round = 1; round <= ROUNDS; round++) {
        const answers = workers.map(answerOf);
        for (const worker of workers) worker.postMessage(false);
        const generation = round + 1;
        folder.step(`UPDATE part SET generation = ${generation}; DELETE FROM part WHERE id = ${generation};
        UPDATE whole SET rows = rows - 1`);
        await replica.refresh();
        for (const [i, seen] of (await Promise.all(answers)).entries()) {
          assert.ok(Array.isArray(seen), (seen as { error?: string }).error);
          for (const [c, now] of seen.entries()) {
            assert.ok(now >= (last[i]![c] ?? 0) && now <= generation, `${last[i]![c]}, then ${now}`);
          }
          last[i] = seen;
        }
      }
      assert.equal(last.flat().length, CONNECTIONS);
      const ended = workers.map((worker) => new Promise((resolve) => worker.once("exit", resolve)));
      for (const worker of workers) worker.postMessage(true);
      await Promise.all(ended);
      assert.equal(replica.stats().pinned, 0);
    }),
);
