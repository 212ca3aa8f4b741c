import assert from "node:assert/strict";
import { env } from "node:process";
import { test } from "node:test";
import { Random } from "../support/random.ts";
import { RandomTables } from "./random_tables.ts";
import { changeLine, type ChangingDatabase, diff, naiveDiff, withDatabase } from "./database_pair.ts";

const DATABASES = Number(env.DIFF_DATABASES ?? 10);
const SEED = Number(env.DIFF_SEED ?? Date.now() % 2 ** 31);
const PAGE_SIZES = [512, 512, 1024, 2048, 4096, 4096, 8192, 16384, 65536];
const ENCODINGS = ["UTF-8", "UTF-8", "UTF-16le", "UTF-16be"];

async function compareWithSql(database: ChangingDatabase, script: RandomTables): Promise<void> {
  const from = database.state();
  for (let steps = 1 + script.one([0, 1, 2, 5, 10]); steps > 0; steps--) script.step();
  const to = database.state();
  const lines = (await diff(from, to)).map(changeLine);
  const expected = await naiveDiff(database, from, to);
  const found = new Set(lines);
  // Rows whose key has a NULL may have the same key.
  const twice = lines.filter((line, i) => !/=NULL/.test(line) && lines.indexOf(line) !== i);
  assert.deepEqual(twice, [], "changes reported twice");
  assert.deepEqual([...expected.lines].filter((line) => !found.has(line)), [], "changes not reported");
  const surplus = lines.filter((line) => !expected.lines.has(line));
  const unexpected = surplus.filter((line) => !expected.rewritten.has(line) || !isAltered(database, line));
  assert.deepEqual(unexpected, [], "changes that are none");
}

/**
 * A column added later makes a row's bytes other ones when the row is rewritten; a dropped one rewrites all; a whole
 * number in a REAL column has two forms.
 */
function isAltered(database: ChangingDatabase, line: string): boolean {
  const name = line.split(" ")[1]!;
  const sql = String(database.db.all("SELECT sql FROM sqlite_schema WHERE name = ?", name)[0]?.sql);
  return / d\d+ TEXT/.test(sql) || !/c 2/.test(sql) || /REAL/.test(sql);
}

test(`diffDatabases() finds what a comparison by SQL finds (DIFF_SEED=${SEED}, DIFF_DATABASES=${DATABASES})`, async () => {
  for (let i = 0; i < DATABASES; i++) {
    const random = new Random(SEED + i);
    const one = <T>(items: readonly T[]): T => items[random.next(items.length)]!;
    const pageSize = one(PAGE_SIZES);
    const setup = `PRAGMA encoding = '${one(ENCODINGS)}'; PRAGMA auto_vacuum = ${one([0, 0, 1, 2])};`;
    try {
      await withDatabase({ pageSize, setup }, async (database) => {
        const script = new RandomTables(random, database);
        for (let tables = 1 + random.next(4); tables > 0; tables--) script.createTable();
        for (let rounds = 0; rounds < 6; rounds++) await compareWithSql(database, script);
      });
    } catch (cause) {
      throw new Error(`DIFF_SEED=${SEED + i} DIFF_DATABASES=1, pages of ${pageSize}, ${setup}`, { cause });
    }
  }
});
