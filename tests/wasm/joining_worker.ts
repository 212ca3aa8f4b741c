/**
 * Joins a replica, reads all its rows some times over, and tells what it saw.
 *
 * @module
 */
import { parentPort, workerData } from "node:worker_threads";
import { joinReplica, type SharedReplica } from "../../mod.ts";

const { shared, sql, rounds } = workerData as { shared: SharedReplica; sql: string; rounds: number };
const replica = await joinReplica(shared);
const db = replica.connect();
const seen = new Set<string>();
for (let i = 0; i < rounds; i++) seen.add(JSON.stringify(db.prepare(sql).all()));
db.close();
await replica.close();
parentPort!.postMessage([...seen]);
