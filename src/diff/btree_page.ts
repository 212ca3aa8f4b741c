import { ByteReader } from "./byte_reader.ts";
import { databaseFault } from "./fault.ts";
import type { SqlInteger } from "./sql_value.ts";

/** `"table"`: rows by rowid, in leaves only; `"index"`: records by their columns, in interior pages too. */
export type TreeKind = "table" | "index";

/** One cell that holds a record. */
export interface Row {
  /** The rowid; 0 in an index tree. */
  readonly rowid: SqlInteger;
  /** Bytes of the record. */
  readonly payloadSize: number;
  /** The record's first bytes, those in the cell; part of the page. */
  readonly local: Uint8Array;
  /** First page of the rest, or 0 where the cell holds all. */
  readonly overflow: number;
}

const TYPES: ReadonlyMap<number, { kind: TreeKind; leaf: boolean }> = new Map([
  [0x02, { kind: "index", leaf: false }],
  [0x05, { kind: "table", leaf: false }],
  [0x0a, { kind: "index", leaf: true }],
  [0x0d, { kind: "table", leaf: true }],
]);

/** Bytes of the database header, which stand before page 1's own. */
const DATABASE_HEADER_SIZE = 100;

/**
 * A page of a b-tree; the bytes are read, not copied.
 *
 * @see SQLite's file format, "B-tree Pages"
 */
export class BtreePage {
  /** Tells a leaf from an interior page. */
  readonly leaf: boolean;
  readonly #kind: TreeKind;
  readonly #reader: ByteReader;
  readonly #pgno: number;
  readonly #usableSize: number;
  readonly #cellCount: number;
  readonly #start: number;

  /** Checks the page's header; a fault where it is no page of such a tree. `usableSize` is in bytes. */
  constructor(page: Uint8Array, pgno: number, usableSize: number, kind: TreeKind) {
    this.#start = pgno === 1 ? DATABASE_HEADER_SIZE : 0;
    const type = TYPES.get(page[this.#start]!);
    if (type?.kind !== kind) {
      throw databaseFault(
        `read page ${pgno}`,
        `its type is 0x${page[this.#start]!.toString(16).padStart(2, "0")}`,
        kind === "table" ? "0x05 or 0x0d" : "0x02 or 0x0a",
      );
    }
    this.leaf = type.leaf;
    this.#kind = kind;
    this.#pgno = pgno;
    this.#usableSize = usableSize;
    this.#reader = new ByteReader(page, usableSize, `page ${pgno}`);
    this.#reader.offset = this.#start + 3;
    this.#cellCount = this.#reader.uint16();
    this.#checkCellCount();
  }

  /** Pages below this interior page, in key order. */
  children(): number[] {
    const children: number[] = [];
    for (let i = 0; i < this.#cellCount; i++) {
      this.#seekCell(i);
      children.push(this.#reader.uint32());
    }
    this.#reader.offset = this.#start + 8;
    children.push(this.#reader.uint32());
    return children;
  }

  /** Records of this page, in key order; none in an interior page of a table. */
  rows(): Row[] {
    const rows: Row[] = [];
    if (this.#kind === "table" && !this.leaf) return rows;
    for (let i = 0; i < this.#cellCount; i++) {
      this.#seekCell(i);
      if (!this.leaf) this.#reader.offset += 4;
      rows.push(this.#row());
    }
    return rows;
  }

  #row(): Row {
    const reader = this.#reader;
    const payloadSize = reader.size();
    const rowid = this.#kind === "table" ? reader.varint() : 0;
    const localSize = localPayloadSize(payloadSize, this.#usableSize, this.#kind);
    const local = reader.take(localSize);
    return { rowid, payloadSize, local, overflow: localSize < payloadSize ? reader.uint32() : 0 };
  }

  get #headerSize(): number {
    return this.leaf ? 8 : 12;
  }

  #seekCell(index: number): void {
    this.#reader.offset = this.#start + this.#headerSize + 2 * index;
    const offset = this.#reader.uint16();
    const cellsStart = this.#start + this.#headerSize + 2 * this.#cellCount;
    if (offset < cellsStart || offset >= this.#usableSize) {
      throw databaseFault(
        `read page ${this.#pgno}`,
        `cell ${index} is at ${offset}`,
        `${cellsStart} to ${this.#usableSize - 1}`,
      );
    }
    this.#reader.offset = offset;
  }

  #checkCellCount(): void {
    // A cell has a pointer of 2 bytes and takes 4 bytes or more.
    const countMax = Math.floor((this.#usableSize - this.#start - this.#headerSize) / 6);
    if (this.#cellCount <= countMax) return;
    throw databaseFault(`read page ${this.#pgno}`, `it has ${this.#cellCount} cells`, `up to ${countMax}`);
  }
}

/**
 * Bytes of a payload that stand in its cell; the rest is in overflow pages.
 *
 * @see SQLite's file format, "Cell Payload Overflow Pages"
 */
function localPayloadSize(payloadSize: number, usableSize: number, kind: TreeKind): number {
  const max = kind === "table" ? usableSize - 35 : Math.floor((usableSize - 12) * 64 / 255) - 23;
  if (payloadSize <= max) return payloadSize;
  const min = Math.floor((usableSize - 12) * 32 / 255) - 23;
  const fitted = min + (payloadSize - min) % (usableSize - 4);
  return fitted <= max ? fitted : min;
}
