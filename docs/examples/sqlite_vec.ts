/**
 * Vector search over a replica: sqlite-vec reads its vectors' pages from storage as a search needs them.
 *
 *     deno run -A docs/examples/sqlite_vec.ts s3://bucket/notes
 *     bun docs/examples/sqlite_vec.ts s3://bucket/notes
 *
 * The writer made: CREATE VIRTUAL TABLE notes_index USING vec0(embedding float[4])
 */
import process from "node:process";
import { load } from "sqlite-vec";
import { openReplica, type ReplicaDatabase } from "@x/litestream-vfs";

/** A database that extensions can be loaded into; `node:sqlite` wants to be asked beforehand. */
interface ExtensibleDatabase extends ReplicaDatabase {
  loadExtension(path: string, entryPoint?: string): void;
}

await using replica = await openReplica(process.argv[2]);
const database = "Bun" in globalThis ? {} : { allowExtension: true };
const db = replica.connect({ database }) as ExtensibleDatabase;
load(db);

const wanted = new Float32Array([0.1, 0.9, 0, 0]);
const nearest = db.prepare(
  `SELECT notes.text, round(distance, 3) AS distance
   FROM notes_index JOIN notes ON notes.id = notes_index.rowid
   WHERE embedding MATCH ? AND k = 2 ORDER BY distance`,
);
console.log(JSON.stringify(nearest.all(new Uint8Array(wanted.buffer))));
db.close();
