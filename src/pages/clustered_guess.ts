import type { Ahead } from "./ahead.ts";
import type { TreeMap } from "./tree_map.ts";

/** Leaves of a table that are worth fetching for a page of an index not seen yet. */
const LEAVES_MAX = 16;

/** Guesses in a row that came to nothing, after which one of so many is made still. */
const FAILURES_MAX = 3;
const RETRY_EACH = 16;

/** Indices kept in mind. */
const INDICES_MAX = 64;

/** How guesses about one index went. */
interface Record {
  /** Leaves guessed last that nobody came to. */
  pending: Set<number>;
  failures: number;
  skipped: number;
}

/**
 * Which leaves of its table a page of an index leads to, before it is there: where rows lie about in the
 * order of the index, those between the rows that the page above names on either side.
 */
export class ClusteredGuess {
  readonly #tree: TreeMap;
  readonly #records = new Map<number, Record>();

  constructor(tree: TreeMap) {
    this.#tree = tree;
  }

  /**
   * The leaves to fetch with a page of an index, in the table's order; none where they are many, or such
   * guesses were wrong.
   *
   * Each is marked, so that its use is heard of: the first answer loads them, the others only mark.
   */
  approached(indexLeaf: number, indexRoot: number, tableRoot: number): Ahead[] {
    const leaves = this.#leavesOf(indexLeaf, tableRoot);
    if (leaves.length === 0) return [];
    const record = this.#record(indexRoot);
    if (record.pending.size > 0) record.failures++;
    record.pending.clear();
    if (record.failures >= FAILURES_MAX && ++record.skipped % RETRY_EACH !== 0) return [];
    record.pending = new Set(leaves);
    return leaves.map((mark, i) => ({ pgnos: i === 0 ? leaves : [], mark }));
  }

  /** A leaf of a table was reached. */
  reached(leaf: number): void {
    for (const record of this.#records.values()) {
      if (!record.pending.has(leaf)) continue;
      record.pending.clear();
      record.failures = 0;
      record.skipped = 0;
    }
  }

  #leavesOf(indexLeaf: number, tableRoot: number): number[] {
    if ((this.#tree.level(indexLeaf) ?? 0) > 0) return [];
    const before = this.#tree.rowidBeside(indexLeaf, -1);
    const after = this.#tree.rowidBeside(indexLeaf, 1);
    if (before === undefined) return [];
    const leaf = this.#leafOf(tableRoot, Math.min(before, after ?? before));
    if (leaf === undefined) return [];
    const following = this.#tree.following(leaf, LEAVES_MAX);
    // Behind the index's last page there is nothing but the table's end.
    const last = after === undefined ? following.at(-1) : this.#leafOf(tableRoot, Math.max(before, after));
    const end = last === leaf ? 0 : following.indexOf(last ?? 0) + 1;
    if ((last !== leaf && end === 0) || end === LEAVES_MAX) return [];
    const leaves = [leaf, ...following.slice(0, end)];
    return leaves.every((pgno) => this.#tree.level(pgno) === 0) ? leaves : [];
  }

  #leafOf(tableRoot: number, rowid: number): number | undefined {
    const leaf = this.#tree.leafOf(tableRoot, rowid);
    return leaf !== undefined && this.#tree.level(leaf) === 0 ? leaf : undefined;
  }

  #record(indexRoot: number): Record {
    const record = this.#records.get(indexRoot) ?? { pending: new Set(), failures: 0, skipped: 0 };
    this.#records.delete(indexRoot);
    this.#records.set(indexRoot, record);
    if (this.#records.size > INDICES_MAX) this.#records.delete(this.#records.keys().next().value!);
    return record;
  }
}
