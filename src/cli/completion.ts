/**
 * What the tab key offers.
 *
 * @module
 */
import { visibleText } from "./cell_text.ts";
import { ROW_MODES } from "./row_writer.ts";

/** Names of a database. */
export interface SchemaNames {
  readonly tables: readonly string[];
  readonly columns: readonly string[];
}

/** SQL that names tables and views, then columns; by it {@link schemaNames} is made. */
export const NAMES_SQL =
  `SELECT 1, name FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
  UNION SELECT 2, c.name FROM pragma_table_list t, pragma_table_info(t.name) c
  WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'`;

/** The names that {@link NAMES_SQL} gives; those that a terminal could not show as they are are left out. */
export function schemaNames(rows: readonly (readonly unknown[])[]): SchemaNames {
  const named = (kind: bigint) =>
    rows.filter(([of]) => of === kind).map(([, name]) => String(name)).filter((name) =>
      visibleText(name) === name
    );
  return { tables: named(1n), columns: named(2n) };
}

const KEYWORDS =
  ("SELECT FROM WHERE GROUP BY ORDER HAVING LIMIT OFFSET JOIN LEFT INNER CROSS NATURAL USING ON AS AND OR NOT IN IS NULL " +
    "LIKE GLOB BETWEEN EXISTS CASE WHEN THEN ELSE END DISTINCT UNION ALL EXCEPT INTERSECT WITH RECURSIVE VALUES " +
    "EXPLAIN QUERY PLAN PRAGMA ATTACH DETACH BEGIN COMMIT ROLLBACK INSERT INTO UPDATE SET DELETE CREATE TABLE INDEX " +
    "DROP count( sum( avg( min( max( litestream_txid() litestream_time() litestream_lag()").split(" ");

const WITH_TABLE = /^\.(?:schema|indexes)\s+(\S*)$/;
const WITH_MODE = /^\.mode\s+(\S*)$/;
const WITH_SWITCH = /^\.(?:headers|timer)\s+(\S*)$/;

/** What the line may go on with, and the part of it that this begins with: as node:readline takes it. */
export function complete(
  line: string,
  dotCommands: readonly string[],
  { tables, columns }: SchemaNames,
): [string[], string] {
  if (/^\.\S*$/.test(line)) return [dotCommands.filter((name) => name.startsWith(line)).map(ended), line];
  for (
    const [form, words] of [[WITH_TABLE, tables], [WITH_MODE, ROW_MODES], [WITH_SWITCH, [
      "on",
      "off",
    ]]] as const
  ) {
    const word = form.exec(line)?.[1];
    if (word !== undefined) return [words.filter((name) => begins(name, word)), word];
  }
  if (line.startsWith(".")) return [[], line];
  const word = /[\p{L}_$][\p{L}\p{N}_$]*$/u.exec(line)?.[0] ?? "";
  if (word === "") {
    return /\b(?:from|join|into|update|table)\s+$/i.test(line)
      ? [[...tables].sort().map(ended), ""]
      : [[], ""];
  }
  const isLower = word === word.toLowerCase();
  const keywords = KEYWORDS.filter((name) => begins(name, word)).map((name) =>
    isLower ? name.toLowerCase() : name
  );
  const names = [...new Set([...tables, ...columns])].filter((name) => begins(name, word)).sort();
  return [[...names, ...keywords].map(ended), word];
}

function begins(name: string, word: string): boolean {
  return name.toLowerCase().startsWith(word.toLowerCase());
}

/** A word, with the space that comes behind it. */
function ended(word: string): string {
  return word.endsWith("(") ? word : `${word} `;
}
