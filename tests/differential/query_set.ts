/**
 * What a database is asked: all rows of all tables in several ways, what its indexes give, and questions drawn at random.
 *
 * Every query gives one column, `v`, as text that tells the type and every byte, so that no driver's way with values
 * comes in between.
 *
 * @module
 */
import type { Row } from "../support/sqlite.ts";
import type { Draw } from "./draw.ts";

/** A query. */
export interface Query {
  readonly sql: string;
  /** Whether another release of SQLite may rightly give other rows: its plan decides which, or how numbers are written. */
  readonly isPlanBound?: boolean;
}

/** Runs one statement and gives its rows. */
export type Ask = (sql: string) => Row[];

/** Rows are joined only from so many of each table. */
const JOINED_ROWS = 150;

interface TableShape {
  readonly name: string;
  readonly columns: readonly string[];
  readonly hasRowid: boolean;
}

const CHECKS = [
  "SELECT integrity_check AS v FROM pragma_integrity_check",
  "SELECT quick_check AS v FROM pragma_quick_check",
];

const FACTS = [
  "page_count",
  "page_size",
  "freelist_count",
  "auto_vacuum",
  "user_version",
  "application_id",
  "encoding",
];

const SCHEMA =
  "SELECT type || ',' || name || ',' || tbl_name || ',' || rootpage || ',' || coalesce(sql, '') AS v " +
  "FROM sqlite_schema ORDER BY rowid";

/** Quotes a name. */
function id(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** An expression that tells a value's type and all of it, as text. */
function told(expression: string): string {
  return `CASE typeof(${expression}) WHEN 'text' THEN 't' || hex(CAST(${expression} AS BLOB)) ` +
    `WHEN 'blob' THEN 'b' || hex(${expression}) WHEN 'real' THEN 'r' || printf('%!.17g', ${expression}) ` +
    `WHEN 'integer' THEN 'i' || ${expression} ELSE 'n' END`;
}

/** The same of several, as one text. */
function toldAll(expressions: readonly string[]): string {
  return expressions.map(told).join(" || ',' || ");
}

/** How many of the queries are drawn that need not always be asked, in a hundred. */
const DRAWN = 30;

/** Draws what a database is asked: always its schema and all rows, and some of the rest. What it holds is asked of itself. */
export function drawQueries(draw: Draw, ask: Ask): Query[] {
  const schema = ask(
    "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid",
  ) as unknown as SchemaRow[];
  const tables = schema.filter(({ type, sql }) => type === "table" && !isVirtual(sql)).map((row) =>
    shapeOf(row, ask)
  );
  const views = schema.filter(({ type }) => type === "view").map((row) => shapeOf(row, ask));
  const rest = [
    ...tables.flatMap((table) => tableQueries(draw, table)),
    ...schema.filter(({ type }) => type === "index").flatMap((row) => indexQueries(draw, row, tables, ask)),
    ...schema.filter(({ sql }) => /USING fts5/.test(sql ?? "")).flatMap(({ name }) =>
      wordQueries(draw, name)
    ),
    ...schema.filter(({ sql }) => /USING rtree/.test(sql ?? "")).flatMap(({ name }) =>
      treeQueries(draw, name)
    ),
    ...views.map(({ name, columns }) => ({
      sql: `SELECT ${toldAll(columns.map(id))} AS v FROM ${id(name)}`,
    })),
    ...questions(draw, tables),
  ];
  return [
    { sql: SCHEMA },
    ...FACTS.map((fact) => ({ sql: `SELECT ${fact} AS v FROM pragma_${fact}` })),
    ...tables.map((table) => ({ sql: `${rowsOfTable(table)} NOT INDEXED` })),
    ...rest.filter(() => draw.chance(DRAWN)),
    ...(draw.chance(40) ? CHECKS.map((sql) => ({ sql })) : []),
    ...(draw.chance(20) ? [{ sql: PAGES, isPlanBound: true }] : []),
  ];
}

/** Which page is what; only where SQLite has `dbstat`. */
const PAGES =
  "SELECT name || path || ',' || pageno || pagetype || ncell || ',' || payload || ',' || unused AS v FROM dbstat";

interface SchemaRow {
  readonly type: string;
  readonly name: string;
  readonly tbl_name: string;
  readonly sql: string | null;
}

function isVirtual(sql: string | null): boolean {
  return /^CREATE VIRTUAL/.test(sql ?? "");
}

function shapeOf({ name, sql }: SchemaRow, ask: Ask): TableShape {
  let columns: string[] = [];
  try {
    columns = ask(`SELECT name FROM pragma_table_xinfo('${name}')`).map((row) => String(row.name));
  } catch {
    // a view of what is no more: asking it fails in the same way
  }
  return { name, columns: columns.length > 0 ? columns : ["1"], hasRowid: !/WITHOUT ROWID/.test(sql ?? "") };
}

function rowsOfTable({ name, columns, hasRowid }: TableShape): string {
  return `SELECT ${toldAll([...(hasRowid ? ["rowid"] : []), ...columns.map(id)])} AS v FROM ${id(name)}`;
}

function tableQueries(draw: Draw, table: TableShape): Query[] {
  const { name, columns, hasRowid } = table;
  const from = rowsOfTable(table);
  const queries: Query[] = [{ sql: `SELECT 'i' || count(*) AS v FROM ${id(name)}` }];
  if (hasRowid) {
    queries.push({ sql: `${from} ORDER BY rowid DESC` });
    queries.push({ sql: `${from} WHERE rowid IN (${draw.many(5, () => draw.next(3000))})` });
  }
  if (columns.includes("k")) {
    const low = draw.next(3000);
    queries.push({ sql: `${from} WHERE k = ${draw.next(3000)}` });
    queries.push({ sql: `${from} WHERE k BETWEEN ${low} AND ${low + draw.next(400)} ORDER BY k DESC, 1` });
  }
  return queries;
}

/** All entries of an index, in its order, each with its row; and some of them. */
function indexQueries(
  draw: Draw,
  { name, tbl_name, sql }: SchemaRow,
  tables: readonly TableShape[],
  ask: Ask,
): Query[] {
  const table = tables.find((each) => each.name === tbl_name);
  if (table === undefined || isPrimaryKeyOf(table, name, ask)) return [];
  const partial = / WHERE (.+)$/s.exec(sql ?? "")?.[1];
  const where = partial === undefined ? "" : ` WHERE ${partial}`;
  const all = `SELECT ${toldAll(table.columns.map(id))} AS v FROM ${id(tbl_name)} INDEXED BY ${
    id(name)
  }${where}`;
  const first = ask(`SELECT name FROM pragma_index_info('${name}')`)[0]?.name;
  const queries: Query[] = [
    { sql: all },
    { sql: `SELECT 'i' || count(*) AS v FROM ${id(tbl_name)} INDEXED BY ${id(name)}${where}` },
  ];
  if (typeof first !== "string") return queries;
  const value = draw.one([
    String(draw.next(1000)),
    `'w${draw.next(61)}'`,
    `x'${draw.next(16).toString(16)}0'`,
    "NULL",
  ]);
  const some = `${id(first)} ${draw.one([">", "<", ">=", "=", "IS", "IS NOT"])} ${value}`;
  return [...queries, { sql: `${all}${where ? " AND " : " WHERE "}${some}` }];
}

/** The key of a table WITHOUT ROWID is listed as an index, and is the table. */
function isPrimaryKeyOf({ name, hasRowid }: TableShape, index: string, ask: Ask): boolean {
  if (hasRowid) return false;
  return ask(`SELECT origin FROM pragma_index_list('${name}') WHERE name = '${index}'`)[0]?.origin === "pk";
}

function wordQueries(draw: Draw, name: string): Query[] {
  const word = () => `w${draw.next(53)}`;
  const matches = [
    word(),
    `${word()} AND ${word()}`,
    `${word()} OR ${word()}`,
    `w${draw.next(6)}*`,
    `"${word()} ${word()}"`,
    `${word()} NOT ${word()}`,
    `NEAR(${word()} ${word()}, 4)`,
    "title : w1",
  ];
  const rowids = draw.many(4, () => draw.one(matches)).map((match) => {
    return {
      sql: `SELECT CAST(rowid AS TEXT) AS v FROM ${name} WHERE ${name} MATCH '${match}' ORDER BY rowid`,
    };
  });
  return [
    ...rowids,
    {
      sql: `SELECT rowid || ':' || quote(bm25(${name})) AS v FROM ${name}('${word()}') ORDER BY rank LIMIT 9`,
      isPlanBound: true,
    },
    { sql: `SELECT hex(highlight(${name}, 0, '<', '>')) AS v FROM ${name}('${word()}') ORDER BY rowid` },
  ];
}

function treeQueries(draw: Draw, name: string): Query[] {
  const [x, y] = [draw.next(100), draw.next(100)];
  const all = `SELECT id || ',' || x0 || ',' || x1 || ',' || y0 || ',' || y1 AS v FROM ${name}`;
  return [
    { sql: `${all} ORDER BY id` },
    { sql: `${all} WHERE x0 >= ${x} AND x1 <= ${x + draw.next(40)} AND y0 > ${y} ORDER BY id` },
    { sql: `${all} WHERE id = ${draw.next(300)}` },
  ];
}

/** A condition on columns of a table. */
function condition(draw: Draw, columns: readonly string[], depth = 2): string {
  const column = id(draw.one(columns));
  if (depth > 0 && draw.chance(55)) {
    const [one, two] = [condition(draw, columns, depth - 1), condition(draw, columns, depth - 1)];
    return draw.one([`(${one} AND ${two})`, `(${one} OR ${two})`, `NOT (${one})`]);
  }
  const n = draw.next(1000);
  return draw.one([
    `${column} > ${n}`,
    `${column} = ${n % 10}`,
    `${column} BETWEEN ${n} AND ${n + 200}`,
    `${column} IS NULL`,
    `${column} LIKE 'w${n % 7}%'`,
    `${column} GLOB '*${n % 10}*'`,
    `${column} IN (${n % 10}, ${n}, 'w${n % 61}', x'00')`,
    `length(${column}) > ${n % 60}`,
    `typeof(${column}) = '${draw.one(["text", "integer", "real", "blob"])}'`,
    `${column} <> ''`,
  ]);
}

/** Conditions, groups, orders and joins. */
function questions(draw: Draw, tables: readonly TableShape[]): Query[] {
  const own = tables.filter(({ columns }) => columns.includes("k") && columns.includes("a"));
  if (own.length === 0) return [];
  return draw.many(8, () => question(draw, draw.one(own), draw.one(own)));
}

function question(draw: Draw, one: TableShape, two: TableShape): Query {
  const where = condition(draw, one.columns);
  const column = id(draw.one(one.columns));
  const all = toldAll(one.columns.map(id));
  const some = (table: TableShape) => `(SELECT * FROM ${table.name} ORDER BY k, a LIMIT ${JOINED_ROWS})`;
  return draw.one<Query>([
    { sql: `SELECT ${all} AS v FROM ${one.name} WHERE ${where}` },
    { sql: `SELECT ${all} AS v FROM ${one.name} WHERE ${where} ORDER BY ${column} DESC, 1` },
    {
      sql: `SELECT ${all} AS v FROM ${one.name} WHERE ${where} ORDER BY ${column} LIMIT 20 OFFSET 5`,
      isPlanBound: true,
    },
    {
      sql:
        `SELECT count(*) || ',' || quote(total(a)) || ',' || quote(min(k)) || ',' || quote(max(length(c))) AS v
      FROM ${one.name} WHERE ${where}`,
    },
    {
      sql:
        `SELECT typeof(${column}) || ',' || count(*) AS v FROM ${one.name} GROUP BY typeof(${column}) ORDER BY 1`,
    },
    {
      sql: `SELECT ${
        told(column)
      } || ':' || count(*) AS v FROM ${one.name} GROUP BY ${column} HAVING count(*) > 1 ORDER BY 1`,
    },
    { sql: `SELECT DISTINCT ${told("a")} AS v FROM ${one.name} ORDER BY a DESC` },
    {
      sql: `SELECT ${
        toldAll(["x.k", "x.a", "y.b"])
      } AS v FROM ${one.name} AS x JOIN ${two.name} AS y ON x.k = y.k
      WHERE x.a % 3 = ${draw.next(3)}`,
    },
    {
      sql: `SELECT ${toldAll(["x.k", "y.k"])} AS v FROM ${some(one)} AS x LEFT JOIN ${
        some(two)
      } AS y ON x.a = y.a`,
      isPlanBound: true,
    },
    {
      sql:
        `SELECT ${all} AS v FROM ${one.name} WHERE EXISTS (SELECT 1 FROM ${two.name} AS y WHERE y.k = ${one.name}.k + 1)`,
    },
    { sql: `SELECT ${all} AS v FROM ${one.name} WHERE k IN (SELECT a FROM ${two.name}) OR rowid = 3` },
    {
      sql:
        `SELECT quote(sum(r * (k % 1000))) AS v FROM (SELECT row_number() OVER (ORDER BY a, k) AS r, k FROM ${one.name})`,
      isPlanBound: true,
    },
    {
      sql: `SELECT ${told("max(b)")} || ${told("min(c)")} AS v FROM ${one.name} WHERE a > ${draw.next(100)}`,
    },
  ]);
}
