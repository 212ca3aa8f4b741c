/**
 * Random primaries as text: how a database is set up, and the statements that write it.
 *
 * Nothing runs here, so a statement may turn out to be refused by what is there; whoever runs it passes that over.
 *
 * @module
 */
import type { Draw } from "./draw.ts";

/** How a primary is made. */
export interface PrimarySetup {
  readonly name: string;
  readonly pageSize: number;
  /** 0 none, 1 full, 2 incremental. */
  readonly autoVacuum: number;
  readonly encoding: string;
}

/** Statements that run one after another. */
export type Step = readonly string[];

const PAGE_SIZES = [512, 512, 1024, 1024, 2048, 4096, 4096, 4096, 8192, 16384, 32768, 65536];

/** Most tables of each kind, so that statements meet. */
const TABLES_MAX = 5;
const VIRTUAL_TABLES_MAX = 2;
const INDEXES_MAX = 12;

/** Bytes of the largest value. */
const HUGE_BYTES = 200_000;

/** A table of columns k, a, b, c and d. */
interface Table {
  readonly name: string;
  /** Whether `k` alone is its key. */
  readonly isKeyed: boolean;
  /** Whether it is a rowid table whose `k` is the rowid. */
  readonly hasRowidKey: boolean;
  /** What the last column is called by now; undefined where it was dropped. */
  last?: string | undefined;
}

/** Draws how a primary is made. */
export function drawSetup(draw: Draw, name: string): PrimarySetup {
  return {
    name,
    pageSize: draw.one(PAGE_SIZES),
    autoVacuum: draw.next(3),
    encoding: draw.one(["UTF-8", "UTF-8", "UTF-8", "UTF-16le", "UTF-16be"]),
  };
}

/** Draws the statements of one primary. */
export class PrimaryScript {
  readonly #draw: Draw;
  readonly #pageSize: number;
  #tables: Table[] = [];
  #fts: string[] = [];
  #trees: string[] = [];
  #views: string[] = [];
  #indexes: string[] = [];
  #names = 0;

  constructor(draw: Draw, { pageSize }: PrimarySetup) {
    this.#draw = draw;
    this.#pageSize = pageSize;
  }

  /** What every script begins with: tables, indexes and rows. */
  first(): Step {
    const step: string[] = [];
    for (let i = this.#draw.between(1, 3); i > 0; i--) {
      step.push(...this.#createTable(), this.#insert(this.#draw.one([20, 100, 400])));
      if (this.#draw.chance(70)) step.push(this.#createIndex());
    }
    if (this.#draw.chance(50)) step.push(...this.#createFts(), this.#writeFts());
    if (this.#draw.chance(40)) step.push(this.#createTree(), this.#writeTree());
    return step;
  }

  /** The next step: a transaction, a statement, or maintenance. */
  next(): Step {
    const draw = this.#draw.next(100);
    if (draw < 45) return this.#transaction();
    if (draw < 58) return [this.#change()];
    if (draw < 68) return this.#big();
    if (draw < 80) return this.#define();
    if (draw < 88) return this.#shrink();
    return [this.#maintain()];
  }

  #name(kind: string): string {
    return `${kind}${this.#names++}`;
  }

  #transaction(): Step {
    const step = [this.#draw.one(["BEGIN", "BEGIN IMMEDIATE"])];
    for (let i = this.#draw.between(1, 8); i > 0; i--) {
      if (this.#draw.chance(12)) step.push(...this.#savepoint());
      else if (this.#draw.chance(8)) step.push(...this.#define());
      else step.push(this.#change());
    }
    step.push(this.#draw.chance(12) ? "ROLLBACK" : "COMMIT");
    return step;
  }

  #savepoint(): Step {
    const inside = this.#draw.many(this.#draw.between(1, 3), () => this.#change());
    return ["SAVEPOINT s", ...inside, ...(this.#draw.chance(60) ? ["ROLLBACK TO s"] : []), "RELEASE s"];
  }

  #change(): string {
    const draw = this.#draw.next(100);
    if (draw < 12 && this.#fts.length > 0) return this.#writeFts();
    if (draw < 20 && this.#trees.length > 0) return this.#writeTree();
    if (draw < 45) return this.#insert(this.#draw.one([1, 1, 3, 10, 40]));
    if (draw < 53) return this.#insertSpecials();
    if (draw < 62) return this.#upsert();
    if (draw < 85) return this.#update();
    return this.#delete();
  }

  #table(): Table {
    return this.#draw.one(this.#tables);
  }

  // --- schema ---

  #createTable(): Step {
    const name = this.#name("t");
    const draw = this.#draw;
    const nocase = draw.chance(15) ? " COLLATE NOCASE" : "";
    const generated = draw.chance(35)
      ? `, g INTEGER AS (length(b)) ${draw.one(["VIRTUAL", "STORED"])}` +
        (draw.chance(50) ? ", h INTEGER AS (a * 2 + coalesce(k, 0)) STORED" : "")
      : "";
    const rest = `a INTEGER, b TEXT${nocase}, c BLOB, d${generated}`;
    const strict = `a INTEGER, b TEXT, c BLOB, d ANY${generated}`;
    const [kind, sql] = draw.one<[Omit<Table, "name">, string]>([
      [ROWID_KEY, `(k INTEGER PRIMARY KEY, ${rest})`],
      [ROWID_KEY, `(k INTEGER PRIMARY KEY, ${rest})`],
      [ROWID_KEY, `(k INTEGER PRIMARY KEY AUTOINCREMENT, ${rest})`],
      [ROWID_KEY, `(k INTEGER PRIMARY KEY, ${strict}) STRICT`],
      [NO_KEY, `(k INTEGER, ${rest})`],
      [NO_KEY, `(k INTEGER, ${rest}, UNIQUE(a, k, b))`],
      [OTHER_KEY, `(k INTEGER NOT NULL UNIQUE, ${rest})`],
      [OTHER_KEY, `(k INTEGER PRIMARY KEY, ${rest}) WITHOUT ROWID`],
      [OTHER_KEY, `(k INTEGER PRIMARY KEY, ${strict}) STRICT, WITHOUT ROWID`],
      [NO_KEY, `(k INTEGER, ${rest}, PRIMARY KEY(a, k DESC)) WITHOUT ROWID`],
      [NO_KEY, `(k INTEGER, ${rest}, PRIMARY KEY(b, a, k)) WITHOUT ROWID`],
    ]);
    this.#tables.push({ name, ...kind, last: "d" });
    return [`CREATE TABLE ${name}${sql}`];
  }

  #createIndex(): string {
    const { name } = this.#table();
    const index = this.#name("i");
    this.#indexes.push(index);
    const columns = this.#draw.one([
      "(a)",
      "(a, b)",
      "(b)",
      "(b COLLATE NOCASE DESC, a)",
      "(c)",
      "(d)",
      "(d, a DESC)",
      "(length(b), a)",
      "(substr(b, 1, 3), k)",
      "(a % 7, length(c))",
      "(a) WHERE a % 3 = 0",
      "(b, d) WHERE b IS NOT NULL AND a > 20",
      "(k) WHERE typeof(d) = 'text'",
      "(lower(b)) WHERE c IS NOT NULL",
      "(g, a)",
      "(h)",
    ]);
    return `CREATE ${this.#draw.chance(8) ? "UNIQUE " : ""}INDEX ${index} ON ${name}${columns}`;
  }

  #createFts(): Step {
    const name = this.#name("f");
    const draw = this.#draw;
    const options = [
      draw.one(["", ", tokenize = 'porter'", ", tokenize = 'unicode61'"]),
      draw.one(["", "", ", prefix = '1 2'"]),
      draw.one(["", "", ", detail = column", ", detail = none"]),
      draw.one(["", "", ", columnsize = 0"]),
    ].join("");
    const keyed = this.#tables.filter(({ hasRowidKey }) => hasRowidKey);
    if (draw.chance(40) && keyed.length > 0) return this.#ftsOf(name, draw.one(keyed).name, options);
    this.#fts.push(name);
    return [`CREATE VIRTUAL TABLE ${name} USING fts5(title, body${options})`];
  }

  /** An index of words over another table, kept up by triggers. */
  #ftsOf(name: string, table: string, options: string): Step {
    const removed = `INSERT INTO ${name}(${name}, rowid, b) VALUES ('delete', old.k, old.b)`;
    const added = `INSERT INTO ${name}(rowid, b) VALUES (new.k, new.b)`;
    return [
      `CREATE VIRTUAL TABLE ${name} USING fts5(b, content = '${table}', content_rowid = 'k'${options})`,
      `INSERT INTO ${name}(${name}) VALUES ('rebuild')`,
      `CREATE TRIGGER ${name}_i AFTER INSERT ON ${table} BEGIN ${added}; END`,
      `CREATE TRIGGER ${name}_d AFTER DELETE ON ${table} BEGIN ${removed}; END`,
      `CREATE TRIGGER ${name}_u AFTER UPDATE ON ${table} BEGIN ${removed}; ${added}; END`,
    ];
  }

  #createTree(): string {
    const name = this.#name("r");
    this.#trees.push(name);
    return this.#draw.one([
      `CREATE VIRTUAL TABLE ${name} USING rtree(id, x0, x1, y0, y1)`,
      `CREATE VIRTUAL TABLE ${name} USING rtree(id, x0, x1, y0, y1, +tag TEXT)`,
      `CREATE VIRTUAL TABLE ${name} USING rtree_i32(id, x0, x1, y0, y1)`,
    ]);
  }

  #createView(): string {
    const view = this.#name("v");
    const [one, two] = [this.#table().name, this.#table().name];
    this.#views.push(view);
    return `CREATE VIEW ${view} AS ` + this.#draw.one([
      `SELECT a, count(*) AS n, sum(length(c)) AS s FROM ${one} GROUP BY a`,
      `SELECT x.k AS k, x.b AS b, y.a AS a FROM ${one} AS x JOIN ${two} AS y ON x.k = y.k`,
      `SELECT k, b FROM ${one} WHERE a % 2 = 0 UNION ALL SELECT k, b FROM ${two} WHERE a % 2 = 1`,
      `SELECT k, substr(b, 1, 5) AS b FROM ${one} WHERE length(b) > 3`,
    ]);
  }

  #createTrigger(): Step {
    const name = this.#name("g");
    const { name: table } = this.#table();
    const log = `${name}_log`;
    const event = this.#draw.one(["INSERT", "UPDATE", "DELETE"]);
    const row = event === "DELETE" ? "old" : "new";
    return [
      `CREATE TABLE ${log}(n INTEGER PRIMARY KEY, k, b)`,
      `CREATE TRIGGER ${name} AFTER ${event} ON ${table} BEGIN
        INSERT INTO ${log}(k, b) VALUES (${row}.k, substr(${row}.b, 1, 20)); END`,
    ];
  }

  #define(): Step {
    const draw = this.#draw;
    const table = this.#table();
    const { name } = table;
    return draw.one<() => Step>([
      () => this.#tables.length < TABLES_MAX ? [...this.#createTable(), this.#insert(40)] : [this.#change()],
      () => [this.#indexes.length < INDEXES_MAX ? this.#createIndex() : this.#dropIndex()],
      () => [this.#indexes.length < INDEXES_MAX ? this.#createIndex() : this.#dropIndex()],
      () =>
        this.#fts.length < VIRTUAL_TABLES_MAX ? [...this.#createFts(), this.#writeFts()] : [this.#writeFts()],
      () => [this.#trees.length < VIRTUAL_TABLES_MAX ? this.#createTree() : this.#writeTree()],
      () => [this.#createView()],
      () => draw.chance(50) ? this.#createTrigger() : [this.#createView()],
      () => [
        `ALTER TABLE ${name} ADD COLUMN ${this.#name("x")} ${
          draw.one(["", "TEXT DEFAULT 'later'", "INTEGER DEFAULT 7"])
        }`,
      ],
      () => this.#alterLast(table, this.#name("y")),
      () => this.#alterLast(table, undefined),
      () => [this.#dropIndex()],
      () => [this.#drop()],
    ])();
  }

  /** Renames the last column, or drops it. */
  #alterLast(table: Table, name: string | undefined): Step {
    const { last } = table;
    if (last === undefined) return [this.#change()];
    table.last = name;
    return [`ALTER TABLE ${table.name} ${name ? `RENAME COLUMN ${last} TO ${name}` : `DROP COLUMN ${last}`}`];
  }

  #dropIndex(): string {
    const index = this.#draw.one(this.#indexes) ?? "i";
    this.#indexes = this.#indexes.filter((each) => each !== index);
    return `DROP INDEX IF EXISTS ${index}`;
  }

  #drop(): string {
    const draw = this.#draw;
    const kind = draw.next(4);
    if (kind === 0 && this.#views.length > 0) return `DROP VIEW IF EXISTS ${draw.one(this.#views)}`;
    if (kind === 1 && this.#fts.length > 1) return `DROP TABLE IF EXISTS ${this.#fts.pop()}`;
    if (kind === 2 && this.#trees.length > 1) return `DROP TABLE IF EXISTS ${this.#trees.pop()}`;
    if (this.#tables.length < 2) return this.#delete();
    return `DROP TABLE IF EXISTS ${this.#tables.splice(draw.next(this.#tables.length), 1)[0]!.name}`;
  }

  // --- rows ---

  /** So many rows made of `n.i`. */
  #rows(count: number): string {
    return `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})`;
  }

  #insert(count: number): string {
    const verb = this.#draw.one(["INSERT OR IGNORE", "INSERT OR IGNORE", "INSERT OR REPLACE"]);
    return `${this.#rows(count)} ${verb} INTO ${this.#values(this.#table(), count)} FROM n`;
  }

  /** A table with its columns, and what is to be in them, made of `n.i`. */
  #values({ name, last }: Table, count: number): string {
    const values = [this.#key(), this.#number(), this.#text(count), this.#blob(count)];
    const [column, value] = last === undefined ? ["", ""] : [`, ${last}`, `, ${this.#any()}`];
    return `${name}(k, a, b, c${column}) SELECT ${values.join(", ")}${value}`;
  }

  #key(): string {
    const draw = this.#draw;
    return draw.one([
      `${draw.next(3000)} + i`,
      `${draw.next(3000)} + i`,
      `${draw.next(500)} + i * ${draw.between(2, 37)}`,
      `(i * 7919 + ${draw.next(1000)}) % 4001`,
      `${draw.next(2) === 0 ? "-" : ""}${draw.next(1000)} - i`,
      `9007199254740990 + i * ${draw.between(1, 9)}`,
    ]);
  }

  #number(): string {
    const draw = this.#draw;
    return draw.one([
      "i % 10",
      `(i * 7919 + ${draw.next(999)}) % 1000`,
      "-i",
      "i << 40",
      "NULL",
      String(draw.next(50)),
    ]);
  }

  #text(count: number): string {
    const draw = this.#draw;
    const size = this.#size(count);
    return draw.one([
      `'w' || (i * ${draw.between(1, 60)} % 61) || ' w' || (i % 13)`,
      `'w' || (i % 61) || ' Zürich 東京 😀 ' || i`,
      `printf('%0*d', ${size % 200}, i)`,
      `upper(hex(i * 31)) || replace(hex(zeroblob(${size >> 1})), '00', 'xy')`,
      `replace(hex(randomblob(${size >> 3})), '7', ' w' || (i % 50) || ' ')`,
      "NULL",
      "''",
    ]);
  }

  #blob(count: number): string {
    const size = this.#size(count);
    return this.#draw.one([
      `randomblob(${size})`,
      `randomblob(${size})`,
      `zeroblob(${size})`,
      `zeroblob(i % ${size + 1})`,
      "x''",
      "NULL",
      `CAST(printf('%0*d', ${size % 300}, i) AS BLOB)`,
    ]);
  }

  #any(): string {
    return this.#draw.one([
      "NULL",
      "i",
      "i * 0.1",
      "i || ''",
      "zeroblob(i % 5)",
      "9223372036854775807 - i",
      "CASE i % 6 WHEN 0 THEN -0.0 WHEN 1 THEN 'a' || char(0) || 'b' WHEN 2 THEN x'' WHEN 3 THEN 1e999 WHEN 4 THEN '' END",
    ]);
  }

  /** Bytes of a value; large ones only where there are few of them. */
  #size(count: number): number {
    const draw = this.#draw;
    if (count <= 3 && draw.chance(25)) return draw.next(HUGE_BYTES);
    if (count <= 40 && draw.chance(25)) return Math.max(0, this.#pageSize + draw.between(-60, 60));
    return draw.next(draw.one([8, 40, 120, 400]));
  }

  #insertSpecials(): string {
    const rows = [
      "(NULL, 1, 'a' || char(0) || 'b', x'0000', -0.0)",
      "(-9223372036854775807 - 1, 2, char(0), x'', 9223372036854775807)",
      "(9223372036854775807, 3, 'é' || char(0), zeroblob(0), -9223372036854775807 - 1)",
      "(9007199254740993, 4, '', x'ff', 1e308 * 10)",
      "(4, -9223372036854775807, '😀', NULL, 5e-324)",
      "(5, NULL, NULL, x'00', 0.1 + 0.2)",
      "(6, 0, char(65533, 55357), zeroblob(1), 1.7976931348623157e308)",
      "(7, 9007199254740992, 'It''s', CAST('text' AS BLOB), '12')",
    ];
    const values = this.#draw.many(this.#draw.between(1, 4), () => this.#draw.one(rows));
    const { name, last } = this.#table();
    if (last === undefined) return this.#update();
    return `INSERT OR REPLACE INTO ${name}(k, a, b, c, ${last}) VALUES ${values.join(", ")}`;
  }

  #upsert(): string {
    const keyed = this.#tables.filter(({ isKeyed }) => isKeyed);
    if (keyed.length === 0) return this.#update();
    const count = this.#draw.one([1, 5, 30]);
    const change = this.#draw.one([
      "a = excluded.a, b = coalesce(b, '') || excluded.b",
      "c = excluded.c WHERE excluded.k % 2 = 0",
      "b = typeof(c), a = coalesce(a, 0) + 1",
    ]);
    return `${this.#rows(count)} INSERT INTO ${this.#values(this.#draw.one(keyed), count)} FROM n WHERE true
      ON CONFLICT(k) DO UPDATE SET ${change}`;
  }

  /** Which rows of a table. */
  #where(): string {
    const draw = this.#draw;
    const modulus = draw.one([3, 7, 19, 50]);
    return draw.one([
      `k % ${modulus} = ${draw.next(modulus)}`,
      `a % ${modulus} = ${draw.next(modulus)}`,
      `k BETWEEN ${draw.next(2000)} AND ${draw.next(4000)}`,
      `length(b) > ${draw.next(60)}`,
      `k = ${draw.next(3000)}`,
      `k IN (SELECT k FROM ${this.#table().name} LIMIT ${draw.between(1, 30)})`,
    ]);
  }

  #update(): string {
    const draw = this.#draw;
    const { name, last } = this.#table();
    const change = draw.one([
      "a = a + 1",
      "a = k % 10",
      `b = substr(b, 1, ${draw.next(12)})`,
      `b = coalesce(b, '') || ' w${draw.next(61)}'`,
      `c = randomblob(${this.#size(20)})`,
      // of random bytes it would be no valid text, and releases of SQLite differ in what length() of that is
      `c = CAST(substr(c || x'00', 1, ${draw.next(300)}) AS BLOB)`,
      `k = k + ${draw.between(1, 5000)}`,
      `${last ?? "a"} = ${draw.one(["NULL", "a * 1.5", "b", "-0.0", "k"])}`,
      `b = b, a = -a`,
    ]);
    return `UPDATE OR ${draw.one(["IGNORE", "REPLACE"])} ${name} SET ${change} WHERE ${this.#where()}`;
  }

  #delete(): string {
    return `DELETE FROM ${this.#table().name} WHERE ${this.#where()}`;
  }

  #writeFts(): string {
    const name = this.#draw.one(this.#fts);
    if (name === undefined) return this.#update();
    const draw = this.#draw;
    const count = draw.one([1, 5, 40, 150]);
    const words = draw.many(draw.between(1, 6), () => `'w' || (i * ${draw.between(1, 53)} % 53)`).join(
      " || ' ' || ",
    );
    return draw.one([
      `${this.#rows(count)} INSERT INTO ${name}(title, body) SELECT 'w' || (i % 7), ${words} FROM n`,
      `${this.#rows(count)} INSERT INTO ${name}(title, body) SELECT 'Title w' || i, ${words} FROM n`,
      `DELETE FROM ${name} WHERE rowid % ${draw.between(3, 9)} = 1`,
      `UPDATE ${name} SET title = title || ' w${draw.next(53)}' WHERE rowid % ${draw.between(3, 20)} = 0`,
      `INSERT INTO ${name}(${name}) VALUES ('${draw.one(["optimize", "rebuild"])}')`,
      `INSERT INTO ${name}(${name}, rank) VALUES ('merge', ${draw.between(1, 50)})`,
    ]);
  }

  #writeTree(): string {
    const name = this.#draw.one(this.#trees);
    if (name === undefined) return this.#update();
    const draw = this.#draw;
    const first = draw.next(500);
    return draw.one([
      `${this.#rows(draw.one([1, 30, 200]))} INSERT OR REPLACE INTO ${name}(id, x0, x1, y0, y1)
        SELECT ${first} + i, i * 7 % 100, i * 7 % 100 + i % 9, i * 13 % 100, i * 13 % 100 + i % 5 FROM n`,
      `DELETE FROM ${name} WHERE id % ${draw.between(2, 9)} = 0`,
      `UPDATE ${name} SET x1 = x1 + 1, y1 = y1 + 2 WHERE id < ${first}`,
    ]);
  }

  // --- sizes ---

  #big(): Step {
    const { name } = this.#table();
    const size = this.#draw.between(HUGE_BYTES / 10, HUGE_BYTES * 1.5);
    return this.#draw.one<() => Step>([
      () => [this.#insert(this.#draw.between(300, 1200))],
      () => [
        `INSERT OR REPLACE INTO ${name}(k, a, c) VALUES (${this.#draw.next(3000)}, 1, randomblob(${size}))`,
      ],
      () => [`INSERT OR REPLACE INTO ${name}(k, a, b) VALUES (${this.#draw.next(3000)}, 2,
        replace(hex(zeroblob(${size >> 1})), '00', 'w${this.#draw.next(61)} '))`],
      () => [`UPDATE ${name} SET c = randomblob(length(c) + ${this.#draw.next(100)}) WHERE c IS NOT NULL`],
    ])();
  }

  #shrink(): Step {
    const { name } = this.#table();
    const emptied = this.#draw.one([
      `DELETE FROM ${name}`,
      `DELETE FROM ${name} WHERE k % 10 > 0`,
      `UPDATE ${name} SET c = NULL WHERE length(c) > 500`,
    ]);
    const given = this.#draw.one<Step>([
      ["VACUUM"],
      ["PRAGMA incremental_vacuum(7)", "PRAGMA incremental_vacuum"],
      ["PRAGMA incremental_vacuum(40)"],
      [],
    ]);
    return [emptied, ...given];
  }

  #maintain(): string {
    const draw = this.#draw;
    return draw.one([
      "VACUUM",
      "REINDEX",
      "ANALYZE",
      "PRAGMA optimize",
      `PRAGMA incremental_vacuum(${draw.between(1, 30)})`,
      `PRAGMA user_version = ${draw.next(1000)}`,
      `PRAGMA application_id = ${draw.next(1000)}`,
      "PRAGMA wal_checkpoint(PASSIVE)",
      `PRAGMA auto_vacuum = ${draw.next(3)}; VACUUM`,
    ]);
  }
}

const ROWID_KEY = { isKeyed: true, hasRowidKey: true };
const OTHER_KEY = { isKeyed: true, hasRowidKey: false };
const NO_KEY = { isKeyed: false, hasRowidKey: false };
