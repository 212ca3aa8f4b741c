/**
 * Commits once, tells of it, and waits for its end: `URL BUFFER_PATH [on | once]`; with these it listens to SIGTERM
 * itself, before the replica is opened.
 *
 * @module
 */
import process from "node:process";
import { openReplica } from "../../mod.ts";

const [url, bufferPath, own] = process.argv.slice(2);
if (own === "on" || own === "once") {
  process[own]("SIGTERM", () => {
    setTimeout(() => {
      console.log("ended by itself");
      process.exit(7);
    }, 500);
  });
}
const replica = await openReplica(url, { write: true, bufferPath: bufferPath!, syncIntervalMs: 0 });
const db = replica.connect();
db.exec("CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES (1)");
console.log("committed");
setInterval(() => {}, 1000);
