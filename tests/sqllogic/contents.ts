/**
 * All that a database holds, to compare two: schema, rows and settings of the file.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { exactText, type ScriptConnection } from "./connection.ts";

const PRAGMAS = [
  "page_size",
  "encoding",
  "auto_vacuum",
  "user_version",
  "application_id",
  "page_count",
  "freelist_count",
  "integrity_check",
];

/** What a database holds, part by part: equal databases have equal parts, root pages and sizes too. */
export function contentsOf(database: ScriptConnection): Map<string, string> {
  const parts = new Map<string, string>();
  for (const name of PRAGMAS) parts.set(name, exactText(database.rows(`PRAGMA ${name}`)));
  const schema = database.rows(
    "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema ORDER BY rowid",
  );
  parts.set("schema", exactText(schema));
  const tables = database.rows(
    "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow') ORDER BY name",
  );
  for (const [name, withoutRowid] of tables) {
    const quoted = `"${String(name).replaceAll('"', '""')}"`;
    const rowid = Number(withoutRowid) === 1 || name === "sqlite_schema" ? "" : "_rowid_, ";
    const rows = database.rows(`SELECT ${rowid}* FROM ${quoted}`);
    parts.set(
      `table ${name}`,
      `${rows.length} rows, ${createHash("sha256").update(exactText(rows)).digest("hex")}`,
    );
  }
  return parts;
}

/** The parts in which two databases differ, in words. */
export function differingParts(found: Map<string, string>, wanted: Map<string, string>): string[] {
  const names = new Set([...found.keys(), ...wanted.keys()]);
  return [...names].filter((name) => found.get(name) !== wanted.get(name)).map((name) =>
    `${name}: ${found.get(name)?.slice(0, 200)}, expected ${wanted.get(name)?.slice(0, 200)}`
  );
}
