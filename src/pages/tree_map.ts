/**
 * What interior pages have told: below which one a page hangs, and what comes next in key order.
 *
 * Only hints are drawn from it: a page that has changed since may lead to pages that nobody wants, never to wrong data.
 *
 * @module
 */
import { indexRecords } from "./index_records.ts";
import { varintAt } from "./page_varint.ts";
import { NODE_MAX, ParentTable } from "./parent_table.ts";

/** Page type bytes. */
const INDEX_INTERIOR = 0x02;
const TABLE_INTERIOR = 0x05;
const INDEX_LEAF = 0x0a;
const TABLE_LEAF = 0x0d;

/** Bytes of the database header, which stand before page 1's own. */
const DATABASE_HEADER_SIZE = 100;
const INTERIOR_HEADER_SIZE = 12;

/** How far up a tree is climbed: SQLite's own limit is 20. */
const DEPTH_MAX = 20;

/** Interior pages gone along for one answer beyond one a page; damaged pages may lead round in a circle. */
const HOPS_MAX = 256;

/** Children kept track of: about 12 bytes each. */
const CHILDREN_MAX = 16_000_000;

/** An interior page that was seen. */
interface Node {
  readonly pgno: number;
  readonly isTable: boolean;
  /** Pages below it, in key order. */
  readonly children: Uint32Array;
  /**
   * For each child but the last, less `rowidBase`. Of a table: the greatest rowid below it. Of an index: the
   * rowid that the record behind it ends with, NaN for none.
   */
  readonly rowids: Uint32Array | Float64Array;
  readonly rowidBase: number;
  /** 1 above leaves, and so on; 0 while it is not known. */
  level: number;
}

/** Where a page hangs. */
interface Place {
  readonly parent: Node;
  /** Among the parent's children. */
  readonly index: number;
}

/** Rowids of a table's leaf: more than `low`, up to `high`. */
export interface RowidRange {
  readonly low: number;
  readonly high: number;
}

/** The interior pages of one database that have been seen. */
export class TreeMap {
  readonly #childrenMax: number;
  readonly #nodes: (Node | undefined)[] = [undefined];
  readonly #numbers = new Map<number, number>();
  readonly #free: number[] = [];
  readonly #parents = new ParentTable();
  #childCount = 0;

  /** Pages below more than `childrenMax` are not kept track of: what was seen first stays. */
  constructor(childrenMax: number = CHILDREN_MAX) {
    this.#childrenMax = childrenMax;
  }

  /** How many interior pages are known, how many pages hang below them, and the bytes that both take. */
  get size(): { readonly interiors: number; readonly children: number; readonly bytes: number } {
    let bytes = this.#parents.bytes;
    for (const node of this.#nodes) bytes += node ? node.children.byteLength + node.rowids.byteLength : 0;
    return { interiors: this.#numbers.size, children: this.#childCount, bytes };
  }

  /** Bytes of the table that leads from a page to the one it hangs below. */
  get parentBytes(): number {
    return this.#parents.bytes;
  }

  /**
   * Takes what a page tells, in place of what it told before; its bytes are not kept. Leaves tell how deep a tree is.
   *
   * Gives whether the page is an interior one that is known now.
   */
  learn(pgno: number, page: Uint8Array): boolean {
    const node = parseInterior(pgno, page);
    if (node === undefined) {
      if (this.#numbers.has(pgno)) this.#forget(pgno);
      this.#learnLeaf(pgno, page);
      return false;
    }
    const known = this.#node(pgno);
    const childCount = this.#childCount + node.children.length - (known?.children.length ?? 0);
    const number = this.#numbers.get(pgno) ?? this.#free.pop() ?? this.#nodes.length;
    if (childCount > this.#childrenMax || number > NODE_MAX) {
      this.#forget(pgno);
      return false;
    }
    this.#childCount = childCount;
    this.#numbers.set(pgno, number);
    this.#nodes[number] = node;
    for (const child of node.children) this.#parents.set(child, number);
    // All children are of one level; most often they come later, and a leaf tells.
    const { children } = node;
    for (const child of [children[0]!, children[children.length >>> 1]!, children.at(-1)!]) {
      node.level ||= levelAbove(this.#node(child));
    }
    return true;
  }

  #forget(pgno: number): void {
    const number = this.#numbers.get(pgno);
    if (number === undefined) return;
    this.#childCount -= this.#nodes[number]!.children.length;
    this.#nodes[number] = undefined;
    this.#numbers.delete(pgno);
    this.#free.push(number);
  }

  /** All leaves of a tree are equally deep: one tells the level of all pages above it. */
  #learnLeaf(pgno: number, page: Uint8Array): void {
    const type = page[pgno === 1 ? DATABASE_HEADER_SIZE : 0];
    if (type !== TABLE_LEAF && type !== INDEX_LEAF) return;
    let at = pgno;
    for (let level = 1; level <= DEPTH_MAX; level++) {
      const place = this.#place(at);
      if (place === undefined || place.parent.isTable !== (type === TABLE_LEAF)) return;
      if (place.parent.level === level) return;
      place.parent.level = level;
      at = place.parent.pgno;
    }
  }

  #node(pgno: number): Node | undefined {
    const number = this.#numbers.get(pgno);
    return number === undefined ? undefined : this.#nodes[number];
  }

  #place(pgno: number): Place | undefined {
    const parent = this.#nodes[this.#parents.get(pgno)];
    if (parent === undefined) return undefined;
    // The parent may have changed, or another may have its number: what counts is what it holds now.
    const index = parent.children.indexOf(pgno);
    return index < 0 ? undefined : { parent, index };
  }

  /** The interior page that a page hangs below, and which of its children it is. */
  parent(pgno: number): { readonly pgno: number; readonly index: number } | undefined {
    const place = this.#place(pgno);
    return place && { pgno: place.parent.pgno, index: place.index };
  }

  /** The page at the top of the tree that a page is in, as far as that is known; the page itself otherwise. */
  root(pgno: number): number {
    let top = pgno;
    for (let depth = 0; depth < DEPTH_MAX; depth++) {
      const place = this.#place(top);
      if (place === undefined) break;
      top = place.parent.pgno;
    }
    return top;
  }

  /** All leaves of a tree, at most `max`; undefined while interior pages of it were not seen. */
  leaves(root: number, max: number): number[] | undefined {
    let level = [root];
    for (let height = this.level(root) ?? 0; height > 0; height--) {
      const below: number[] = [];
      for (const pgno of level) {
        const node = this.#node(pgno);
        if (node === undefined || below.length + node.children.length > max) return undefined;
        below.push(...node.children);
      }
      level = below;
    }
    return level[0] === root ? undefined : level;
  }

  /** Tells whether pages are in a tree, as far as that is known; to be used at once, while nothing new is learned. */
  membership(root: number): (pgno: number) => boolean {
    const known = new Map<Node, boolean>();
    return (pgno) => {
      const above = this.#nodes[this.#parents.get(pgno)];
      if (above === undefined) return false;
      const isIn = known.get(above) ?? this.root(above.pgno) === root;
      known.set(above, isIn);
      return isIn;
    };
  }

  /** How far a page is above the leaves; 0 for a leaf, undefined while it is not known. */
  level(pgno: number): number | undefined {
    const node = this.#node(pgno);
    if (node && node.level > 0) return node.level;
    let at = pgno;
    for (let below = 1; below <= DEPTH_MAX; below++) {
      const place = this.#place(at);
      if (place === undefined) break;
      const { level } = place.parent;
      if (level > 0) return level - below >= (node ? 1 : 0) ? level - below : undefined;
      at = place.parent.pgno;
    }
    return undefined;
  }

  /** About how many leaves a tree has; 1 where its root was not seen. */
  leafCount(root: number): number {
    let count = 1;
    let node = this.#node(root);
    for (let depth = 0; node && depth < DEPTH_MAX; depth++) {
      const { children } = node;
      count *= children.length;
      node = this.#node(children[children.length >>> 1]!) ?? this.#node(children[0]!);
    }
    return count;
  }

  /** Whether a page was seen and is an interior one. */
  isKnown(pgno: number): boolean {
    return this.#numbers.has(pgno);
  }

  /** Pages below an interior page that are interior ones, or may be while {@link level} does not know. */
  interiorChildren(pgno: number): readonly number[] {
    const node = this.#node(pgno);
    return node === undefined || this.level(pgno) === 1 ? [] : [...node.children];
  }

  /** How many pages hang below an interior page; 0 where it was not seen. */
  childCount(pgno: number): number {
    return this.#node(pgno)?.children.length ?? 0;
  }

  /**
   * Up to `count` pages that follow a page in key order on its level: each one for step 1, those before it, nearest first,
   * for -1, every k-th for k. Where an interior page on the way was not seen, it is the last of them: it must come first.
   */
  following(pgno: number, count: number, step: number = 1): number[] {
    const found: number[] = [];
    const place = this.#place(pgno);
    if (place === undefined || step === 0) return found;
    let node = place.parent;
    let index = place.index + step;
    for (let hops = HOPS_MAX + count; found.length < count;) {
      const child = node.children[index];
      if (child !== undefined) {
        found.push(child);
        index += step;
        continue;
      }
      const beside = hops-- > 0 ? this.#beside(node.pgno, Math.sign(step), 0) : undefined;
      if (beside === undefined) break;
      const next = this.#node(beside);
      if (next === undefined) {
        found.push(beside);
        break;
      }
      index += step > 0 ? -node.children.length : next.children.length;
      node = next;
    }
    return found;
  }

  /** The page beside one on its level; where an interior page above that was not seen, that one. */
  #beside(pgno: number, direction: number, depth: number): number | undefined {
    const place = depth < DEPTH_MAX ? this.#place(pgno) : undefined;
    if (place === undefined) return undefined;
    const sibling = place.parent.children[place.index + direction];
    if (sibling !== undefined) return sibling;
    const above = this.#beside(place.parent.pgno, direction, depth + 1);
    const node = above === undefined ? undefined : this.#node(above);
    return node ? node.children.at(direction < 0 ? -1 : 0) : above;
  }

  /** How many pages in key order lead from one page to another of its level; undefined for more than `max` either way. */
  distance(from: number, to: number, max: number): number | undefined {
    const [start, end] = [this.#place(from), this.#place(to)];
    if (start === undefined || end === undefined) return undefined;
    if (start.parent === end.parent) {
      const distance = end.index - start.index;
      return Math.abs(distance) <= max ? distance : undefined;
    }
    const forward = this.#wayTo(start, end, max);
    if (forward !== undefined) return forward;
    const backward = this.#wayTo(end, start, max);
    return backward === undefined ? undefined : -backward;
  }

  #wayTo(start: Place, end: Place, max: number): number | undefined {
    let node = start.parent;
    let way = node.children.length - start.index;
    for (; way + end.index <= max; way += node.children.length) {
      const next = this.#node(this.#beside(node.pgno, 1, 0) ?? 0);
      if (next === undefined) return undefined;
      if (next === end.parent) return way + end.index;
      node = next;
    }
    return undefined;
  }

  /**
   * The leaf of a table that has a rowid, or would have it; an interior page on the way where that was not seen. Undefined
   * where the table's root was not seen: it may be a leaf.
   */
  leafOf(tableRoot: number, rowid: number): number | undefined {
    let node = this.#node(tableRoot);
    for (let depth = 0; node?.isTable && depth < DEPTH_MAX; depth++) {
      const child = node.children[lowerBound(node.rowids, rowid - node.rowidBase)]!;
      const below = this.#node(child);
      if (below === undefined) return child;
      node = below;
    }
    return undefined;
  }

  /** The rowids that a page of a table can have, as the pages above it tell; undefined where none was seen. */
  rowidRange(pgno: number): RowidRange | undefined {
    let [low, high] = [-Infinity, Infinity];
    let at = pgno;
    for (let depth = 0; depth < DEPTH_MAX; depth++) {
      const place = this.#place(at);
      if (place === undefined) return depth === 0 ? undefined : { low, high };
      const { parent: { isTable, rowids, rowidBase, pgno: above }, index } = place;
      if (!isTable) return undefined;
      if (low === -Infinity && index > 0) low = rowids[index - 1]! + rowidBase;
      if (high === Infinity && index < rowids.length) high = rowids[index]! + rowidBase;
      at = above;
    }
    return { low, high };
  }

  /**
   * The rowid of the record of an index that stands between a page and the next (1) or the one before (-1),
   * in a page above both; undefined where that is not known.
   */
  rowidBeside(pgno: number, direction: number): number | undefined {
    let at = pgno;
    for (let depth = 0; depth < DEPTH_MAX; depth++) {
      const place = this.#place(at);
      if (place === undefined || place.parent.isTable) return undefined;
      const { parent: { rowids, rowidBase, pgno: above }, index } = place;
      const rowid = rowids[direction > 0 ? index : index - 1];
      if (rowid !== undefined) return Number.isNaN(rowid) ? undefined : rowid + rowidBase;
      at = above;
    }
    return undefined;
  }
}

function levelAbove(node: Node | undefined): number {
  return node && node.level > 0 ? node.level + 1 : 0;
}

/** Index of the first value that is `value` or more; their number when there is none. */
function lowerBound(values: Uint32Array | Float64Array, value: number): number {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (values[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function parseInterior(pgno: number, page: Uint8Array): Node | undefined {
  const start = pgno === 1 ? DATABASE_HEADER_SIZE : 0;
  const type = page[start];
  if (type !== INDEX_INTERIOR && type !== TABLE_INTERIOR) return undefined;
  if (page.length < start + INTERIOR_HEADER_SIZE) return undefined;
  const isTable = type === TABLE_INTERIOR;
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const count = view.getUint16(start + 3);
  const cellsStart = start + INTERIOR_HEADER_SIZE + count * 2;
  // A cell has a pointer of 2 bytes and takes 5 bytes or more.
  if (cellsStart + count * 5 > page.length) return undefined;
  const children = new Uint32Array(count + 1);
  const rowids = isTable ? new Float64Array(count) : indexRecords(page)?.rowids ?? new Float64Array(0);
  for (let i = 0; i < count; i++) {
    const cell = view.getUint16(start + INTERIOR_HEADER_SIZE + i * 2);
    if (cell < cellsStart || cell + 5 > page.length) return undefined;
    children[i] = view.getUint32(cell);
    if (isTable) rowids[i] = varintAt(page, cell + 4);
  }
  children[count] = view.getUint32(start + 8);
  if (children.includes(0) || children.includes(pgno)) return undefined;
  return { pgno, isTable, children, ...compactRowids(rowids), level: 0 };
}

/** Rowids below one page lie near one another as a rule: 4 bytes each do then. */
function compactRowids(rowids: Float64Array): { rowids: Uint32Array | Float64Array; rowidBase: number } {
  const rowidBase = rowids[0] ?? 0;
  const compact = new Uint32Array(rowids.length);
  for (let i = 0; i < rowids.length; i++) {
    const offset = rowids[i]! - rowidBase;
    if (!(offset >= 0 && offset < 2 ** 32)) return { rowids, rowidBase: 0 };
    compact[i] = offset;
  }
  return { rowids: compact, rowidBase };
}
