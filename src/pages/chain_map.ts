/**
 * What leaves have told of long values: where the chains of overflow pages begin, and how long they are.
 *
 * Only hints are drawn from it, as from {@link TreeMap}.
 *
 * @module
 */

/** Chains kept in mind: about 150 bytes each. */
const CHAINS_MAX = 65_536;

/** Leaves without chains kept in mind: about 40 bytes each. */
const BARE_MAX = 65_536;

/** Pages that one group of first pages covers; chains of more are looked through one by one. */
const GROUP_BITS = 10;
const GROUP_SIZE = 1 << GROUP_BITS;

/** Words of one entry of `ls_run_chains()`. */
const ENTRY_WORDS = 3;

/** A value's overflow pages. */
export interface Chain {
  /** The page that its cell is in: a leaf of a table, a page of an index. */
  readonly leaf: number;
  /** Among the leaf's chains. */
  readonly index: number;
  /** Its first page. */
  readonly first: number;
  /** How many pages it has. */
  readonly length: number;
}

/** A chain as its cell tells it. */
export type ToldChain = Pick<Chain, "first" | "length">;

/** The chains of one database whose leaves have been seen. */
export class ChainMap {
  readonly #chainsMax: number;
  readonly #bareMax: number;
  /** The one learned last is the last. */
  readonly #leaves = new Map<number, readonly Chain[]>();
  readonly #bare = new Set<number>();
  readonly #byFirst = new Map<number, Chain>();
  /** First pages by group; within one in no order. */
  readonly #groups = new Map<number, number[]>();
  /** First pages of chains longer than a group. */
  readonly #long = new Set<number>();

  /** Beyond so many chains, and leaves without, those learned first are forgotten. */
  constructor(chainsMax: number = CHAINS_MAX, bareMax: number = BARE_MAX) {
    this.#chainsMax = chainsMax;
    this.#bareMax = bareMax;
  }

  /** How many chains are known, and leaves that have none. */
  get size(): { readonly chains: number; readonly bareLeaves: number } {
    return { chains: this.#byFirst.size, bareLeaves: this.#bare.size };
  }

  /** Takes what a page told, in the order of its cells, in place of what it told before; same chains stay. */
  learned(leaf: number, told: readonly ToldChain[]): void {
    const known = this.#leaves.get(leaf) ?? [];
    this.#forget(leaf);
    if (told.length === 0) {
      this.#bare.add(leaf);
      if (this.#bare.size > this.#bareMax) this.#bare.delete(this.#bare.values().next().value!);
      return;
    }
    // Those who read them know chains that have not changed by identity.
    const chains = told.map(({ first, length }, index) => {
      const same = known[index];
      return same?.first === first && same.length === length ? same : { leaf, index, first, length };
    });
    this.#leaves.set(leaf, chains);
    for (const chain of chains) this.#enter(chain);
    while (this.#byFirst.size > this.#chainsMax) this.#forget(this.#leaves.keys().next().value!);
  }

  /** Takes entries of `ls_run_chains()`; gives the pages that they tell of. */
  learnedEntries(words: Uint32Array): number[] {
    const byLeaf = new Map<number, ToldChain[]>();
    for (let at = 0; at + ENTRY_WORDS <= words.length; at += ENTRY_WORDS) {
      const [leaf, first, length] = [words[at]!, words[at + 1]!, words[at + 2]!];
      const told = byLeaf.get(leaf) ?? [];
      if (first !== 0) told.push({ first, length });
      byLeaf.set(leaf, told);
    }
    for (const [leaf, told] of byLeaf) this.learned(leaf, told);
    return [...byLeaf.keys()];
  }

  /** The chain that begins at a page. */
  at(pgno: number): Chain | undefined {
    return this.#byFirst.get(pgno);
  }

  /** A leaf's chains in key order; undefined when it was not seen. */
  of(leaf: number): readonly Chain[] | undefined {
    return this.#leaves.get(leaf) ?? (this.#bare.has(leaf) ? [] : undefined);
  }

  /** The chain that a page is in if the pages of chains follow one another in the file. */
  around(pgno: number): Chain | undefined {
    const group = pgno >>> GROUP_BITS;
    let nearest: Chain | undefined;
    for (const firsts of [this.#groups.get(group), this.#groups.get(group - 1), this.#long]) {
      for (const first of firsts ?? []) {
        if (first > pgno || (nearest && first < nearest.first)) continue;
        const chain = this.#byFirst.get(first)!;
        if (pgno < first + chain.length) nearest = chain;
      }
    }
    return nearest;
  }

  #enter(chain: Chain): void {
    const { first, length } = chain;
    if (!this.#byFirst.has(first)) {
      const group = this.#groups.get(first >>> GROUP_BITS);
      if (group) group.push(first);
      else this.#groups.set(first >>> GROUP_BITS, [first]);
    }
    this.#byFirst.set(first, chain);
    if (length > GROUP_SIZE) this.#long.add(first);
  }

  #forget(leaf: number): void {
    this.#bare.delete(leaf);
    for (const chain of this.#leaves.get(leaf) ?? []) {
      // Another leaf may have taken its first page over.
      if (this.#byFirst.get(chain.first) === chain) this.#leave(chain.first);
    }
    this.#leaves.delete(leaf);
  }

  #leave(first: number): void {
    const key = first >>> GROUP_BITS;
    const group = this.#groups.get(key)!;
    group.splice(group.indexOf(first), 1);
    if (group.length === 0) this.#groups.delete(key);
    this.#byFirst.delete(first);
    this.#long.delete(first);
  }
}
