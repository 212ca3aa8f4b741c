/** A thread of `hostile_test.ts`: joins, and queries until somebody ends it. */
import { parentPort, workerData } from "node:worker_threads";
import { joinReplica, type SharedReplica } from "../../mod.ts";
import { Random } from "../support/random.ts";

const { shared, seed, rows } = workerData as { shared: SharedReplica; seed: number; rows: number };
const replica = await joinReplica(shared);
const random = new Random(seed);
for (let round = 0;; round++) {
  const db = replica.connect();
  if (round === 0) parentPort!.postMessage("querying");
  if (random.next(2) === 0) db.exec("BEGIN");
  for (let i = 0; i < 5; i++) {
    const id = 1 + random.next(rows);
    const row = db.prepare("SELECT id FROM n WHERE id BETWEEN ? AND ? ORDER BY id").get(id, id + 100);
    if (row?.id !== id) parentPort!.postMessage(`row ${id} is ${JSON.stringify(row)}`);
  }
  if (random.next(3) > 0) db.close();
  await new Promise((resolve) => setTimeout(resolve, 0));
}
