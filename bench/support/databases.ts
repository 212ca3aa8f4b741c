/**
 * The databases of the benches, made once and kept in `.tools/bench/`: a plain file, and the LTX files of its replica.
 *
 * `small`, `medium`, `many`, `large`: `orders(id, customer, region, amount, note, payload)`; rows come in sixteen rising passes,
 * then one index that is scattered (`customer`) and one that is clustered (`region`, which rises with the id).
 * `orders`, `orders-many`: several tables, scattered over the file; see `orders_database.ts`. `vectors`: one table of
 * sqlite-vec; see `vectors_database.ts`.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { encodeFile, type LtxPage } from "../../src/ltx/encoder.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { openLocal } from "../../tests/support/local_database.ts";
import { nativeLz4 } from "../../tests/support/native_lz4.ts";
import { makeOrdersDatabase } from "./orders_database.ts";
import { makeVectorsDatabase } from "./vectors_database.ts";

const FOLDER = fileURLToPath(new URL("../../.tools/bench/", import.meta.url));
/** Bytes of a page of all of them. */
export const PAGE_SIZE = 4096;

/** `"plain"`: one table, its rows nearly in order. The others: as `orders_database.ts`, `vectors_database.ts` make them. */
export type Shape = "plain" | "scattered" | "vectors";

/** A database of the benches. */
export interface BenchDatabase {
  readonly name: string;
  /** The plain file. */
  readonly path: string;
  /** Rows of its table `orders`, or of `vectors`, with ids from 1 on. */
  readonly rows: number;
  /** Which tables it has; see the top of this file. */
  readonly shape: Shape;
  /** Objects of its replica by key below the replica's path, in the S3 layout. */
  readonly objects: ReadonlyMap<string, string>;
}

async function makePlain(path: string, rows: number): Promise<void> {
  await rm(path, { force: true });
  const database = await openLocal(path);
  database.exec(`PRAGMA page_size=${PAGE_SIZE}; PRAGMA journal_mode=off; PRAGMA synchronous=off;
    CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER, region INTEGER, amount REAL, note TEXT, payload BLOB)`);
  // 7919 is prime to every count used here: a walk through all ids in steps that lie far apart.
  for (let part = 0; part < 16; part++) {
    database.exec(
      `WITH RECURSIVE n(i) AS (SELECT ${part} UNION ALL SELECT i + 16 FROM n WHERE i + 16 < ${rows})
      INSERT INTO orders SELECT i + 1, (i * 7919) % (${rows} / 50), i / 50, i * 0.37,
        'note ' || i || ' ' || hex(randomblob(16)), CASE WHEN i % 1000 = 0 THEN randomblob(6000) ELSE randomblob(60) END
      FROM n`,
    );
  }
  database.exec("CREATE INDEX by_customer ON orders(customer); CREATE INDEX by_region ON orders(region)");
  database.close();
}

function* allPages(bytes: Uint8Array): Generator<LtxPage> {
  for (let i = 0; i * PAGE_SIZE < bytes.length; i++) {
    yield { pgno: i + 1, page: bytes.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE) };
  }
}

/** Pages of an incremental file: page 1 and some others, as they stand; content that changes nothing. */
function somePages(bytes: Uint8Array, count: number, seed: number): LtxPage[] {
  const commit = bytes.length / PAGE_SIZE;
  const pgnos = new Set([1]);
  for (let x = seed; pgnos.size < count;) pgnos.add(1 + (x = (x * 1103515245 + 12345) % 2147483648) % commit);
  return [...pgnos].sort((a, b) => a - b).map((pgno) => ({
    pgno,
    page: bytes.subarray((pgno - 1) * PAGE_SIZE, pgno * PAGE_SIZE),
  }));
}

const NAMED: Readonly<Record<string, { rows: number; incrementals?: number; shape?: Shape }>> = {
  small: { rows: 60_000 },
  medium: { rows: 1_200_000 },
  many: { rows: 1_200_000, incrementals: 300 },
  large: { rows: 6_000_000 },
  orders: { rows: 1_200_000, shape: "scattered" },
  "orders-many": { rows: 1_200_000, incrementals: 300, shape: "scattered" },
  vectors: { rows: 20_000, shape: "vectors" },
};

const MAKERS: Readonly<Record<Shape, (path: string, rows: number) => Promise<void>>> = {
  plain: makePlain,
  scattered: makeOrdersDatabase,
  vectors: makeVectorsDatabase,
};

/** One of the databases that have a name. */
export async function namedDatabase(name: string): Promise<BenchDatabase> {
  const found = NAMED[name];
  if (!found) throw new Error(`Cannot use data "${name}": expected ${Object.keys(NAMED).join(", ")}`);
  return await benchDatabase(name, found.rows, found.incrementals, found.shape);
}

/** Makes a database with its replica, or finds the one made before. `incrementals`: a third at level 1, the rest at 0. */
export async function benchDatabase(
  name: string,
  rows: number,
  incrementals = 0,
  shape: Shape = "plain",
): Promise<BenchDatabase> {
  const path = join(FOLDER, `${shape === "plain" ? "orders" : shape}-${rows}.db`);
  const folder = path.replace(/\.db$/, `-replica-${incrementals}`);
  await mkdir(FOLDER, { recursive: true });
  if (!existsSync(path)) {
    await MAKERS[shape](`${path}.tmp`, rows);
    await rename(`${path}.tmp`, path);
  }
  const lz4 = await nativeLz4();
  const bytes = new Uint8Array(await readFile(path));
  const commit = bytes.length / PAGE_SIZE;
  const objects = new Map<string, string>();
  const write = async (level: number, minTxid: bigint, maxTxid: bigint, pages: () => Iterable<LtxPage>) => {
    const key = `000${level}/${formatLtxFileName({ minTxid, maxTxid })}`;
    const file = join(folder, key);
    objects.set(key, file);
    if (existsSync(file)) return;
    await mkdir(join(folder, `000${level}`), { recursive: true });
    const fields = { pageSize: PAGE_SIZE, commit, minTxid, maxTxid, timestampMs: 1_700_000_000_000 };
    await writeFile(`${file}.tmp`, encodeFile(fields, pages(), { lz4 }));
    await rename(`${file}.tmp`, file);
  };
  await write(9, 1n, 1n, () => allPages(bytes));
  const atLevel1 = Math.floor(incrementals / 3);
  let txid = 2n;
  for (let i = 0; i < incrementals; i++) {
    const last = i < atLevel1 ? txid + 4n : txid;
    await write(i < atLevel1 ? 1 : 0, txid, last, () => somePages(bytes, 10, i + 1));
    txid = last + 1n;
  }
  return { name, path, rows, shape, objects };
}
