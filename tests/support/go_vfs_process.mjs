// Started by go_vfs.ts under Bun: loads the Go VFS, runs the statements, writes the rows to a file.
import { writeFileSync } from "node:fs";
import { Database } from "bun:sqlite";

const { library, uri, sql, answer } = JSON.parse(process.argv[2]);
const READONLY_URI = 0x1 | 0x40;

new Database(":memory:").loadExtension(library);
const db = new Database(uri, READONLY_URI);
const rows = sql.map((statement) => db.prepare(statement).all());
writeFileSync(
  answer,
  JSON.stringify(rows, (_key, value) => value instanceof Uint8Array ? value.toHex() : value),
);

process.exit(0);
