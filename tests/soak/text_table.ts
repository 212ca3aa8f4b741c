/**
 * Tables in Markdown, with columns of one width.
 *
 * @module
 */

/** One row. */
export type Cells = readonly (string | number)[];

/** The first row is the head. */
export function table(rows: readonly Cells[]): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => String(row[i]).length)));
  const line = (row: Cells) => `| ${row.map((cell, i) => String(cell).padEnd(widths[i]!)).join(" | ")} |`;
  return [line(rows[0]!), line(widths.map((width) => "-".repeat(width))), ...rows.slice(1).map(line)].join(
    "\n",
  );
}
