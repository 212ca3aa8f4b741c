/**
 * Travels in time in a process of its own, for `past_test.ts`.
 *
 * `past_child.ts URL '["PRAGMA litestream_time = …", …]'` writes, after each statement, the moment that is shown and the
 * TXID, as JSON. `past_child.ts URL all SQL` runs one statement by `all()` and writes its rows.
 *
 * @module
 */
import process from "node:process";
import { openReplica } from "../../mod.ts";
import { rowsOf, valueOf } from "./drivers.ts";

const [url, what = "[]", sql = ""] = process.argv.slice(2);
await using replica = await openReplica(url!);
const db = replica.connect();
if (what === "all") {
  process.stdout.write(JSON.stringify(rowsOf(db, sql)));
} else {
  const seen = (JSON.parse(what) as string[]).map((statement) => {
    db.exec(statement);
    return [valueOf(db, "SELECT litestream_time()"), Number(`0x${valueOf(db, "SELECT litestream_txid()")}`)];
  });
  process.stdout.write(JSON.stringify({ offset: new Date(1767268800000).getTimezoneOffset(), seen }));
}
db.close();
