/**
 * A database as large as one likes, of which each page is made when somebody asks for it: nothing of it is kept.
 *
 * `item(id INTEGER PRIMARY KEY, code INTEGER, body TEXT)` with ids from 1 on, and a unique index on `code`, which goes
 * through all numbers below the count of rows in an order that has nothing to do with the id's. Both trees lie in the file
 * as a walk through them comes by: a page, then all that is below it.
 *
 * @module
 */
import { lockPgno } from "../../src/ltx/txid.ts";

/** One row of `item`. */
export interface HugeRow {
  readonly id: number;
  readonly code: number;
  readonly body: string;
}

const PAGE_SIZE = 4096;
const BODY_SIZE = 220;
/** Steps of `code` from one id to the next: a prime, so that it meets all numbers below a count that it does not divide. */
const CODE_STEP = 15_485_863;

const SCHEMA = [
  { type: "table", name: "item", sql: "CREATE TABLE item(id INTEGER PRIMARY KEY, code INTEGER, body TEXT)" },
  { type: "index", name: "item_code", sql: "CREATE UNIQUE INDEX item_code ON item(code)" },
] as const;

const ENCODER = new TextEncoder();

/** Bytes of the b-tree page header, of a leaf and of an interior page. */
const LEAF_HEADER = 8;
const INTERIOR_HEADER = 12;
const POINTER = 2;
const CHILD = 4;
const VARINT_MAX = 4;

/** A cell of the table's leaf: sizes as varints, a record's header of five bytes, code and body. */
const ROW_CELL = 2 + VARINT_MAX + 5 + 4 + BODY_SIZE;
/** A record of the index: its size, a header of three bytes, code and id. */
const KEY_CELL = 1 + 3 + 4 + 4;

/** A page's place in a tree: its height above the leaves, and its number among those of that height. */
interface Node {
  readonly height: number;
  readonly index: number;
}

/** Full trees of `fan` children a page, but for the right edge; pages stand as a walk through the tree comes by. */
class Tree {
  readonly fan: number;
  /** Pages of each height, leaves first. */
  readonly counts: readonly number[];
  /** Pages of a full subtree of each height. */
  readonly #sizes: readonly number[];

  constructor(leafCount: number, fan: number) {
    const counts = [leafCount];
    while (counts.at(-1)! > 1) counts.push(Math.ceil(counts.at(-1)! / fan));
    const sizes = [1];
    for (let height = 1; height < counts.length; height++) sizes.push(1 + fan * sizes[height - 1]!);
    this.fan = fan;
    this.counts = counts;
    this.#sizes = sizes;
  }

  /** Pages of all heights. */
  get pageCount(): number {
    return this.counts.reduce((sum, count) => sum + count, 0);
  }

  /** Whether each interior page has two children at least. */
  get isSound(): boolean {
    return this.counts.slice(0, -1).every((count) => count % this.fan !== 1);
  }

  /** Place of a page from the root's on, which is 0. */
  place({ height, index }: Node): number {
    if (height === this.counts.length - 1) return 0;
    const parent = { height: height + 1, index: Math.floor(index / this.fan) };
    return this.place(parent) + 1 + index % this.fan * this.#sizes[height]!;
  }

  /** The page at a place. */
  nodeAt(place: number): Node {
    let [height, index, rest] = [this.counts.length - 1, 0, place];
    while (rest > 0) {
      height--;
      rest--;
      const child = Math.floor(rest / this.#sizes[height]!);
      index = index * this.fan + child;
      rest -= child * this.#sizes[height]!;
    }
    return { height, index };
  }

  /** The children of an interior page. */
  children({ height, index }: Node): Node[] {
    const first = index * this.fan;
    const count = Math.min(this.fan, this.counts[height - 1]! - first);
    return Array.from({ length: count }, (_, i) => ({ height: height - 1, index: first + i }));
  }
}

/** A page that is being filled: cells from its end, pointers to them behind its header. */
class PageWriter {
  readonly bytes: Uint8Array<ArrayBuffer> = new Uint8Array(PAGE_SIZE);
  readonly #view = new DataView(this.bytes.buffer);
  readonly #headerAt: number;
  #pointerAt: number;
  #contentAt = PAGE_SIZE;
  #count = 0;

  constructor(type: number, headerAt = 0) {
    this.#headerAt = headerAt;
    this.#pointerAt = headerAt + (type < 8 ? INTERIOR_HEADER : LEAF_HEADER);
    this.bytes[headerAt] = type;
  }

  /** Adds a cell behind those that are there. */
  add(cell: ArrayLike<number>): void {
    this.#contentAt -= cell.length;
    this.bytes.set(cell, this.#contentAt);
    this.#view.setUint16(this.#pointerAt, this.#contentAt);
    this.#pointerAt += POINTER;
    this.#view.setUint16(this.#headerAt + 3, ++this.#count);
    this.#view.setUint16(this.#headerAt + 5, this.#contentAt);
  }

  /** The child behind all cells of an interior page. */
  setLastChild(pgno: number): void {
    this.#view.setUint32(this.#headerAt + 8, pgno);
  }
}

/** A database of some millions of pages. */
export class HugeDatabase {
  readonly pageSize = PAGE_SIZE;
  /** Size in pages. */
  readonly commit: number;
  /** Rows; ids go from 1 to this. */
  readonly rows: number;
  readonly #table: Tree;
  readonly #index: Tree;
  readonly #rowsALeaf = Math.floor((PAGE_SIZE - LEAF_HEADER) / (ROW_CELL + POINTER));
  readonly #keysALeaf = Math.floor((PAGE_SIZE - LEAF_HEADER) / (KEY_CELL + POINTER));
  readonly #idStep: number;

  /** One of about `pages` pages, at most. */
  constructor(pages: number) {
    const tableShare = 1 / this.#rowsALeaf * (1 + 1 / 400);
    const indexShare = 1 / this.#keysALeaf * (1 + 1 / 200);
    let rows = Math.floor((pages - 8) / (tableShare + indexShare));
    while (!this.#isSound(rows)) rows--;
    this.rows = rows;
    this.#table = this.#tableOf(rows);
    this.#index = this.#indexOf(rows);
    this.#idStep = inverse(CODE_STEP % rows, rows);
    this.commit = this.#pgno(1 + this.#table.pageCount + this.#index.pageCount);
  }

  #tableOf(rows: number): Tree {
    const fan = Math.floor((PAGE_SIZE - INTERIOR_HEADER) / (CHILD + VARINT_MAX + POINTER)) + 1;
    return new Tree(Math.ceil(rows / this.#rowsALeaf), fan);
  }

  /** Between two leaves of an index stands one of its keys, in the page above. */
  #indexOf(rows: number): Tree {
    const fan = Math.floor((PAGE_SIZE - INTERIOR_HEADER) / (CHILD + KEY_CELL + POINTER)) + 1;
    return new Tree(Math.ceil(rows / (this.#keysALeaf + 1)), fan);
  }

  #isSound(rows: number): boolean {
    return rows % CODE_STEP !== 0 && rows % (this.#keysALeaf + 1) !== 0 && this.#tableOf(rows).isSound &&
      this.#indexOf(rows).isSound;
  }

  /** Page number of the n-th page that is stored. */
  #pgno(n: number): number {
    return n < lockPgno(PAGE_SIZE) ? n : n + 1;
  }

  /** The row with an id. */
  row(id: number): HugeRow {
    if (!Number.isInteger(id) || id < 1 || id > this.rows) throw new RangeError(`row ${id} of ${this.rows}`);
    const words = wordsOf(id);
    const body = words.repeat(Math.ceil(BODY_SIZE / words.length)).slice(0, BODY_SIZE);
    return { id, code: id * CODE_STEP % this.rows, body };
  }

  /** The id of the row with a code, from 0 on. */
  idOf(code: number): number {
    return Number(BigInt(code) * BigInt(this.#idStep) % BigInt(this.rows)) || this.rows;
  }

  /** Page number of the table's leaf that has a row. */
  leafOf(id: number): number {
    const index = Math.floor((id - 1) / this.#rowsALeaf);
    return this.#tablePgno({ height: 0, index });
  }

  #tablePgno(node: Node): number {
    return this.#pgno(2 + this.#table.place(node));
  }

  #indexPgno(node: Node): number {
    return this.#pgno(2 + this.#table.pageCount + this.#index.place(node));
  }

  /** A page; the lock page is zeros. */
  page(pgno: number): Uint8Array<ArrayBuffer> {
    const lock = lockPgno(PAGE_SIZE);
    if (pgno === lock) return new Uint8Array(PAGE_SIZE);
    const n = pgno < lock ? pgno : pgno - 1;
    if (n === 1) return this.#schemaPage();
    const place = n - 2;
    if (place < this.#table.pageCount) return this.#tablePage(this.#table.nodeAt(place));
    return this.#indexPage(this.#index.nodeAt(place - this.#table.pageCount));
  }

  #tablePage(node: Node): Uint8Array<ArrayBuffer> {
    const page = new PageWriter(node.height === 0 ? 0x0d : 0x05);
    if (node.height === 0) {
      const first = node.index * this.#rowsALeaf + 1;
      const end = Math.min(first + this.#rowsALeaf, this.rows + 1);
      for (let id = first; id < end; id++) page.add(rowCell(id, id * CODE_STEP % this.rows));
      return page.bytes;
    }
    const children = this.#table.children(node);
    const last = children.pop()!;
    const leavesBelow = this.#table.fan ** (node.height - 1);
    for (const child of children) {
      const lastId = (child.index + 1) * leavesBelow * this.#rowsALeaf;
      page.add([...word(this.#tablePgno(child)), ...varint(lastId)]);
    }
    page.setLastChild(this.#tablePgno(last));
    return page.bytes;
  }

  #indexPage(node: Node): Uint8Array<ArrayBuffer> {
    const page = new PageWriter(node.height === 0 ? 0x0a : 0x02);
    if (node.height === 0) {
      const first = node.index * (this.#keysALeaf + 1);
      const end = Math.min(first + this.#keysALeaf, this.rows);
      for (let code = first; code < end; code++) page.add(this.#keyCell(code));
      return page.bytes;
    }
    const children = this.#index.children(node);
    const last = children.pop()!;
    const keysBelow = this.#index.fan ** (node.height - 1) * (this.#keysALeaf + 1);
    for (const child of children) {
      const code = (child.index + 1) * keysBelow - 1;
      page.add([...word(this.#indexPgno(child)), ...this.#keyCell(code)]);
    }
    page.setLastChild(this.#indexPgno(last));
    return page.bytes;
  }

  #keyCell(code: number): number[] {
    return [KEY_CELL - 1, 3, 4, 4, ...word(code), ...word(this.idOf(code))];
  }

  #schemaPage(): Uint8Array<ArrayBuffer> {
    const page = new PageWriter(0x0d, 100);
    const roots = [
      this.#tablePgno(this.#table.nodeAt(0)),
      this.#indexPgno(this.#index.nodeAt(0)),
    ];
    const encode = (text: string) => new TextEncoder().encode(text);
    for (const [i, { type, name, sql }] of SCHEMA.entries()) {
      const texts = [encode(type), encode(name), encode("item"), encode(sql)];
      const [kind, named, table, code] = texts.map(({ length }) => varint(length * 2 + 13));
      const types = [...kind!, ...named!, ...table!, 4, ...code!];
      const record = [
        types.length + 1,
        ...types,
        ...texts[0]!,
        ...texts[1]!,
        ...texts[2]!,
        ...word(roots[i]!),
        ...texts[3]!,
      ];
      page.add([...varint(record.length), i + 1, ...record]);
    }
    const header = new DataView(page.bytes.buffer);
    page.bytes.set(encode("SQLite format 3\0"));
    header.setUint16(16, PAGE_SIZE);
    page.bytes.set([2, 2, 0, 64, 32, 32], 18); // in WAL mode, as Litestream's databases are
    for (
      const [at, value] of [[24, 1], [28, this.commit], [40, 1], [44, 4], [56, 1], [92, 1], [96, 3_046_000]]
    ) {
      header.setUint32(at!, value!);
    }
    return page.bytes;
  }
}

/** What a row's body says again and again. */
function wordsOf(id: number): string {
  return `item ${id} `;
}

/** A row as the table's leaf has it: made often, so without strings. */
function rowCell(id: number, code: number): Uint8Array {
  const head = [5, 0, 4, ...varint(BODY_SIZE * 2 + 13), ...word(code)];
  const before = [...varint(head.length + BODY_SIZE), ...varint(id), ...head];
  const cell = new Uint8Array(before.length + BODY_SIZE);
  cell.set(before);
  const { written } = ENCODER.encodeInto(wordsOf(id), cell.subarray(before.length));
  for (let at = before.length + written; at < cell.length; at++) cell[at] = cell[at - written]!;
  return cell;
}

function word(value: number): number[] {
  return [value >>> 24, value >>> 16 & 0xff, value >>> 8 & 0xff, value & 0xff];
}

/** SQLite's variable length integer, for values below 2^28. */
function varint(value: number): number[] {
  const bytes = [value & 0x7f];
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) bytes.unshift(rest & 0x7f | 0x80);
  return bytes;
}

/** What `value` is to be multiplied by to give 1 modulo `modulus`. */
function inverse(value: number, modulus: number): number {
  let [a, b, x, y] = [value, modulus, 1, 0];
  while (b !== 0) [a, b, x, y] = [b, a % b, y, x - Math.floor(a / b) * y];
  return (x + modulus) % modulus;
}
