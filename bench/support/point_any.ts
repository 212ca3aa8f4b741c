/**
 * Warm look-ups on one system, in this process; prints figures as JSON.
 *
 * @module
 */
import process from "node:process";
import { openReplica } from "../../mod.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

const { system, rows, count, endpoint, path, library } = JSON.parse(process.argv[2]!);
const inBun = "Bun" in globalThis;
const name = inBun ? "bun:sqlite" : "node:sqlite";
const module: Any = await import(name);

/** Ids spread over few enough pages that all of them stay in memory. */
const ids = Array.from({ length: count }, (_, i) => 1 + (i * 7919) % Math.min(rows, 100_000));

/** Look-ups a second: the best of three passes after a first one that warms. */
function lookUp(database: Any): number {
  const statement = database.prepare("SELECT amount FROM orders WHERE id = ?");
  let best = 0;
  for (let pass = 0; pass < 4; pass++) {
    const begin = performance.now();
    for (const id of ids) statement.get(id);
    if (pass > 0) best = Math.max(best, count / (performance.now() - begin) * 1000);
  }
  return best;
}

function openGo(): Any {
  if (inBun) {
    new module.Database(":memory:").loadExtension(library);
    return new module.Database("file:replica.db?vfs=litestream", 0x41);
  }
  const loader = new module.DatabaseSync(":memory:", { allowExtension: true });
  loader.loadExtension(library, "sqlite3_litestreamvfs_init");
  return new module.DatabaseSync("file:replica.db?vfs=litestream", { readOnly: true });
}

const figures: Record<string, number> = {};
if (system === "ours") {
  const replica = await openReplica("s3://bucket/db", {
    endpoint,
    credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "any" },
  });
  const database = replica.connect();
  lookUp(database);
  const before = replica.stats();
  figures.perSecond = lookUp(database);
  figures.requests = replica.stats(before).getRequests;
} else if (system === "local") {
  const database = new (module.DatabaseSync ?? module.Database)(path);
  figures.perSecond = lookUp(database);
  database.exec("PRAGMA locking_mode=EXCLUSIVE");
  figures.exclusivePerSecond = lookUp(database);
} else {
  figures.perSecond = lookUp(openGo());
}
console.log(JSON.stringify(figures));
process.exit(0);
