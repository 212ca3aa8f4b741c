/**
 * A writer with a commit under way on another thread, whose sync the disk holds; meanwhile it is to act.
 *
 * Arguments: a folder, the connection's locking mode, and `close` or `sync`. Prints a {@link HeldCommit}.
 *
 * @module
 */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { openReplica } from "../../mod.ts";
import { rowsOf, withConnection } from "../replica/drivers.ts";
import { Reader } from "../replica/reader.ts";

/** What came of it. */
export interface HeldCommit {
  /** What COMMIT came to, and the act, while the disk held the sync; undefined: they waited. */
  readonly heldTold: string | undefined;
  readonly heldEnded: string | undefined;
  /** Both afterwards. */
  readonly told: string | undefined;
  readonly ended: string | undefined;
  /** What is in storage right after the act. */
  readonly stored: unknown[];
  /** What came of the next transaction on the other thread. */
  readonly next: string;
  /** Whether the next writer could open the log at once. */
  readonly reopened: string;
}

/** Longer than anything gives up before it waits for good. */
const HOLD_MS = 2_500;

const [folder, mode, act] = process.argv.slice(2) as [string, string, "close" | "sync"];
const hold = process.env.HELD_SYNC!;
const url = `file://${folder}/replica`;
const options = {
  write: true,
  bufferPath: join(folder, "log"),
  syncIntervalMs: 0,
  pollIntervalMs: 0,
  compact: false,
};

/** What it came to, in a word or the error's. */
async function outcome(work: Promise<unknown>): Promise<string> {
  return await work.then(() => "well", String);
}

const replica = await openReplica(url, options);
withConnection(replica, undefined, (db) => db.exec("CREATE TABLE t(a)"));
await replica.sync();
const other = await Reader.start({ shared: replica.share() });
// sync() is to have something to store; close() waits for what is under way all the same.
const before = act === "sync" ? ["INSERT INTO t VALUES (0)"] : [];
for (
  const sql of [`PRAGMA locking_mode = ${mode}`, ...before, "BEGIN IMMEDIATE", "INSERT INTO t VALUES (1)"]
) {
  const { error } = await other.ask(sql);
  if (error) throw new Error(`${sql}: ${error.message}`);
}
writeFileSync(hold, "");
let told: string | undefined;
const committing = other.ask("COMMIT").then(({ error }) => told = error?.message ?? "well");
while (!existsSync(`${hold}.held`)) await delay(2);
let ended: string | undefined;
const acting = outcome(replica[act]()).then((how) => ended = how);
await delay(HOLD_MS);
const held = { heldTold: told, heldEnded: ended };
rmSync(hold);
await acting;
await using reader = await openReplica(url, { pollIntervalMs: 0 });
const stored = withConnection(reader, undefined, (db) => rowsOf(db, "SELECT a FROM t").map(({ a }) => a));
await committing;
const { error } = await other.ask("INSERT INTO t VALUES (2)");
const again = act === "close" ? outcome(openReplica(url, options).then((next) => next.close())) : undefined;
const came: HeldCommit = {
  ...held,
  told,
  ended,
  stored,
  next: error ? error.lastError : "well",
  reopened: await again ?? "",
};
console.log(JSON.stringify(came));
process.exit(0);
