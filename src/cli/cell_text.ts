/**
 * One value as text: for people, for CSV, as JSON, as SQL.
 *
 * @module
 */

import { Buffer } from "node:buffer";

/** A value as the query thread reads it: INTEGER is a bigint, REAL a number. */
export type CellValue = null | bigint | number | string | Uint8Array;

/** Bytes of a blob that a table shows. */
const BLOB_BYTES_SHOWN = 32;

/** Characters that move a terminal's cursor, speak to it, or turn text around: C0, DEL, C1, line ends, directions. */
const UNSAFE = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;
const UNSAFE_IN_LINES = /(?![\n\t])[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;
const NAMED: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

function escaped(character: string): string {
  const code = character.charCodeAt(0);
  return NAMED[character] ??
    (code > 0xff ? `\\u${code.toString(16).padStart(4, "0")}` : `\\x${code.toString(16).padStart(2, "0")}`);
}

/** Text on one line that a terminal only shows: control characters as `\x1b`, `\n`. */
export function visibleText(text: string): string {
  return text.replace(UNSAFE, escaped);
}

/** The same, in which lines and tabs stay. */
export function visibleLines(text: string): string {
  return text.replace(UNSAFE_IN_LINES, escaped);
}

/** A blob as SQL has it, in lower case; `bytesMax` of it, then how long it is. */
export function blobText(blob: Uint8Array, bytesMax = Infinity): string {
  const shown = blob.subarray(0, Math.min(bytesMax, blob.length));
  const hex = bytesOf(shown).toString("hex");
  return shown.length === blob.length ? `x'${hex}'` : `x'${hex}…' (${blob.length} bytes)`;
}

/** A REAL as SQLite writes it: always told from an INTEGER. */
export function realText(value: number): string {
  if (value === Infinity) return "Inf";
  if (value === -Infinity) return "-Inf";
  const text = Object.is(value, -0) ? "-0" : String(value);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

/** A value for a person, on one line. */
export function shownText(value: CellValue): string {
  if (value === null) return "NULL";
  if (typeof value === "string") return visibleText(value);
  return value instanceof Uint8Array ? blobText(value, BLOB_BYTES_SHOWN) : plainText(value);
}

/** A value for a program that reads text; NULL is empty. */
export function plainText(value: CellValue): string {
  if (value === null) return "";
  if (typeof value === "number") return realText(value);
  return value instanceof Uint8Array ? blobText(value) : String(value);
}

/**
 * A value as JSON. Integers have all their digits, reals a point or an exponent; a blob is Base64; infinities, which
 * JSON has not, are numbers that overflow to them.
 */
export function jsonText(value: CellValue): string {
  if (value === null) return "null";
  if (typeof value === "bigint") return String(value);
  if (typeof value === "string") return JSON.stringify(value).replace(UNSAFE, jsonEscaped);
  if (typeof value === "number") {
    return Number.isFinite(value) ? realText(value) : `${value < 0 ? "-" : ""}1e999`;
  }
  return `"${bytesOf(value).toString("base64")}"`;
}

function jsonEscaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** The same bytes as what turns them into text at once. */
function bytesOf({ buffer, byteOffset, length }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, length);
}

/** A value as an SQL expression that gives it back. */
export function sqlText(value: CellValue): string {
  if (value === null) return "NULL";
  if (typeof value === "number") {
    return Number.isFinite(value) ? realText(value) : `${value < 0 ? "-" : ""}9e999`;
  }
  if (value === -(2n ** 63n)) return "(-9223372036854775807 - 1)"; // the literal would be a REAL
  if (typeof value !== "string") return plainText(value);
  const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`;
  if (!/(?![\n\t])\p{Cc}/u.test(value)) return quoted(value);
  const parts = value.split(/((?:(?![\n\t])\p{Cc})+)/u).map((part, i) =>
    i % 2 === 0 ? quoted(part) : `char(${Array.from(part, (c) => c.charCodeAt(0)).join(", ")})`
  );
  return `(${parts.filter((part) => part !== "''").join(" || ")})`;
}

/** A name as SQL takes it, whatever it is made of. */
export function sqlName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
