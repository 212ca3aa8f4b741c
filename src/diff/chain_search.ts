/**
 * The search for rows that changed in their overflow pages only.
 *
 * SQLite overwrites in place where the new value is as long as the old: neither the row's leaf nor the first page of its
 * chain need change. Such a page is an overflow page in both states. Those are found first, from what changed; then the
 * chains they belong to, from where it is likeliest and cheapest; all pages of the tables come last.
 *
 * @module
 */
import type { Row, TreeKind } from "./btree_page.ts";
import type { Comparison } from "./comparison.ts";
import type { DatabaseState } from "./database_state.ts";
import { freePages } from "./freelist.ts";
import { nextOverflowPgno, overflowPages } from "./overflow_chain.ts";
import { PageSet, pageSetOf } from "./page_set.ts";
import { readAhead } from "./read_ahead.ts";
import type { Schema } from "./schema.ts";
import { hasSameKey, planTable, type TablePlan, treeKind } from "./table_plan.ts";
import { kindOfTree, readTreePage, rowPages } from "./tree_walk.ts";

/**
 * Gives the plans with the pages of such rows added, and tells `comparison` which unread chains changed.
 *
 * Reads nothing where no page may be an overflow page of both states, which is the usual case; a changed page that no
 * chain of the tables asked for owns makes it read all their row pages.
 *
 * @throws {ReplicaError} a page or chain is broken
 */
export async function searchChains(
  comparison: Comparison,
  plans: readonly TablePlan[],
  schema: Schema,
): Promise<TablePlan[]> {
  // Where all rows are compared anyway their chains are read, and nothing need be known of them.
  if (plans.every((plan) => plan.sharedCount === 0)) return [...plans];
  const search = new ChainSearch(comparison, await ownerlessPages(comparison));
  for (const plan of plans) await search.planned(plan, "changed");
  for (const plan of plans) await search.planned(plan, "unchanged");
  for (const root of otherRoots(plans, schema)) await search.other(root);
  const widened: TablePlan[] = [];
  for (const plan of plans) {
    const extra = await search.unplanned(plan);
    widened.push(extra ? await planTable(comparison, plan.pair, { extra, again: true }) : plan);
  }
  comparison.changedChains = search.changedChains;
  return widened;
}

/** Walks chains of the later state and takes from the ownerless pages those it meets, until none is left. */
class ChainSearch {
  readonly changedChains = new Set<number>();
  readonly #comparison: Comparison;
  readonly #ownerless: Set<number>;
  readonly #seen = new PageSet();

  constructor(comparison: Comparison, ownerless: Set<number>) {
    this.#comparison = comparison;
    this.#ownerless = ownerless;
  }

  /** Chains of rows that will be compared, those whose first page changed or the others. */
  async planned(plan: TablePlan, begin: "changed" | "unchanged"): Promise<void> {
    if (plan.pair.to === null) return;
    const isTaken = (row: Row) => this.#comparison.isChanged(row.overflow) === (begin === "changed");
    await this.#pages(plan.toPages, treeKind(plan.pair.to), isTaken);
  }

  /** Changed pages of a tree of the later state that is not compared. */
  async other(root: number): Promise<void> {
    if (this.#ownerless.size === 0) return;
    const state = this.#comparison.to;
    const kind = await kindOfTree(state, root);
    const changed: number[] = [];
    const pgnos = await rowPages({ state, root, kind, seen: state.treePages });
    await state.pace.each(pgnos, (pgno) => {
      this.#ownerless.delete(pgno);
      if (this.#comparison.isChanged(pgno)) changed.push(pgno);
    });
    await this.#pages(changed, kind, (row) => this.#comparison.isChanged(row.overflow));
  }

  /** All rows that were not to be compared; gives the pages of those whose chain changed, if there are any. */
  async unplanned({ pair, toPages, sharedCount }: TablePlan): Promise<PageSet | null> {
    if (this.#ownerless.size === 0 || sharedCount === 0 || !hasSameKey(pair)) return null;
    const state = this.#comparison.to;
    const planned = await pageSetOf(toPages, state.pace);
    const tree = { state, root: pair.to!.root, kind: treeKind(pair.to!), seen: new PageSet() };
    const rest: number[] = [];
    await state.pace.each(await rowPages(tree), (pgno) => {
      if (!planned.has(pgno)) rest.push(pgno);
    });
    const extra = new PageSet();
    const found = await this.#pages(rest, tree.kind, () => true);
    for (const pgno of found) extra.add(pgno);
    return found.length > 0 ? extra : null;
  }

  /** Walks the chains of the rows taken; gives the pages that have rows whose chain met an ownerless page. */
  async #pages(pgnos: readonly number[], kind: TreeKind, isTaken: (row: Row) => boolean): Promise<number[]> {
    const found: number[] = [];
    if (this.#ownerless.size === 0) return found;
    const state = this.#comparison.to;
    const read = async (pgno: number) => ({ pgno, page: await readTreePage(state, pgno, kind) });
    for await (const { pgno, page } of readAhead(pgnos, read)) {
      let isMet = false;
      for (const row of page.rows()) {
        if (row.overflow !== 0 && isTaken(row) && await this.#walk(row)) isMet = true;
      }
      if (isMet) found.push(pgno);
      if (this.#ownerless.size === 0) break;
    }
    return found;
  }

  /** Walks a chain; true where it met an ownerless page. */
  async #walk(row: Row): Promise<boolean> {
    let isMet = false;
    if (this.#ownerless.size === 0) return isMet;
    for await (const { pgno } of overflowPages(this.#comparison.to, row, this.#seen)) {
      if (!this.#ownerless.delete(pgno)) continue;
      isMet = true;
      if (!this.#comparison.isChanged(row.overflow)) this.changedChains.add(row.overflow);
      if (this.#ownerless.size === 0) break;
    }
    return isMet;
  }
}

/**
 * Changed pages that may be overflow pages in both states: not in the trees walked, not free, not apart, and beginning
 * as an overflow page does.
 */
async function ownerlessPages(comparison: Comparison): Promise<Set<number>> {
  const { from, to, pace } = comparison;
  let pages: number[] = [];
  await pace.each(comparison.changed, (pgno) => {
    if (pgno >= 2 && [from, to].every((state) => isOpen(state, pgno))) pages.push(pgno);
  });
  for (const state of [to, from]) {
    const read = async (pgno: number) => mayBeOverflow(await state.page(pgno), state) ? pgno : 0;
    const kept: number[] = [];
    for await (const pgno of readAhead(pages, read)) if (pgno !== 0) kept.push(pgno);
    pages = kept;
  }
  const ownerless = new Set(pages);
  for (const state of [to, from]) {
    if (ownerless.size === 0) break;
    for await (const pgno of freePages(state)) ownerless.delete(pgno);
  }
  return ownerless;
}

function isOpen(state: DatabaseState, pgno: number): boolean {
  return pgno <= state.commit && !state.isApart(pgno) && !state.treePages.has(pgno);
}

/**
 * An overflow page begins with a pgno or 0. The other pages begin with their type, which read as a pgno is past
 * 33 million: only in a database larger than that is this left open.
 */
function mayBeOverflow(page: Uint8Array, state: DatabaseState): boolean {
  return nextOverflowPgno(page) <= state.commit;
}

/** Roots of the trees that are not compared: indices, and tables that were not asked for. */
function otherRoots(plans: readonly TablePlan[], { indexRoots, tables }: Schema): number[] {
  const planned = new Set(plans.map(({ pair }) => pair.to?.root));
  const tableRoots = [...tables.values()].map(({ root }) => root);
  return [...indexRoots, ...tableRoots.filter((root) => !planned.has(root))];
}
