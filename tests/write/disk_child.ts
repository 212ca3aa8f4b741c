/**
 * A writer that tells of each row that it has committed, `told <i>`, and how others failed, `failed <words>`,
 * after which it stores what there is. Then it kills itself.
 *
 * @module
 */
import { writeSync } from "node:fs";
import process from "node:process";
import { openReplica } from "../../mod.ts";

const [url, bufferPath, size] = process.argv.slice(2);
const replica = await openReplica(url, { write: true, bufferPath: bufferPath!, syncIntervalMs: 0 });
const db = replica.connect();
db.exec("CREATE TABLE IF NOT EXISTS t(i INTEGER PRIMARY KEY, body BLOB)");
await replica.sync();
for (let i = 1; i <= 20; i++) {
  try {
    db.exec(`INSERT INTO t VALUES (${i}, randomblob(${i % 3 === 0 ? size : 500}))`);
    writeSync(1, `told ${i}\n`);
  } catch (error) {
    writeSync(1, `failed ${(error as Error).message}: ${replica.lastError}\n`);
    await replica.sync();
  }
}
process.kill(process.pid, "SIGKILL");
