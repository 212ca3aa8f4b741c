/**
 * Rows as a table whose columns stand in line.
 *
 * @module
 */
import { type CellValue, shownText, visibleText } from "./cell_text.ts";
import { paint } from "./paint.ts";
import type { RowWriter, ShownRows } from "./row_writer.ts";
import { textWidth } from "./text_width.ts";

/** Rows by which the columns' widths are chosen; later ones that are wider stand out of line. */
const ROWS_MEASURED = 500;
/** And how much text of them is held at most, in characters. */
const TEXT_MEASURED = 256 * 1024;
/** No column is made wider than this for the sake of a few long values. */
const WIDTH_MAX = 120;

interface Cell {
  readonly text: string;
  readonly width: number;
  readonly kind: "number" | "text" | "null";
}

function cellOf(value: CellValue): Cell {
  const text = shownText(value);
  const kind = value === null
    ? "null"
    : typeof value === "bigint" || typeof value === "number"
    ? "number"
    : "text";
  return { text, width: textWidth(text), kind };
}

/** Holds the first rows back, measures them, and writes all others as they come. */
export class TableWriter implements RowWriter {
  readonly #format: ShownRows;
  #columns: string[] = [];
  #held: Cell[][] | undefined = [];
  #heldSize = 0;
  #widths: number[] = [];
  #count = 0;

  constructor(format: ShownRows) {
    this.#format = format;
  }

  begin(columns: readonly string[]): string {
    this.#columns = columns.map(visibleText);
    return "";
  }

  row(values: readonly CellValue[]): string {
    this.#count++;
    const cells = values.map(cellOf);
    if (this.#held === undefined) return this.#line(cells);
    this.#held.push(cells);
    this.#heldSize += cells.reduce((sum, { text }) => sum + text.length, 0);
    return this.#held.length < ROWS_MEASURED && this.#heldSize < TEXT_MEASURED ? "" : this.#release();
  }

  end(): string {
    const rows = this.#count === 1 ? "1 row" : `${this.#count} rows`;
    return `${this.#release()}${paint(`(${rows})`, "dim", this.#format.isColored)}\n`;
  }

  /** The heads and what was held back; from now on rows are written at once. */
  #release(): string {
    const held = this.#held;
    if (held === undefined) return "";
    this.#held = undefined;
    this.#widths = this.#columns.map((name, i) => {
      const widest = held.reduce((width, cells) => Math.max(width, cells[i]!.width), 0);
      return Math.max(textWidth(name), Math.min(widest, WIDTH_MAX));
    });
    return this.#head(held) + held.map((cells) => this.#line(cells)).join("");
  }

  #head(held: readonly Cell[][]): string {
    if (!this.#format.header) return "";
    const names = this.#columns.map((name, i) => {
      const isNumeric = held.some((cells) => cells[i]!.kind === "number") &&
        !held.some((cells) => cells[i]!.kind === "text");
      const gap = " ".repeat(this.#widths[i]! - textWidth(name));
      const bold = paint(name, "bold", this.#format.isColored);
      return isNumeric ? gap + bold : bold + gap;
    });
    const rule = this.#widths.map((width) => "─".repeat(width + 2)).join("┼");
    return `${` ${names.join(" │ ")}`.trimEnd()}\n${rule}\n`;
  }

  #line(cells: readonly Cell[]): string {
    const padded = cells.map(({ text, width, kind }, i) => {
      const gap = " ".repeat(Math.max(0, this.#widths[i]! - width));
      const shown = kind === "null" ? paint(text, "dim", this.#format.isColored) : text;
      return kind === "number" ? gap + shown : shown + gap;
    });
    return `${` ${padded.join(" │ ")}`.trimEnd()}\n`;
  }
}
