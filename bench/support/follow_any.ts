/**
 * Follows a replica on one system until standard input ends, with so many connections that each look at the newest row once
 * a second; prints a line once all of them have, and one with what was seen at the end.
 *
 * @module
 */
import process from "node:process";
import { openReplica } from "../../mod.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

const { system, url, connections, library } = JSON.parse(process.argv[2]!);

async function connectAll(): Promise<Any[]> {
  const range = Array.from({ length: connections });
  if (system === "ours") {
    const replica = await openReplica(url);
    return range.map(() => replica.connect());
  }
  const name = "bun:sqlite";
  const { Database } = await import(name);
  new Database(":memory:").loadExtension(library);
  return range.map(() => new Database("file:replica.db?vfs=litestream", 0x41));
}

const statements = (await connectAll()).map((database) =>
  database.prepare("SELECT id, body FROM t ORDER BY id DESC LIMIT 1")
);
let last = 0;
let failed = 0;
function look(): void {
  for (const statement of statements) {
    try {
      last = statement.get().id;
    } catch {
      failed++;
    }
  }
}
look();
console.log("ready");
setInterval(look, 1_000);
process.stdin.resume();
process.stdin.on("end", () => {
  console.log(JSON.stringify({ last, failed }));
  process.exit(0);
});
