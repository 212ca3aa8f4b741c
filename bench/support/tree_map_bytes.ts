/**
 * What the read-ahead's knowledge of interior pages takes.
 *
 * @module
 */
import { TreeMap } from "../../src/pages/tree_map.ts";
import { Random } from "../../tests/support/random.ts";

const PAGE_SIZE = 4096;
const HEADER_SIZE = 12;

/** Fills a cell behind its page number; its place in the tree is i. */
type CellFiller = (view: DataView, at: number, i: number) => void;

/** An interior page that is full: its type, the bytes of a cell, and what stands in one. */
interface Kind {
  readonly type: number;
  readonly cellSize: number;
  readonly fill: CellFiller;
}

const random = new Random(1);

/** Rowids that rise, as varints of four bytes. */
const TABLE: Kind = {
  type: 0x05,
  cellSize: 8,
  fill(view, at, i) {
    const rowid = 2 ** 21 + i * 20;
    for (let place = 0; place < 4; place++) {
      view.setUint8(at + place, (rowid >> (21 - place * 7)) & 0x7f | (place < 3 ? 0x80 : 0));
    }
  },
};

/** Records of a key and a rowid, four bytes each, the rowids in no order. */
const INDEX: Kind = {
  type: 0x02,
  cellSize: 16,
  fill(view, at, i) {
    for (const [place, byte] of [11, 3, 4, 4].entries()) view.setUint8(at + place, byte);
    view.setInt32(at + 4, i);
    view.setInt32(at + 8, random.next(2 ** 30));
  },
};

/** Bytes for each page below interior pages that were all seen, where the database has so many pages. */
export function treeMapBytes(pages: number): { ofTable: number; ofIndex: number } {
  return { ofTable: bytesAPage(TABLE, pages), ofIndex: bytesAPage(INDEX, pages) };
}

function bytesAPage(kind: Kind, pages: number): number {
  const map = new TreeMap();
  const cells = Math.floor((PAGE_SIZE - HEADER_SIZE) / (2 + kind.cellSize));
  for (let first = 1, pgno = pages; first + cells < pgno; first += cells + 1, pgno--) {
    map.learn(pgno, interiorPage(kind, first, cells));
  }
  const { children, bytes } = map.size;
  return bytes / children;
}

function interiorPage({ type, cellSize, fill }: Kind, first: number, cells: number): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE);
  const view = new DataView(page.buffer);
  page[0] = type;
  view.setUint16(3, cells);
  view.setUint32(8, first + cells);
  for (let i = 0; i < cells; i++) {
    const at = PAGE_SIZE - (i + 1) * cellSize;
    view.setUint16(HEADER_SIZE + i * 2, at);
    view.setUint32(at, first + i);
    fill(view, at + 4, first + i);
  }
  return page;
}
