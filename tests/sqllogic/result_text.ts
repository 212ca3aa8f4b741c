/**
 * Results of queries as sqllogictest writes them: a text for each value, in the order of the sort mode, or their hash.
 *
 * @see https://sqlite.org/sqllogictest/doc/trunk/about.wiki
 * @module
 */
import { createHash } from "node:crypto";
import type { Expected, QueryRecord, SortMode } from "./script.ts";

/** One value of a row, as drivers give it. */
export type Cell = null | number | bigint | string | Uint8Array;

/** Up to so many values are written one by one. */
export const HASH_THRESHOLD = 8;

const encoder = new TextEncoder();

/** The values of a result as texts, in the order of the sort mode. */
export function resultTexts(rows: readonly (readonly Cell[])[], types: string, sort: SortMode): string[] {
  const texts = rows.map((row) => row.map((cell, column) => cellText(cell, types[column] ?? "T")));
  if (sort === "rowsort") texts.sort(compareRows);
  const values = texts.flat();
  return sort === "valuesort" ? values.sort(compareTexts) : values;
}

/** What a script says of these values: themselves, or where there are many their hash. */
export function expectedOf(values: readonly string[]): Expected {
  if (values.length <= HASH_THRESHOLD) return { kind: "values", values };
  return { kind: "hash", count: values.length, md5: hashOf(values) };
}

/** Why values are not what a query must give; undefined when they are. */
export function mismatch(record: QueryRecord, values: readonly string[]): string | undefined {
  const { expected } = record;
  if (expected === undefined) return undefined;
  if (expected.kind === "hash") {
    const found = `${values.length} values hashing to ${hashOf(values)}`;
    const wanted = `${expected.count} values hashing to ${expected.md5}`;
    return found === wanted ? undefined : `${found}, expected ${wanted}`;
  }
  if (JSON.stringify(values) === JSON.stringify(expected.values)) return undefined;
  return `[${values.slice(0, 20).join(", ")}], expected [${expected.values.slice(0, 20).join(", ")}]`;
}

function hashOf(values: readonly string[]): string {
  const hash = createHash("md5");
  for (const value of values) hash.update(`${value}\n`);
  return hash.digest("hex");
}

function compareRows(a: string[], b: string[]): number {
  for (let i = 0; i < a.length; i++) {
    const difference = compareTexts(a[i]!, b[i]!);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** As strcmp() does; the texts are ASCII. */
function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function cellText(cell: Cell, type: string): string {
  if (cell === null) return "NULL";
  if (type === "I") return integerText(cell);
  if (type === "R") {
    return realText(typeof cell === "number" ? cell : Number.parseFloat(plainText(cell)) || 0);
  }
  const bytes = cell instanceof Uint8Array ? upToZero(cell) : encoder.encode(String(cell));
  if (bytes.length === 0) return "(empty)";
  return Array.from(bytes, (byte) => byte < 32 || byte > 126 ? "@" : String.fromCharCode(byte)).join("");
}

function integerText(cell: Exclude<Cell, null>): string {
  if (typeof cell === "bigint") return cell.toString();
  if (typeof cell === "number") return Math.trunc(cell).toString();
  return String(Number.parseInt(plainText(cell), 10) || 0);
}

function plainText(cell: Exclude<Cell, null>): string {
  return cell instanceof Uint8Array ? String.fromCharCode(...upToZero(cell)) : String(cell);
}

function upToZero(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(0);
  return end < 0 ? bytes : bytes.subarray(0, end);
}

/** As SQLite's `%.3f`: half is rounded up, and there are 16 digits at most, then zeros. */
function realText(value: number): string {
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (Object.is(value, -0)) return "-0.000";
  if (Math.abs(value) < 1e13) return value.toFixed(3);
  const [digits, exponent] = Math.abs(value).toExponential(15).split("e+");
  const point = Number(exponent) + 1;
  const text = digits!.replace(".", "").padEnd(point + 3, "0");
  return `${value < 0 ? "-" : ""}${text.slice(0, point)}.${text.slice(point, point + 3)}`;
}
