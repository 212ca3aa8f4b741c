/**
 * The questions that cold databases are asked, the same for every system.
 *
 * @module
 */
import { Random } from "../../tests/support/random.ts";
import type { Shape } from "./databases.ts";
import { ATTACHMENTS, createdAt, ORDERS_EACH, word, WORDS } from "./orders_database.ts";
import { vector } from "./vectors_database.ts";

/** What of a database its questions depend on. */
export interface Asked {
  readonly rows: number;
  readonly shape: Shape;
}

/** A statement with its parameters. */
export interface Query {
  readonly sql: string;
  readonly parameters: readonly (number | string)[];
}

/** One workload: queries one after the other, on one connection. */
export interface Workload {
  readonly name: string;
  /** In words, for tables and plots. */
  readonly about: string;
  /** The only shape that has its tables; any that has `orders` unless given. */
  readonly shape?: Shape;
  /** The opening is part of it. */
  readonly opens?: boolean;
  /** The table or index it passes over as a whole; its speed is held against plain ranged GETs. */
  readonly passes?: string;
  queries(database: Asked): Query[];
  /**
   * For a single query that gives its rows at its end only: one that goes the same way and gives a row for each of the
   * table's, so that who does not come to the end in time can be seen to have done a share of it.
   */
  stepwise?(database: Asked): Query;
}

const QUERIES = 20;

const query = (sql: string, ...parameters: (number | string)[]): Query => ({ sql, parameters });

function several(count: number, seed: number, one: (random: Random) => Query): Query[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => one(random));
}

const clusteredColumn = ({ shape }: Asked) => shape === "plain" ? "region" : "created_at";

/** Value of the clustered column of an order. */
const clusteredValue = ({ shape }: Asked, id: number) =>
  shape === "plain" ? Math.floor((id - 1) / 50) : createdAt(id);

/** All workloads. */
export const WORKLOADS: readonly Workload[] = [
  {
    name: "open",
    about: "open → first row by primary key",
    opens: true,
    queries: ({ rows }) => [query("SELECT * FROM orders WHERE id = ?", Math.floor(rows / 3))],
  },
  {
    name: "pk",
    about: "200 random primary-key look-ups",
    queries: ({ rows }) =>
      several(200, 1, (random) => query("SELECT * FROM orders WHERE id = ?", 1 + random.next(rows))),
  },
  {
    name: "scattered",
    about: "50 rows by a scattered index, 20 times",
    queries: ({ rows }) =>
      several(QUERIES, 2, (random) =>
        query(
          "SELECT id, amount, note FROM orders WHERE customer = ? LIMIT 50",
          1 + random.next(Math.floor(rows / ORDERS_EACH) - 1),
        )),
  },
  {
    name: "clustered",
    about: "50 rows by a clustered index, 20 times",
    queries: (database) => {
      const column = clusteredColumn(database);
      const sql = `SELECT id, amount, note FROM orders WHERE ${column} >= ? ORDER BY ${column} LIMIT 50`;
      return several(
        QUERIES,
        3,
        (random) => query(sql, clusteredValue(database, 1 + random.next(database.rows - 100))),
      );
    },
  },
  {
    name: "scan",
    about: "full scan of the table",
    passes: "orders",
    queries: () => [
      query("SELECT count(*), sum(id), sum(amount), sum(length(note)) FROM orders NOT INDEXED"),
    ],
    stepwise: () => query("SELECT id, amount, length(note) FROM orders NOT INDEXED"),
  },
  {
    name: "join",
    about: "500 orders joined to their customers",
    shape: "scattered",
    queries: ({ rows }) => [
      query(
        `SELECT o.id, o.amount, c.name, c.city FROM orders o JOIN customers c ON c.id = o.customer
        WHERE o.created_at >= ? ORDER BY o.created_at LIMIT 500`,
        createdAt(Math.floor(rows / 2)),
      ),
    ],
  },
  {
    name: "order",
    about: "ORDER BY the scattered index LIMIT 200",
    queries: () => [query("SELECT id, amount, note FROM orders ORDER BY customer DESC LIMIT 200")],
  },
  {
    name: "sort",
    about: "ORDER BY without an index LIMIT 20",
    passes: "orders",
    queries: () => [query("SELECT id, amount FROM orders NOT INDEXED ORDER BY amount DESC, id LIMIT 20")],
    stepwise: () => query("SELECT id, amount FROM orders NOT INDEXED"),
  },
  {
    name: "count",
    about: "COUNT(*) over an index",
    passes: "by_customer",
    queries: () => [query("SELECT count(customer), sum(customer) FROM orders INDEXED BY by_customer")],
    stepwise: () => query("SELECT customer FROM orders INDEXED BY by_customer"),
  },
  {
    name: "like",
    about: "LIKE over the table",
    passes: "orders",
    queries: () => [query("SELECT count(*) FROM orders NOT INDEXED WHERE note LIKE '%777%'")],
    stepwise: () => query("SELECT note LIKE '%777%' FROM orders NOT INDEXED"),
  },
  {
    name: "fts",
    about: "FTS5, ten best of some 50 matches, 5 times",
    shape: "scattered",
    queries: () =>
      several(5, 4, (random) =>
        query(
          "SELECT rowid, note FROM notes WHERE notes MATCH ? ORDER BY rank, rowid LIMIT 10",
          word(WORDS - 600 + random.next(500)),
        )),
  },
  {
    name: "blobs",
    about: "20 blobs with overflow chains",
    shape: "scattered",
    queries: () =>
      several(
        QUERIES,
        5,
        (random) => query("SELECT body FROM attachments WHERE id = ?", 1 + random.next(ATTACHMENTS)),
      ),
  },
  {
    name: "vector",
    about: "sqlite-vec, ten nearest of 20,000, 5 times",
    shape: "vectors",
    queries: () =>
      several(5, 7, (random) =>
        query(
          "SELECT rowid, distance FROM vectors WHERE embedding MATCH ? AND k = 10",
          vector(random),
        )),
  },
];

/** Whether a database of a shape can be asked. */
export function isFor(workload: Workload, shape: Shape): boolean {
  return workload.shape === undefined ? shape !== "vectors" : workload.shape === shape;
}

/** The workload of a name. */
export function workloadOf(name: string): Workload {
  const found = WORKLOADS.find((workload) => workload.name === name);
  if (found) return found;
  throw new Error(
    `Cannot run workload "${name}": expected ${WORKLOADS.map(({ name }) => name).join(", ")}`,
  );
}
