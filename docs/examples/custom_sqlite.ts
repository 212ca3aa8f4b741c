/**
 * Bun on macOS: Apple's SQLite loads no extensions, so another one must be named before the first database is opened, as by
 * `brew install sqlite`. On other systems this does nothing.
 *
 *     bun docs/examples/custom_sqlite.ts s3://bucket/sandwiches
 */
import { Database } from "bun:sqlite";
import { existsSync } from "node:fs";
import process from "node:process";
import { openReplica } from "@x/litestream-vfs";

const library = [
  "/opt/homebrew/opt/sqlite/lib/libsqlite3.dylib", // Apple silicon
  "/usr/local/opt/sqlite/lib/libsqlite3.dylib", // Intel
].find((path) => existsSync(path));
if (library) Database.setCustomSQLite(library);

await using replica = await openReplica(process.argv[2]);
const db = replica.connect(Database, { database: { strict: true } });
const statement = db.prepare("SELECT count(*) AS n FROM ratings WHERE stars >= $least");
console.log(JSON.stringify(statement.get({ least: 4 })));
db.close();
