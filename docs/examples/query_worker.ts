/** A thread of `query_pool.ts`: joins the replica that the main thread opened, and shares its pages and requests. */
import process from "node:process";
import { parentPort, workerData } from "node:worker_threads";
import { joinReplica, type ReplicaDatabase } from "@x/litestream-vfs";
import type { Query } from "./query_pool.ts";

const replica = await joinReplica(workerData);
const newest = replica.connect();

/** Rows, and the TXID that they are of: one transaction, or they might be of two states. */
function rowsOf(db: ReplicaDatabase, { sql, parameters = [] }: Query) {
  db.exec("BEGIN");
  try {
    const { txid } = db.prepare("SELECT litestream_txid() AS txid").get();
    return { txid, rows: db.prepare(sql).all(...parameters) };
  } finally {
    db.exec("ROLLBACK");
  }
}

function answer(query: Query) {
  if (query.asOf === undefined) return rowsOf(newest, query);
  const past = replica.connect({ asOf: query.asOf });
  try {
    return rowsOf(past, query);
  } finally {
    past.close();
  }
}

async function end(): Promise<void> {
  newest.close();
  await replica.close(); // leaves; the main thread's stays open
  process.exit();
}

parentPort!.on("message", (asked: Query & { id: number } | null) => {
  if (asked === null) return void end();
  const { id, ...query } = asked;
  try {
    parentPort!.postMessage({ id, ...answer(query) });
  } catch (error) {
    const why = replica.lastError?.message ?? (error as Error).message; // drivers say "disk I/O error" for all of it
    parentPort!.postMessage({ id, error: why });
  }
});
