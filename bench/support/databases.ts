/**
 * The databases of the benches, made once and kept in `.tools/bench/`: a plain file, and the LTX files of its replica.
 *
 * `orders(id, customer, region, amount, note, payload)`: rows are inserted in an order that scatters neighbours of the
 * B-tree over the file; one index is scattered (`customer`), one clustered (`region`, which rises with the id).
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

const FOLDER = fileURLToPath(new URL("../../.tools/bench/", import.meta.url));
const PAGE_SIZE = 4096;

/** A database of the benches. */
export interface BenchDatabase {
  readonly name: string;
  /** The plain file. */
  readonly path: string;
  readonly rows: number;
  /** Objects of its replica by key below the replica's path, in the S3 layout. */
  readonly objects: ReadonlyMap<string, string>;
}

async function makeOrders(path: string, rows: number): Promise<void> {
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

/** Makes a database with its replica, or finds the one made before. `incrementals`: a third at level 1, the rest at 0. */
export async function benchDatabase(name: string, rows: number, incrementals = 0): Promise<BenchDatabase> {
  const path = join(FOLDER, `orders-${rows}.db`);
  const folder = join(FOLDER, name);
  await mkdir(FOLDER, { recursive: true });
  if (!existsSync(path)) {
    await makeOrders(`${path}.tmp`, rows);
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
  return { name, path, rows, objects };
}
