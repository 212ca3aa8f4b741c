/**
 * A workload whose transactions leave a database that says of itself whether it is one state.
 *
 * Each transaction raises the generation: in `head`, in `clock` with the writer's wall clock, and in marked rows over
 * many pages of `a`, `b` and `c`. Every row tells its own value and samples of its noise, and `sums` tells what each
 * table adds up to. `bulk` grows and shrinks; free pages go by `incremental_vacuum` and VACUUM.
 *
 * @module
 */
import { openPrimary, type PlainDatabase } from "./sqlite.ts";
import { Random } from "./random.ts";

/** A table of rows that tell their own value. */
export interface CheckedTable {
  readonly name: string;
  /** Rows at the beginning, with ids from 1. */
  readonly rows: number;
  /** Every so many-th row carries the newest generation; 0: none does. */
  readonly markEvery: number;
  /** Bytes of noise, an SQL expression of `version`. */
  readonly noiseSize: string;
  /** Tells its values from those of other tables. */
  readonly salt: number;
}

/** All tables of rows; two of `a` share a page, those of `c` grow and shrink over several. */
export const CHECKED_TABLES: readonly CheckedTable[] = [
  { name: "a", rows: 400, markEvery: 16, noiseSize: "1500", salt: 11 },
  { name: "b", rows: 400, markEvery: 20, noiseSize: "1200", salt: 222 },
  { name: "c", rows: 120, markEvery: 10, noiseSize: "(200 + 1100 * (version % 5))", salt: 3333 },
  { name: "bulk", rows: 0, markEvery: 0, noiseSize: "700", salt: 44444 },
];

/** The value that a row must have. */
export function valueSql({ salt }: CheckedTable): string {
  return `((id * 7919 + version * 104729 + ${salt}) % 1000003)`;
}

/** The samples of its noise that a row must tell: the beginning, the middle, and the end. */
export const PRINT_SQL =
  "hex(substr(noise, 1, 8)) || hex(substr(noise, length(noise) / 2, 8)) || hex(substr(noise, -8))";

/** The marked rows of a table, as a list for `IN`. */
export function markedIds({ rows, markEvery }: CheckedTable): number[] {
  if (markEvery === 0) return [];
  return Array.from({ length: Math.floor(rows / markEvery) }, (_, i) => (i + 1) * markEvery);
}

/** How many generations `clock` keeps. */
const CLOCK_ROWS = 512;

/** Rows of `bulk` at which most of them are deleted. */
const BULK_ROWS_MAX = 1500;

/** The writer's turns: for so long, with so long between two transactions; both in ms. */
const PACE: readonly { readonly forMs: number; readonly pauseMs: number }[] = [
  { forMs: 4_000, pauseMs: 500 },
  { forMs: 6_000, pauseMs: 250 },
  { forMs: 4_000, pauseMs: 80 },
  { forMs: 2_000, pauseMs: 2_000 },
];

/** How long to wait before the next transaction, that long after the beginning; in ms. */
export function pauseAfter(elapsedMs: number): number {
  let left = elapsedMs % PACE.reduce((sum, { forMs }) => sum + forMs, 0);
  for (const { forMs, pauseMs } of PACE) {
    if (left < forMs) return Math.min(pauseMs, forMs);
    left -= forMs;
  }
  return 0;
}

/** Writes one database. */
export class InvariantWriter {
  readonly #db: PlainDatabase;
  readonly #random: Random;
  readonly #vacuumMs: number;
  #generation = 0;
  #vacuumedMs = Date.now();
  #bulkId = 0;
  #bulkRows = 0;
  /** Whether the last transaction has made pages free. */
  #hasDeleted = false;
  /** Whether the last transaction ended as this object has it. */
  #isCertain = true;

  /** Makes the database at `path`, with its first generation. `vacuumMs`: how often it is vacuumed. */
  static async open(path: string, { seed = 1, vacuumMs = 40_000 } = {}): Promise<InvariantWriter> {
    const db = await openPrimary(path);
    db.exec("PRAGMA synchronous = NORMAL");
    return InvariantWriter.on(db, { seed, vacuumMs });
  }

  /** Writes to a database that is open: fills one that is empty, and goes on with one that an earlier writer left. */
  static on(db: PlainDatabase, { seed = 1, vacuumMs = 40_000 } = {}): InvariantWriter {
    const writer = new InvariantWriter(db, seed, vacuumMs);
    if (db.all("SELECT name FROM sqlite_schema WHERE name = 'head'").length > 0) writer.#resume();
    else writer.#make();
    return writer;
  }

  #make(): void {
    const db = this.#db;
    db.exec("PRAGMA auto_vacuum = INCREMENTAL; VACUUM");
    db.exec(`CREATE TABLE head(id INTEGER PRIMARY KEY, generation INTEGER);
      CREATE TABLE clock(slot INTEGER PRIMARY KEY, generation INTEGER, ms INTEGER);
      CREATE TABLE sums(name TEXT PRIMARY KEY, count INTEGER, total INTEGER, versions INTEGER);
      INSERT INTO head VALUES (1, 0)`);
    for (const { name } of CHECKED_TABLES) {
      db.exec(
        `CREATE TABLE ${name}(id INTEGER PRIMARY KEY, version INTEGER, value INTEGER, print TEXT, noise BLOB);
        INSERT INTO sums VALUES ('${name}', 0, 0, 0)`,
      );
    }
    db.exec("CREATE INDEX b_version ON b(version)");
    this.step();
  }

  /** Finds out where the database stands. */
  #resume(): void {
    const { generation, id, rows } = this.#db.all(
      "SELECT generation, (SELECT max(id) FROM bulk) AS id, (SELECT count(*) FROM bulk) AS rows FROM head",
    )[0]!;
    if (Number(generation) < this.#generation) {
      throw new Error(`Cannot go on: found generation ${generation}, expected ${this.#generation} or later`);
    }
    this.#generation = Number(generation);
    this.#bulkId = Math.max(this.#bulkId, Number(id));
    this.#bulkRows = Number(rows);
    this.#isCertain = true;
  }

  private constructor(db: PlainDatabase, seed: number, vacuumMs: number) {
    this.#db = db;
    this.#random = new Random(seed);
    this.#vacuumMs = vacuumMs;
  }

  /** The generation of the last transaction that is known to be committed. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * Writes one transaction, and gives free pages back now and then. Where that fails the next one finds out first what
   * became of it.
   */
  step(): void {
    if (!this.#isCertain) this.#resume();
    this.#isCertain = false;
    const generation = ++this.#generation;
    try {
      this.#write(generation);
    } catch (error) {
      this.#generation--;
      this.#endTransaction();
      throw error;
    }
    this.#isCertain = true;
    if (this.#hasDeleted) this.#db.all(`PRAGMA incremental_vacuum(${50 + this.#random.next(200)})`);
    if (Date.now() - this.#vacuumedMs > this.#vacuumMs) this.#vacuum();
  }

  #endTransaction(): void {
    try {
      this.#db.exec("ROLLBACK");
    } catch {
      // the error ended it, or it had not begun
    }
  }

  #write(generation: number): void {
    this.#db.exec("BEGIN IMMEDIATE");
    for (const table of CHECKED_TABLES) {
      if (generation === 1) this.#insert(table, 1, table.rows);
      else if (table.name !== "bulk") this.#update(table);
    }
    this.#hasDeleted = this.#changeBulk();
    for (const { name } of CHECKED_TABLES) {
      this.#db.exec(`UPDATE sums SET (count, total, versions) =
        (SELECT count(*), coalesce(sum(value), 0), coalesce(sum(version), 0) FROM ${name}) WHERE name = '${name}'`);
    }
    this.#db.exec(`UPDATE head SET generation = ${generation};
      INSERT OR REPLACE INTO clock VALUES (${generation % CLOCK_ROWS}, ${generation}, ${Date.now()})`);
    this.#db.exec("COMMIT");
  }

  #vacuum(): void {
    this.#db.exec("VACUUM");
    this.#vacuumedMs = Date.now();
  }

  #insert(table: CheckedTable, first: number, last: number): void {
    if (last < first) return;
    this.#db.exec(`WITH RECURSIVE n(id, version) AS (
        SELECT ${first}, ${this.#generation} UNION ALL SELECT id + 1, version FROM n WHERE id < ${last})
      INSERT INTO ${table.name}(id, version, noise) SELECT id, version, randomblob(${table.noiseSize}) FROM n`);
    this.#seal(table, `id BETWEEN ${first} AND ${last}`);
  }

  /** Writes the marked rows and some others anew. */
  #update(table: CheckedTable): void {
    const others = Array.from({ length: this.#random.next(12) }, () => 1 + this.#random.next(table.rows));
    const where = `id IN (${[...markedIds(table), ...others]})`;
    this.#db.exec(`UPDATE ${table.name} SET version = ${this.#generation} WHERE ${where};
      UPDATE ${table.name} SET noise = randomblob(${table.noiseSize}) WHERE ${where}`);
    this.#seal(table, where);
  }

  #seal(table: CheckedTable, where: string): void {
    this.#db.exec(`UPDATE ${table.name} SET value = ${valueSql(table)}, print = ${PRINT_SQL} WHERE ${where}`);
  }

  /** Adds rows to `bulk`, or deletes most of them; tells whether pages have become free. */
  #changeBulk(): boolean {
    const bulk = CHECKED_TABLES.at(-1)!;
    if (this.#bulkRows > BULK_ROWS_MAX) {
      this.#db.exec(`DELETE FROM bulk WHERE id % 10 <> 0 OR id < ${this.#bulkId - 2 * BULK_ROWS_MAX}`);
      this.#bulkRows = Number(this.#db.all("SELECT count(*) AS n FROM bulk")[0]!.n);
      return true;
    }
    if (this.#random.next(5) > 0) return this.#random.next(20) === 0;
    const count = 20 + this.#random.next(150);
    this.#insert(bulk, this.#bulkId + 1, this.#bulkId + count);
    this.#bulkId += count;
    this.#bulkRows += count;
    return false;
  }

  /** Closes the database. */
  close(): void {
    this.#db.close();
  }
}
