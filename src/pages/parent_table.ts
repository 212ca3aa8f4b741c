/** Low bits of a page number that an entry holds; the rest names its region. */
const REGION_BITS = 12;
const REGION_SIZE = 1 << REGION_BITS;

/** Bits of a node's number. */
const NODE_BITS = 20;

/** The greatest number of a node. */
export const NODE_MAX = 2 ** NODE_BITS - 1;

/** Odd, so that it permutes a region: a table as large as the region has no collisions. */
const MULTIPLIER = 2531;

const CAPACITY_FIRST = 16;

/** Full to nine tenths at most and to seven at least, entries of 4 bytes take 4.5 to 5.6 bytes a page. */
const GROWTH = 1.25;

/** Pages of one region, in open addressing: each entry is the page's low bits and the number of a node; 0 is free. */
interface Region {
  entries: Uint32Array;
  count: number;
}

/** Page number → number of a node (1 to {@link NODE_MAX}), in 4 to 6 bytes a page however they are scattered. */
export class ParentTable {
  readonly #regions = new Map<number, Region>();
  /** The region that was set in last: neighbours follow one another as a rule. */
  #recent: { readonly number: number; readonly region: Region } | undefined;

  /** Bytes of all entries, free ones too. */
  get bytes(): number {
    let bytes = 0;
    for (const { entries } of this.#regions.values()) bytes += entries.byteLength;
    return bytes;
  }

  /** The node of a page; 0 where none was set. */
  get(pgno: number): number {
    const entries = this.#regions.get(pgno >>> REGION_BITS)?.entries;
    return entries === undefined ? 0 : entries[find(entries, pgno)]! & NODE_MAX;
  }

  /** Sets the node of a page. */
  set(pgno: number, node: number): void {
    const region = this.#regionOf(pgno >>> REGION_BITS);
    let at = find(region.entries, pgno);
    if (region.entries[at] === 0) {
      region.count++;
      if (grow(region)) at = find(region.entries, pgno);
    }
    region.entries[at] = low(pgno) * 2 ** NODE_BITS + node;
  }

  #regionOf(number: number): Region {
    if (this.#recent?.number === number) return this.#recent.region;
    const region = this.#regions.get(number) ?? { entries: new Uint32Array(CAPACITY_FIRST), count: 0 };
    this.#regions.set(number, region);
    this.#recent = { number, region };
    return region;
  }
}

function low(pgno: number): number {
  return pgno & (REGION_SIZE - 1);
}

/** Index of a page's entry, or of the free one where it would stand. */
function find(entries: Uint32Array, pgno: number): number {
  const key = low(pgno);
  let at = ((Math.imul(key, MULTIPLIER) & (REGION_SIZE - 1)) * entries.length) >>> REGION_BITS;
  for (let entry = entries[at]!; entry !== 0 && entry >>> NODE_BITS !== key; entry = entries[at]!) {
    at = at + 1 === entries.length ? 0 : at + 1;
  }
  return at;
}

function grow(region: Region): boolean {
  const { entries, count } = region;
  if (entries.length === REGION_SIZE || count <= entries.length * 0.9) return false;
  region.entries = new Uint32Array(Math.min(REGION_SIZE, Math.ceil(entries.length * GROWTH)));
  for (const entry of entries) {
    if (entry !== 0) region.entries[find(region.entries, entry >>> NODE_BITS)] = entry;
  }
  return true;
}
