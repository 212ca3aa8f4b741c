import { BtreePage, type TreeKind } from "./btree_page.ts";
import type { DatabaseState } from "./database_state.ts";
import { databaseFault } from "./fault.ts";
import type { PageSet } from "./page_set.ts";
import { readAhead } from "./read_ahead.ts";

/** SQLite's own limit of a tree's depth. */
const DEPTH_MAX = 20;

/** Which tree, and what is known of it. */
export interface Tree {
  /** Whose tree it is. */
  readonly state: DatabaseState;
  /** Its root page. */
  readonly root: number;
  /** What its pages hold. */
  readonly kind: TreeKind;
  /** Takes in the tree's pages; a page that is in already is a fault. */
  readonly seen: PageSet;
  /** Children of interior pages that are the same in both states; filled by one walk, used by the next. */
  readonly known?: Map<number, readonly number[]>;
  /** Tells the pages that `known` may hold. */
  readonly isChanged?: (pgno: number) => boolean;
}

/**
 * Gives the pages of a tree that hold its rows: a table's leaves in key order; an index tree's pages from the root down,
 * each level in key order.
 *
 * Interior pages are read and, since all leaves are equally deep, of the leaves the first only.
 *
 * @throws {ReplicaError} a page is out of range, of another kind, or met twice
 */
export async function rowPages(tree: Tree): Promise<number[]> {
  const edge = await leftEdge(tree);
  const interior: number[] = [];
  let level = [tree.root];
  addAll(tree, level);
  for (let depth = edge.size; depth > 0; depth--) {
    if (tree.kind === "index") { for (const pgno of level) interior.push(pgno); }
    const below: number[] = [];
    for await (const children of readAhead(level, (pgno) => childrenOf(tree, edge, pgno))) {
      addAll(tree, children);
      for (const child of children) below.push(child);
    }
    level = below;
  }
  return tree.kind === "index" ? interior.concat(level) : level;
}

/** Reads and checks a page of a tree. */
export async function readTreePage(state: DatabaseState, pgno: number, kind: TreeKind): Promise<BtreePage> {
  return new BtreePage(await state.page(pgno), pgno, state.usableSize, kind);
}

/** Tells a tree's kind by its root page. */
export async function kindOfTree(state: DatabaseState, root: number): Promise<TreeKind> {
  const type = (await state.page(root))[0];
  return type === 0x02 || type === 0x0a ? "index" : "table";
}

/** The interior pages along the tree's left edge, one a level, and their children. */
async function leftEdge({ state, root, kind }: Tree): Promise<Map<number, readonly number[]>> {
  const edge = new Map<number, readonly number[]>();
  for (let pgno = root; edge.size < DEPTH_MAX;) {
    const page = await readTreePage(state, pgno, kind);
    if (page.leaf) return edge;
    const children = page.children();
    if (edge.has(pgno)) break;
    edge.set(pgno, children);
    pgno = children[0]!;
  }
  throw databaseFault(
    `read the tree at page ${root}`,
    "no leaf at its left edge",
    `one ${DEPTH_MAX} levels down`,
  );
}

async function childrenOf(
  tree: Tree,
  edge: ReadonlyMap<number, readonly number[]>,
  pgno: number,
): Promise<readonly number[]> {
  const known = edge.get(pgno) ?? tree.known?.get(pgno);
  if (known) return known;
  const page = await readTreePage(tree.state, pgno, tree.kind);
  if (page.leaf) {
    throw databaseFault(
      `read the tree at page ${tree.root}`,
      `page ${pgno} is a leaf`,
      "leaves equally deep",
    );
  }
  const children = page.children();
  if (tree.isChanged?.(pgno) === false) tree.known?.set(pgno, children);
  return children;
}

function addAll({ state, root, seen }: Tree, pgnos: readonly number[]): void {
  for (const pgno of pgnos) {
    if (pgno < 1 || pgno > state.commit || state.isApart(pgno)) {
      throw databaseFault(`read the tree at page ${root}`, `page number ${pgno}`, `1 to ${state.commit}`);
    }
    if (!seen.add(pgno)) {
      throw databaseFault(`read the tree at page ${root}`, `page ${pgno} is met twice`, "each page once");
    }
  }
}
