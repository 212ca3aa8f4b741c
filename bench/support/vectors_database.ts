/**
 * The `vectors` database: one `vec0` table of sqlite-vec, `vectors(embedding float[128])`, its rowids from 1
 * on.
 *
 * sqlite-vec keeps vectors in blobs of 1,024, so a search reads long overflow chains.
 *
 * @module
 */
import { rm } from "node:fs/promises";
import { load } from "sqlite-vec";
import { Random } from "../../tests/support/random.ts";

const DIMENSIONS = 128;

/** A vector as JSON, each of its numbers from -1 to 1. */
export function vector(random: Random): string {
  return JSON.stringify(Array.from({ length: DIMENSIONS }, () => random.next(2_001) / 1_000 - 1));
}

/** Makes it at `path`, the same for the same number of vectors: 20,000 give 12 MB in a few seconds. */
export async function makeVectorsDatabase(path: string, count: number): Promise<void> {
  await rm(path, { force: true });
  const inBun = "Bun" in globalThis;
  const module = await import(inBun ? "bun:sqlite" : "node:sqlite" as string);
  const database = inBun
    ? new module.Database(path)
    : new module.DatabaseSync(path, { allowExtension: true });
  load(database);
  database.exec(
    `PRAGMA page_size=4096; PRAGMA journal_mode=off; PRAGMA synchronous=off;
    CREATE VIRTUAL TABLE vectors USING vec0(embedding float[${DIMENSIONS}]);
    BEGIN`,
  );
  const random = new Random(6);
  const insert = database.prepare("INSERT INTO vectors(embedding) VALUES (?)");
  for (let i = 0; i < count; i++) insert.run(vector(random));
  database.exec("COMMIT");
  database.close();
}
