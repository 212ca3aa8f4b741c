import { DatabaseSync } from "node:sqlite";

/** All that a database holds, as text. */
export function contentOf(path: string): string {
  const db = new DatabaseSync(path, { readBigInts: true });
  const text = (row: object) =>
    JSON.stringify(row, (_, value) => typeof value === "bigint" ? `${value}n` : value);
  try {
    const schema = db.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").all();
    const tables = schema.filter(({ type }) => type === "table").map(({ name }) => String(name));
    const rows = tables.map((name) => [
      name,
      db.prepare(selectOf(db, name)).all().map(text).sort(),
    ]);
    return JSON.stringify([schema, rows], undefined, 1);
  } finally {
    db.close();
  }
}

/** Text as its bytes: a driver may not show all of it. */
function selectOf(db: DatabaseSync, table: string): string {
  const columns = db.prepare("SELECT name FROM pragma_table_xinfo(?)").all(table).map(({ name }) =>
    `"${String(name).replaceAll('"', '""')}"`
  );
  const shown = columns.map((name, i) =>
    `typeof(${name}) AS t${i}, iif(typeof(${name}) = 'text', hex(CAST(${name} AS BLOB)), ${name}) AS ${name}`
  );
  return `SELECT ${shown.join(", ")} FROM "${table}"`;
}
