/**
 * A writer whose calls are recorded: commits numbered transactions, tells of each, and ends without closing.
 *
 * Arguments: the folder, the page size, how many transactions, and how many in a row are synchronous before
 * as many are not (0: all are).
 *
 * @module
 */
import { openSync, writeSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { openReplica } from "../../mod.ts";
import { Random } from "../support/random.ts";
import { CACHE_PAGES, statementsGivenUp, statementsOf } from "./numbered_work.ts";

const [folder, pageSize, count, offRun] = process.argv.slice(2);
const replica = await openReplica(`file://${folder}/replica`, {
  write: true,
  bufferPath: join(folder!, "log", "w"),
  syncIntervalMs: 0,
  compact: false,
});
const told = openSync(join(folder!, "told"), "a");
const db = replica.connect();
db.exec(`PRAGMA page_size = ${pageSize}`);
db.exec(`PRAGMA cache_size = ${CACHE_PAGES}`);
const isMade = db.prepare("SELECT count(*) AS n FROM sqlite_schema").get().n > 0;
const first = isMade ? Number(db.prepare("SELECT n FROM last").get().n) + 1 : 1;
/** Whether a transaction is told of before it is on the disk. */
const isOffAt = (number: number) => Number(offRun) > 0 && Math.floor(number / Number(offRun)) % 2 === 1;
const random = new Random(first * Number(pageSize));
for (let number = first; number < first + Number(count); number++) {
  const isOff = isOffAt(number);
  db.exec(`PRAGMA synchronous = ${isOff ? "OFF" : "FULL"}`);
  db.exec("BEGIN");
  for (const sql of statementsOf(number)) db.exec(sql);
  db.exec("COMMIT");
  writeSync(told, `${isOff ? "off" : "full"} ${number}\n`);
  if (number % 40 === 5) {
    db.exec("BEGIN");
    for (const sql of statementsGivenUp(number)) db.exec(sql);
    db.exec("ROLLBACK");
  }
  if (isOff && number % 3 !== 0) {
    // The next one, synchronous or not, begins a file while the one before is not on the disk.
    replica.sync().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 1));
    continue;
  }
  // Stored now and then: beside what follows, or before it. Long logs soon, for they take long to read.
  const draw = number % 8 === 3 ? 0 : random.next(12);
  if (draw < 3) replica.sync().catch(() => {});
  if (draw === 0) await replica.sync();
  if (draw > 8) await new Promise((resolve) => setTimeout(resolve, draw - 8));
}
process.exit(0);
