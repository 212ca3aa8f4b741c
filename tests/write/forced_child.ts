/**
 * A writer with an upload under way, closed by force; its connection is closed `before` or `after`, as the argument says.
 * Opens others on the same thread and prints a {@link ForcedClose}.
 *
 * @module
 */
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import type { Replica } from "../../mod.ts";
import { valueOf, withConnection } from "../replica/drivers.ts";
import { FaultSchedule } from "../support/faults.ts";
import { levelZero, LTX, withBucket } from "./rival.ts";

/** Rows that the next writers see: one with another log, and one with the same. */
export interface ForcedClose {
  readonly other: unknown;
  readonly again: unknown;
}

async function countOf(opening: Promise<Replica>): Promise<unknown> {
  await using replica = await opening;
  return withConnection(replica, undefined, (db) => valueOf(db, "SELECT count(*) FROM t"));
}

let release = () => {};
const until = new Promise<void>((resolve) => release = resolve);
const faults = new FaultSchedule([{ method: "PUT", key: LTX, fault: { kind: "held", until } }]);
await withBucket(async (bucket) => {
  const replica = await bucket.open("log");
  const db = replica.connect();
  db.exec("INSERT INTO t(who) VALUES ('kept')");
  const stored = levelZero(bucket).length;
  bucket.server.log.length = 0;
  replica.sync().catch(() => {}); // it is closed meanwhile
  while (!bucket.server.log.some(({ method, key }) => method === "PUT" && LTX.test(key))) await delay(2);
  if (process.argv[2] === "before") db.close();
  const closing = replica.close({ force: true });
  if (process.argv[2] === "after") db.close();
  await closing;
  release();
  while (levelZero(bucket).length === stored) await delay(2);
  const other = await countOf(bucket.open("other"));
  const again = await countOf(bucket.open("log"));
  console.log(JSON.stringify({ other, again } satisfies ForcedClose));
}, { faults });
