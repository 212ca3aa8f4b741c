/**
 * A plain local SQLite database in whichever runtime the tests run: for making primaries, and for comparing.
 *
 * @module
 */

/** One row by column name. */
export type Row = Record<string, unknown>;

/** A value bound to a parameter. */
export type Value = null | number | bigint | string | Uint8Array;

/** The little that tests ask of a database. */
export interface PlainDatabase {
  readonly path: string;
  /** Runs statements that return nothing. */
  exec(sql: string): void;
  /** Runs one statement and returns all its rows. */
  all(sql: string, ...parameters: Value[]): Row[];
  close(): void;
}

/** Opens a database file, made when absent. Nothing of this project takes part. */
export async function openPlain(path: string): Promise<PlainDatabase> {
  return "Bun" in globalThis ? await openWithBun(path) : await openWithNode(path);
}

/**
 * Opens a new database as Litestream wants it: in WAL mode, with the given page size, checkpoints left to it. `setup` are
 * settings that come before the first page is written, such as `PRAGMA auto_vacuum = INCREMENTAL`.
 */
export async function openPrimary(
  path: string,
  options: { pageSize?: number; setup?: string } = {},
): Promise<PlainDatabase> {
  const db = await openPlain(path);
  db.exec(`PRAGMA page_size = ${options.pageSize ?? 4096}`);
  if (options.setup) db.exec(options.setup);
  db.all("PRAGMA journal_mode = WAL");
  db.exec("PRAGMA busy_timeout = 10000");
  db.exec("PRAGMA wal_autocheckpoint = 0");
  return db;
}

async function openWithBun(path: string): Promise<PlainDatabase> {
  const { Database } = await import("bun:sqlite");
  const db = new Database(path);
  return {
    path,
    exec: (sql) => void db.exec(sql),
    all(sql, ...parameters) {
      const statement = db.prepare(sql);
      try {
        return statement.all(...parameters) as Row[];
      } finally {
        statement.finalize();
      }
    },
    close: () => db.close(),
  };
}

async function openWithNode(path: string): Promise<PlainDatabase> {
  const { DatabaseSync } = await import("node:sqlite");
  const db = new DatabaseSync(path);
  return {
    path,
    exec: (sql) => db.exec(sql),
    // node:sqlite's rows have no prototype, which deepEqual tells from plain objects
    all: (sql, ...parameters) => db.prepare(sql).all(...parameters).map((row) => ({ ...row })),
    close: () => db.close(),
  };
}
