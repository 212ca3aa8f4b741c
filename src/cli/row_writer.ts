/**
 * Rows as text, one after the other: every form but the table.
 *
 * @module
 */
import {
  type CellValue,
  jsonText,
  plainText,
  shownText,
  sqlText,
  visibleLines,
  visibleText,
} from "./cell_text.ts";
import { TableWriter } from "./table_writer.ts";

/** The forms that rows can have, by the names of their options and of `.mode`. */
export const ROW_MODES = ["table", "csv", "tsv", "list", "line", "json", "ndjson"] as const;

/** A form of rows. */
export type RowMode = typeof ROW_MODES[number];

/** How rows are shown, or written as SQL; structured-cloneable. */
export type RowFormat = ShownRows | InsertedRows;

/** Rows as statements that insert them; their columns twice: as they are, and their bytes or NULL. */
export interface InsertedRows {
  readonly mode: "insert";
  /** A table with its columns in the rows' order, as SQL. */
  readonly into: string;
}

/** How rows are shown. */
export interface ShownRows {
  readonly mode: RowMode;
  /** Whether columns are named, in the forms where that can be left out. */
  readonly header: boolean;
  /** Whether a terminal shows it: then nothing in it can speak to the terminal. */
  readonly isTerminal: boolean;
  readonly isColored: boolean;
}

/** Makes text of one result. */
export interface RowWriter {
  /** Before the first row. */
  begin(columns: readonly string[]): string;
  /** The text of a row; may be held back until more have come. */
  row(values: readonly CellValue[]): string;
  /** What was held back, and the end. */
  end(): string;
}

/** A writer for one result. */
export function rowWriter(format: RowFormat): RowWriter {
  switch (format.mode) {
    case "table":
      return new TableWriter(format);
    case "csv":
      return new LinesWriter(format, ",", csvField, "\r\n");
    case "tsv":
      return new LinesWriter(format, "\t", tsvField, "\n");
    case "list":
      return new LinesWriter(format, "|", plainText, "\n");
    case "line":
      return new LineWriter(format);
    case "json":
      return new JsonWriter("[", ",\n ", "]\n");
    case "ndjson":
      return new JsonWriter("", "\n", "\n");
    case "insert":
      return new InsertWriter(format);
  }
}

/** RFC 4180; NULL is empty, and an empty text is `""`. */
function csvField(value: CellValue): string {
  const text = plainText(value);
  return value === "" || /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const TSV_ESCAPES: Readonly<Record<string, string>> = { "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r" };

/** As PostgreSQL's COPY writes it: NULL is `\N`. */
function tsvField(value: CellValue): string {
  return value === null ? "\\N" : plainText(value).replace(/[\\\t\n\r]/g, (found) => TSV_ESCAPES[found]!);
}

class LinesWriter implements RowWriter {
  readonly #separator: string;
  readonly #field: (value: CellValue) => string;
  readonly #end: string;
  readonly #format: ShownRows;

  constructor(format: ShownRows, separator: string, field: (value: CellValue) => string, end: string) {
    this.#format = format;
    this.#separator = separator;
    this.#field = field;
    this.#end = end;
  }

  begin(columns: readonly string[]): string {
    return this.#format.header ? this.row(columns) : "";
  }

  row(values: readonly CellValue[]): string {
    const line = values.map(this.#field).join(this.#separator);
    return this.#format.isTerminal ? `${visibleLines(line)}\n` : `${line}${this.#end}`;
  }

  end(): string {
    return "";
  }
}

/** A line a value, for rows that are too wide for a table. */
class LineWriter implements RowWriter {
  readonly #shown: (value: CellValue) => string;
  #names: string[] = [];
  #isFirst = true;

  constructor({ isTerminal }: ShownRows) {
    this.#shown = isTerminal ? shownText : plainText;
  }

  begin(columns: readonly string[]): string {
    const width = Math.max(0, ...columns.map((name) => visibleText(name).length));
    this.#names = columns.map((name) => visibleText(name).padStart(width));
    return "";
  }

  row(values: readonly CellValue[]): string {
    const lines = values.map((value, i) => `${this.#names[i]} = ${this.#shown(value)}\n`).join("");
    const gap = this.#isFirst ? "" : "\n";
    this.#isFirst = false;
    return gap + lines;
  }

  end(): string {
    return "";
  }
}

class JsonWriter implements RowWriter {
  readonly #begin: string;
  readonly #between: string;
  readonly #end: string;
  #names: string[] = [];
  #count = 0;

  constructor(begin: string, between: string, end: string) {
    this.#begin = begin;
    this.#between = between;
    this.#end = end;
  }

  begin(columns: readonly string[]): string {
    this.#names = distinct(columns).map(jsonText);
    return this.#begin;
  }

  row(values: readonly CellValue[]): string {
    const members = values.map((value, i) => `${this.#names[i]}:${jsonText(value)}`);
    return `${this.#count++ === 0 ? "" : this.#between}{${members.join(",")}}`;
  }

  end(): string {
    return this.#begin === "" && this.#count === 0 ? "" : this.#end;
  }
}

class InsertWriter implements RowWriter {
  readonly #into: string;

  constructor({ into }: InsertedRows) {
    this.#into = into;
  }

  begin(): string {
    return "";
  }

  /** Columns, then the bytes of each that is text: what no driver shows is written by these. */
  row(values: readonly CellValue[]): string {
    const count = values.length / 2;
    const texts = values.slice(0, count).map((value, i) =>
      typeof value === "string" && value.includes("\ufffd")
        ? `CAST(${sqlText(values[count + i]!)} AS TEXT)`
        : sqlText(value)
    );
    return `INSERT INTO ${this.#into} VALUES (${texts.join(", ")});\n`;
  }

  end(): string {
    return "";
  }
}

/** Names of which none is there twice: a second `a` is `a_2`. */
function distinct(names: readonly string[]): string[] {
  const taken = new Set<string>();
  return names.map((name) => {
    let free = name;
    for (let n = 2; taken.has(free); n++) free = `${name}_${n}`;
    taken.add(free);
    return free;
  });
}
