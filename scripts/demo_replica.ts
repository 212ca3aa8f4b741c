/**
 * Makes what the demo reads, in the folder given: a database of sandwich ratings, `source.db`, and its replica as
 * Litestream would leave it, a snapshot and three files of later transactions.
 *
 * @module
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { loadNative } from "../ffi/mod.ts";
import { encodeFile, type LtxPage } from "../src/ltx/encoder.ts";
import type { Lz4 } from "../src/ltx/lz4.ts";
import { formatLtxFileName } from "../src/ltx/txid.ts";
import { findShim } from "../src/shim_path.ts";
import { ltxKey } from "../src/storage/layout.ts";

const PAGE_SIZE = 4096;
const SNAPSHOT_LEVEL = 9;

/** Each string is one transaction. */
const TRANSACTIONS = [
  `CREATE TABLE sandwiches (id INTEGER PRIMARY KEY, name TEXT, bread TEXT);
   CREATE TABLE ratings (id INTEGER PRIMARY KEY, sandwich_id INTEGER, stars INTEGER, taster TEXT, comment TEXT);
   WITH RECURSIVE
     bread(b, name) AS (VALUES (0, 'rye'), (1, 'sourdough'), (2, 'ciabatta'), (3, 'bagel'), (4, 'baguette')),
     filling(f, name) AS (VALUES (0, 'Reuben'), (1, 'Cubano'), (2, 'Banh mi'), (3, 'Caprese'), (4, 'Pastrami'),
       (5, 'Egg salad'), (6, 'Tuna melt'), (7, 'Falafel'))
   INSERT INTO sandwiches SELECT f * 5 + b + 1, filling.name || ' on ' || bread.name, bread.name FROM filling, bread;
   WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
   INSERT INTO ratings SELECT i, i * 7919 % 40 + 1, min(5, 1 + i * 31 % 97 % 5 + (i * 7919 % 40 % 9 = 4)),
     printf('taster %04d', i * 13 % 5003),
     printf('%s %s, %s (visit %x-%x)', '["Wonderfully", "A bit", "Nicely", "Hardly", "Oddly"]' ->> (i * 31 % 5),
       '["crisp", "dry", "fresh", "warm", "tangy", "soggy", "crunchy"]' ->> (i * 17 % 7),
       '["would order again", "shared it with a friend", "too small for me"]' ->> (i * 11 % 3),
       i * 2654435761 % 4294967291, i * 40503 % 65521)
     FROM n;
   CREATE INDEX ratings_of ON ratings (sandwich_id, stars);`,
  "UPDATE ratings SET stars = 5, comment = 'changed my mind' WHERE id % 4999 = 0",
  "INSERT INTO ratings VALUES (60001, 1, 5, 'taster 0001', 'the best one yet')",
  "INSERT INTO ratings VALUES (60002, 1, 1, 'taster 0002', 'too much cabbage')",
  "UPDATE sandwiches SET name = name || ' (new recipe)' WHERE id = 1",
];

/** The files of the replica: level, first and last transaction. */
const FILES = [[SNAPSHOT_LEVEL, 1, 1], [1, 2, 3], [0, 4, 4], [0, 5, 5]] as const;

/** The database after a transaction, and the pages it changed. */
interface State {
  readonly bytes: Uint8Array;
  readonly changed: number[];
}

const pageOf = (bytes: Uint8Array, pgno: number) => bytes.subarray((pgno - 1) * PAGE_SIZE, pgno * PAGE_SIZE);

function perform(db: DatabaseSync, path: string, sql: string, before?: State): State {
  db.exec(`BEGIN; ${sql}; COMMIT`);
  const bytes = new Uint8Array(readFileSync(path));
  bytes.fill(2, 18, 20); // Litestream's databases are in WAL mode
  const pgnos = Array.from({ length: bytes.length / PAGE_SIZE }, (_, i) => i + 1);
  const isChanged = (pgno: number) =>
    before === undefined || Buffer.compare(pageOf(bytes, pgno), pageOf(before.bytes, pgno)) !== 0;
  return { bytes, changed: pgnos.filter(isChanged) };
}

/** The shim's compressor; nothing is decompressed here. */
async function compressor(): Promise<Lz4> {
  const { calls } = await loadNative(findShim());
  return {
    compressBlock(src) {
      const out = new Uint8Array(src.length + Math.ceil(src.length / 255) + 16);
      return out.slice(0, calls.ls_lz4_compress(new Uint8Array(src), src.length, out, out.length));
    },
    decompressBlock: () => null,
    decompressFrame: () => null,
  };
}

function encode(states: State[], minTxid: number, maxTxid: number, lz4: Lz4): Uint8Array {
  const { bytes } = states[maxTxid - 1]!;
  const pgnos = new Set(states.slice(minTxid - 1, maxTxid).flatMap(({ changed }) => changed));
  const pages: LtxPage[] = [...pgnos].sort((a, b) => a - b)
    .map((pgno) => ({ pgno, page: pageOf(bytes, pgno) }));
  const timestampMs = Date.UTC(2026, 0, 1) + maxTxid * 1000;
  const range = { minTxid: BigInt(minTxid), maxTxid: BigInt(maxTxid) };
  return encodeFile({ pageSize: PAGE_SIZE, commit: bytes.length / PAGE_SIZE, timestampMs, ...range }, pages, {
    lz4,
  });
}

const folder = process.argv[2]!;
const path = join(folder, "source.db");
const db = new DatabaseSync(path);
db.exec(`PRAGMA page_size = ${PAGE_SIZE}; PRAGMA synchronous = OFF`);
const states: State[] = [];
for (const sql of TRANSACTIONS) states.push(perform(db, path, sql, states.at(-1)));
db.close();
const lz4 = await compressor();
const size = states.at(-1)!.bytes.length;
console.log(`\nA database of ${(size / 1e6).toFixed(1)} MB, ${size / PAGE_SIZE} pages, and its replica:`);
for (const [level, first, last] of FILES) {
  const name = formatLtxFileName({ minTxid: BigInt(first), maxTxid: BigInt(last) });
  const key = ltxKey("folder", level, name);
  const bytes = encode(states, first, last, lz4);
  mkdirSync(dirname(join(folder, "replica", key)), { recursive: true });
  writeFileSync(join(folder, "replica", key), bytes);
  console.log(`  ${key}  ${(bytes.length / 1e3).toFixed(0).padStart(5)} kB`);
}
