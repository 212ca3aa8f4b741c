/**
 * Opens the replica that its argument names and prints what it met as JSON.
 *
 * @module
 */
import process from "node:process";
import { type LogEntry, openReplica } from "../../mod.ts";

const [url, sqlite, cpu] = process.argv.slice(2) as [string, ("auto" | "native" | "wasm")?, string?];
if (cpu) Object.defineProperty(process, "arch", { value: cpu });
const told: LogEntry[] = [];
const met: Record<string, unknown> = {};
try {
  await using replica = await openReplica(url, {
    log: (entry) => told.push(entry),
    ...(sqlite && { sqlite }),
  });
  const db = replica.connect();
  met.rows = db.prepare("SELECT count(*) AS n, sum(a) AS a FROM t").all();
  met.kind = db.constructor.name;
  db.close();
  try {
    await openReplica(url, { write: true, log: () => {} });
  } catch (error) {
    met.writing = String(error);
  }
} catch (error) {
  met.error = String(error);
}
met.told = told;
console.log(JSON.stringify(met));
