/**
 * One cold opening with the Go VFS, in Bun: library load apart, then open to first row; prints figures as JSON.
 *
 * @module
 */
import process from "node:process";

const { library, id } = JSON.parse(process.argv[2]!);
const name = "bun:sqlite";
const { Database } = await import(name);
const begin = performance.now();
new Database(":memory:").loadExtension(library);
const start = performance.now();
const database = new Database("file:replica.db?vfs=litestream", 0x41);
const row = database.prepare("SELECT * FROM orders WHERE id = ?").get(id);
const end = performance.now();
if (row?.id !== id) throw new Error(`row ${id} is missing`);
console.log(
  JSON.stringify({ loadMs: start - begin, rowMs: end - start, rssMb: process.memoryUsage().rss / 2 ** 20 }),
);
process.exit(0);
