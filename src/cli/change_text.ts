/**
 * Differences between two states, for a person and as JSON.
 *
 * @module
 */
import type { Change } from "../diff/change.ts";
import type { SqlValue } from "../diff/sql_value.ts";
import { type CellValue, jsonText, sqlText, visibleText } from "./cell_text.ts";
import type { Output } from "./output.ts";
import type { Paint } from "./paint.ts";
import { amountText } from "./units.ts";

const SIGNS: Readonly<Record<Change["kind"], [sign: string, paint: Paint, word: string]>> = {
  "insert": ["+", "green", "insert"],
  "update": ["~", "yellow", "update"],
  "delete": ["-", "red", "delete"],
  "table-created": ["+", "green", "create table"],
  "table-dropped": ["-", "red", "drop table"],
  "schema-changed": ["~", "yellow", "change table"],
};

/** A key's value as a cell: a key's integers are numbers where 53 bits hold them. */
export function cellOf(value: SqlValue): CellValue {
  return typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : value;
}

/** `~ update ratings id=7` */
function changeLine(change: Change, out: Output): string {
  const [sign, paint, word] = SIGNS[change.kind];
  const key = "key" in change
    ? Object.entries(change.key).map(([name, value]) =>
      ` ${visibleText(name)}=${visibleText(sqlText(cellOf(value)))}`
    )
    : [];
  return `${out.paint(sign, paint)} ${word} ${visibleText(change.table)}${key.join("")}\n`;
}

/** `{"kind":"update","table":"ratings","key":{"id":7}}` */
export function changeJson(change: Change): string {
  const head = `{"kind":"${change.kind}","table":${jsonText(change.table)}`;
  if (!("key" in change)) return `${head}}`;
  const members = Object.entries(change.key).map(([name, value]) =>
    `${jsonText(name)}:${jsonText(cellOf(value))}`
  );
  return `${head},"key":{${members.join(",")}}}`;
}

/** Writes changes as they come, and below them how many there were, for a person. */
export async function writeChanges(
  changes: AsyncIterable<Change>,
  { out, err }: { readonly out: Output; readonly err: Output },
): Promise<void> {
  let count = 0;
  for await (const change of changes) {
    await out.write(changeLine(change, out));
    count++;
  }
  await err.lines(count === 0 ? "no change" : amountText(count, "change"), "dim");
}
