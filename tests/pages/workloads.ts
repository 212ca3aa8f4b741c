/**
 * Databases in several layouts, and queries that read them in all the ways there are.
 *
 * @module
 */
import type { ReplicaFolder } from "../support/replica_folder.ts";
import { Random } from "../support/random.ts";

/** Rows of the large table. */
const ROWS = 6000;

/** How rows lie: in the order of their keys, or as they came. */
export type Layout = "in order" | "scattered";

/** A query, or several one after the other on one connection. */
export interface Workload {
  readonly name: string;
  readonly queries: readonly string[];
}

/** Text of a row that hardly compresses and is the same each time. */
function noise(seed: number, words: number): string {
  const word = (k: number) => `(i * ${2654435761 + 2 * k * seed} + ${k * 40503 * seed}) % 4294967296`;
  return Array.from({ length: words }, (_, k) => `printf('%08x', ${word(k + 1)})`).join(" || ");
}

/** Makes a database with tables of each kind, of some 2 MB times `scale`, and its snapshot. */
export function fillWorkloads(folder: ReplicaFolder, layout: Layout, seed: number, scale = 1): void {
  const key = layout === "in order" ? "i" : `(i * 7919 + ${seed}) % 65537`;
  const rows = (count: number) =>
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})`;
  folder.record(`
    CREATE TABLE item (id INTEGER PRIMARY KEY, owner INTEGER, kind INTEGER, note TEXT);
    CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE pair (a INTEGER, b INTEGER, note TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
    CREATE TABLE big (id INTEGER PRIMARY KEY, body BLOB);
    CREATE INDEX item_owner ON item (owner);
    CREATE INDEX item_kind ON item (kind DESC, id);
    ${rows(ROWS * scale)} INSERT INTO item SELECT ${key}, i * 31 % 997, i % 5, ${noise(seed, 12)} FROM n;
    ${rows(997)} INSERT INTO owner SELECT i - 1, ${noise(seed, 20)} FROM n;
    ${rows(3000 * scale)} INSERT INTO pair SELECT ${key} % 50, i, ${noise(seed, 10)} FROM n;
    ${rows(40 * scale)} INSERT INTO big SELECT i, randomblob(30000) FROM n;`);
  folder.snapshot();
}

/** All workloads; places that are drawn depend on the seed. */
export function workloads(seed: number, scale = 1): Workload[] {
  const random = new Random(seed);
  const draw = (count: number, sql: (place: number) => string) =>
    Array.from({ length: count }, () => sql(random.next(ROWS * scale)));
  const sum = "count(*) AS n, sum(length(note)) AS s, max(note) AS m";
  return [
    { name: "full scan", queries: [`SELECT ${sum} FROM item`] },
    { name: "reverse scan", queries: ["SELECT id, note FROM item ORDER BY id DESC"] },
    {
      name: "range scans",
      queries: draw(6, (at) => `SELECT ${sum} FROM item WHERE id BETWEEN ${at} AND ${at + 400}`),
    },
    { name: "look-ups", queries: draw(40, (at) => `SELECT * FROM item WHERE id = ${at}`) },
    { name: "LIMIT", queries: draw(8, (at) => `SELECT * FROM item WHERE id > ${at} LIMIT 10`) },
    {
      name: "index look-ups",
      queries: draw(12, (at) => `SELECT ${sum} FROM item WHERE owner = ${at % 997}`),
    },
    { name: "index scan", queries: [`SELECT ${sum} FROM (SELECT * FROM item ORDER BY owner LIMIT 800)`] },
    { name: "covering index", queries: ["SELECT owner, count(*) AS n FROM item GROUP BY owner"] },
    {
      name: "DESC index",
      queries: ["SELECT kind, id, note FROM item WHERE kind = 3 ORDER BY kind, id LIMIT 300"],
    },
    {
      name: "join",
      queries: [`SELECT count(*) AS n, max(owner.name) AS m FROM item JOIN owner ON owner.id = item.owner
        WHERE item.id < 3000`],
    },
    {
      name: "join by index",
      queries: [`SELECT owner.id, ${sum} FROM owner JOIN item ON item.owner = owner.id
        WHERE owner.id BETWEEN 100 AND 130 GROUP BY owner.id`],
    },
    { name: "blobs", queries: ["SELECT id, hex(body) AS h FROM big"] },
    {
      name: "a few blobs",
      queries: draw(5, (at) => `SELECT hex(body) AS h FROM big WHERE id = ${1 + at % 40}`),
    },
    { name: "WITHOUT ROWID", queries: [`SELECT ${sum} FROM pair WHERE a BETWEEN 10 AND 30`] },
    {
      name: "look-ups WITHOUT ROWID",
      queries: draw(20, (at) => `SELECT * FROM pair WHERE a = ${at % 50} AND b > ${at % 3000} LIMIT 3`),
    },
  ];
}
