/**
 * What a reader of an index will want next: leaves of the table with the rowids that follow in the index.
 *
 * @module
 */
import { type Ahead, NOTHING_AHEAD } from "./ahead.ts";
import { ClusteredGuess } from "./clustered_guess.ts";
import { type FtsAhead, type FtsWay, rowAfter } from "./fts_ahead.ts";
import type { WordRows } from "./fts_index.ts";
import { indexRecords } from "./index_records.ts";
import { IndexUse, WINDOW_FIRST, WINDOW_MAX } from "./index_use.ts";
import {
  type Beginning,
  beginningIn,
  isSameKey,
  type Position,
  recordIn,
  type RowidList,
  stepIn,
} from "./rowid_list.ts";
import { RowidMemory } from "./rowid_memory.ts";
import type { RowidRange, TreeMap } from "./tree_map.ts";

const INDEX_LEAF = 0x0a;

/** Leaves of its table reached elsewhere, after which a way has ended. */
const STRAYS_MAX = 3;

/** Tables that are read at the same time, and indices whose use is kept in mind. */
const TABLES_MAX = 8;
const INDICES_MAX = 64;

/** Records of an index by which a reader goes on where nothing was asked for. */
const STEP_MAX = 8;

/** Pages of an index gone along, for a leaf that was asked for or for the next ones. */
const HOPS_MAX = 8;

/** Rowids looked up for one answer. */
const LOOKUPS_MAX = 256;

/** The leaf of a table that was reached last. */
interface Place {
  readonly leaf: number;
  readonly range: RowidRange;
}

/** One reader's way along an index. */
interface Run {
  readonly tableRoot: number;
  readonly use: IndexUse;
  /** 1 or -1. */
  readonly direction: number;
  readonly beganEqual: boolean;
  readonly wasAwaited: boolean;
  position: Position;
  /** Whether it may end with the key that it began with. */
  isEqual: boolean;
  /** Leaves reached in order. */
  steps: number;
  /** Leaves of its table reached elsewhere since the last step. */
  strays: number;
  /** How many leaves to ask for ahead; 0 while nothing says that the reader goes on. */
  window: number;
  /** Leaves asked for and not reached yet, in order. */
  asked: Set<number>;
  /** The one of them that is to be heard of. */
  mark: number;
  /** Leaves that were asked for at first. */
  first: number;
  /** Leaves asked for that the reader came to or past. */
  passed: number;
  /** Records left before more are looked for, of a list that is known in part. */
  restToLengthen: number;
  /** Pages without which it is not known what comes next. */
  unknown: Set<number>;
}

/** What the pages of indices that one connection reads tell about its next pages. */
export class IndexAhead {
  readonly #tree: TreeMap;
  readonly #words: FtsAhead | undefined;
  readonly #guess: ClusteredGuess;
  readonly #known = new RowidMemory();
  /** Lists whose page the reader came to last, and no leaf of their table since. */
  #fresh: RowidList[] = [];
  readonly #places = new Map<number, Place>();
  readonly #runs = new Map<number, Run>();
  readonly #uses = new Map<number, IndexUse>();

  /** `words` tells of full-text indices. */
  constructor(tree: TreeMap, words?: FtsAhead) {
    this.#tree = tree;
    this.#words = words;
    this.#guess = new ClusteredGuess(tree);
  }

  /** Whether there is a page that {@link isWanted}. */
  get isWaiting(): boolean {
    for (const { unknown } of this.#runs.values()) if (unknown.size > 0) return true;
    return false;
  }

  /** Whether a page leads on: an index's leaf that came ahead is to be told by {@link entered} then. */
  isWanted(pgno: number): boolean {
    for (const { unknown } of this.#runs.values()) if (unknown.has(pgno)) return true;
    return false;
  }

  /**
   * A leaf of an index is about to be fetched; `tableRoot` is the root page of its table. Gives what to fetch
   * with it, where the index has led this reader to its table before; of the answers, all but the first only
   * mark.
   */
  approached(pgno: number, tableRoot: number): readonly Ahead[] {
    const indexRoot = this.#tree.root(pgno);
    return this.#uses.has(indexRoot) ? this.#guess.approached(pgno, indexRoot, tableRoot) : [];
  }

  /**
   * A page of an index is there which the reader came to, or which is {@link isWanted}; `tableRoot` is the
   * root page of its table, 0 when that is not known. Its bytes are not kept.
   */
  entered(pgno: number, page: Uint8Array, tableRoot: number = 0): Ahead {
    this.#known.forget(pgno);
    const records = page[0] === INDEX_LEAF ? indexRecords(page) : undefined;
    if (records === undefined) return this.learned(pgno);
    const list: RowidList = { pgno, tableRoot, goesOn: true, ...records };
    const isOnWay = this.#isOnWay(pgno);
    this.#known.put(pgno, [list]);
    if (!isOnWay) this.#fresh = [list, ...this.#fresh.slice(0, TABLES_MAX - 1)];
    return this.learned(pgno);
  }

  /** A page came that was asked for and led on: an interior page of the table, a page of the index. */
  learned(pgno: number): Ahead {
    for (const run of this.#runs.values()) {
      if (run.unknown.delete(pgno)) return this.#ask(run);
    }
    return NOTHING_AHEAD;
  }

  /**
   * A leaf of a table was reached: a marked one, or one that has to be waited for, whose bytes need not be
   * there.
   *
   * A page that is not known to be a leaf is passed over; so is a leaf told twice.
   */
  reached(pgno: number): Ahead {
    if (this.#known.isEmpty && this.#words === undefined) return NOTHING_AHEAD;
    const range = this.#tree.level(pgno) === 0 ? this.#tree.rowidRange(pgno) : undefined;
    if (range === undefined) return NOTHING_AHEAD;
    const tableRoot = this.#tree.root(pgno);
    const before = this.#places.get(tableRoot);
    const fresh = this.#takeFresh(tableRoot);
    if (before?.leaf === pgno && fresh.length === 0) return NOTHING_AHEAD;
    this.#known.reached();
    this.#guess.reached(pgno);
    putNewest(this.#places, tableRoot, { leaf: pgno, range }, TABLES_MAX);
    const way = this.#words?.reached(tableRoot, range);
    if (way) return this.#beginWord(way);
    return this.#beginFresh(fresh, tableRoot, range) ?? this.#goOn(tableRoot, range, pgno) ??
      this.#beginByStep(before?.range, tableRoot, range) ?? NOTHING_AHEAD;
  }

  #takeFresh(tableRoot: number): RowidList[] {
    const isOf = (list: RowidList) => list.tableRoot === tableRoot || list.tableRoot === 0;
    const taken = this.#fresh.filter(isOf);
    if (taken.length > 0) this.#fresh = this.#fresh.filter((list) => !isOf(list));
    return taken;
  }

  /** Begins by a list whose page the reader came to just before. */
  #beginFresh(fresh: readonly RowidList[], tableRoot: number, range: RowidRange): Ahead | undefined {
    for (const list of fresh) {
      const use = this.#useOf(list.pgno);
      const beginning = beginningIn(list, range, use.direction);
      if (beginning === undefined) continue;
      this.#end(tableRoot);
      return this.#ask(this.#begin(tableRoot, beginning, use.firstWindow(beginning.equalCount)));
    }
    return undefined;
  }

  /** Begins by the rows of a word, in each of the tables that its readers come to. */
  #beginWord({ rows, direction, tables, isSure, more }: FtsWay): Ahead {
    const aheads = [...tables].map(([tableRoot, at]) => {
      this.#end(tableRoot);
      const list = wordList(tableRoot, rows, more);
      const start = direction > 0 ? -1 : list.rowids.length;
      const index = at ? rowAfter(list.rowids, at, direction) - direction : start;
      const beginning = { position: { list, index }, direction, equalCount: 0 };
      const equalCount = restOf(beginning);
      const window = isSure ? this.#useOf(tableRoot).firstWindow(equalCount) : WINDOW_FIRST;
      return this.#ask(this.#begin(tableRoot, { ...beginning, equalCount }, window));
    });
    const [mark = 0, otherMark = 0] = aheads.map(({ mark }) => mark).filter((mark) => mark !== 0);
    return { pgnos: inTurn(aheads.map(({ pgnos }) => pgnos)), mark, otherMark };
  }

  /** Begins by a list that leads from the leaf reached before to this one. */
  #beginByStep(before: RowidRange | undefined, tableRoot: number, range: RowidRange): Ahead | undefined {
    if (before === undefined) return undefined;
    let longest: Beginning | undefined;
    for (const list of this.#known.recent()) {
      if (list.tableRoot !== 0 && list.tableRoot !== tableRoot) continue;
      const step = stepIn(list, before, range);
      if (step && (longest === undefined || restOf(step) > restOf(longest))) longest = step;
    }
    if (longest === undefined) return undefined;
    this.#end(tableRoot);
    const run = this.#begin(tableRoot, longest, 0);
    run.steps = 1;
    return this.#extend(run);
  }

  #end(tableRoot: number): void {
    const run = this.#runs.get(tableRoot);
    run?.use.judge(run);
    this.#runs.delete(tableRoot);
  }

  /** Begins a way; with a window of 0 nothing is asked for at first. */
  #begin(tableRoot: number, { position, direction, equalCount }: Beginning, window: number): Run {
    const { pgno } = position.list;
    const use = this.#useOf(pgno);
    putNewest(this.#uses, this.#tree.root(pgno), use, INDICES_MAX);
    const run: Run = {
      tableRoot,
      use,
      direction,
      beganEqual: equalCount > 0,
      wasAwaited: window === 0,
      position,
      isEqual: equalCount > 0,
      steps: 0,
      strays: 0,
      window,
      asked: new Set(),
      mark: 0,
      first: 0,
      passed: 0,
      restToLengthen: restOf({ position, direction }) >>> 1,
      unknown: new Set(),
    };
    putNewest(this.#runs, tableRoot, run, TABLES_MAX);
    this.#known.used(pgno);
    return run;
  }

  /** Goes on along the reader's way in a table; undefined where a leaf does not lie on it. */
  #goOn(tableRoot: number, range: RowidRange, leaf: number): Ahead | undefined {
    const run = this.#runs.get(tableRoot);
    if (run === undefined) return undefined;
    const position = this.#onward(run, range, run.asked.has(leaf));
    if (position === undefined) {
      if (++run.strays > STRAYS_MAX) this.#end(tableRoot);
      return undefined;
    }
    const isMarkAhead = leaf !== run.mark && run.asked.has(run.mark);
    run.passed += passUpTo(run.asked, leaf); // all of them, where it was not asked for
    run.isEqual &&= isSameKey(run.position, position);
    run.position = position;
    run.steps++;
    run.strays = 0;
    this.#known.used(position.list.pgno);
    // Who goes on comes to the marked leaf; past it one comes by chance.
    const isChance = isMarkAhead && !run.asked.has(run.mark);
    const missing = this.#lengthen(run);
    const ahead = isChance ? this.#mark(run, [...run.asked][0] ?? 0) : this.#extend(run);
    return missing.length === 0 ? ahead : { ...ahead, pgnos: [...missing, ...ahead.pgnos] };
  }

  /** Takes more of a list that is known in part, before its end is reached; gives what is missing. */
  #lengthen(run: Run): readonly number[] {
    const { position: { list, index }, direction } = run;
    if (list.more === undefined || restOf(run) > run.restToLengthen) return [];
    const { list: longer, pgnos } = list.more();
    const at = longer.rowids.indexOf(list.rowids[index]!);
    if (at >= 0) run.position = { list: longer, index: at };
    run.restToLengthen = restOf(run) >>> 1;
    return direction > 0 ? pgnos : [];
  }

  #extend(run: Run): Ahead {
    if (run.window === 0 && run.steps < run.use.patience) return NOTHING_AHEAD;
    // The first step tells that the reader goes on; then half of what was asked for is to be used.
    const excess = run.asked.size - (run.window >>> 1);
    if (run.steps > 1 && excess > 0) return this.#mark(run, [...run.asked][excess - 1]!);
    run.window = run.window === 0 ? WINDOW_FIRST : Math.min(WINDOW_MAX, run.window * 2);
    return this.#ask(run);
  }

  /** Wants to hear of a leaf that was asked for; most often it is one told before. */
  #mark(run: Run, leaf: number): Ahead {
    if (run.asked.has(run.mark)) return NOTHING_AHEAD;
    run.mark = leaf;
    return { pgnos: [], mark: leaf };
  }

  /**
   * The next record on a reader's way whose row lies in a range; how far it may be depends on whether it was
   * asked for.
   */
  #onward(
    { position, direction, asked, mark }: Run,
    range: RowidRange,
    isAsked: boolean,
  ): Position | undefined {
    let { list, index } = position;
    const stepMax = STEP_MAX + (asked.has(mark) ? 0 : asked.size);
    for (let hops = 0; hops <= HOPS_MAX; hops++) {
      const found = recordIn(list, range, index + direction, direction);
      if (found >= 0) {
        const isNear = list === position.list && Math.abs(found - index) <= stepMax;
        return isAsked || isNear ? { list, index: found } : undefined;
      }
      const next = isAsked ? this.#listBeside(list, direction) : undefined;
      if (next === undefined || typeof next === "number") return undefined;
      [list, index] = [next, direction > 0 ? -1 : next.rowids.length];
    }
    return undefined;
  }

  #ask(run: Run): Ahead {
    if (run.window === 0) return NOTHING_AHEAD;
    const { leaves, unknown, isEnd } = this.#next(run);
    const isFirst = run.first === 0;
    const fresh = leaves.filter((leaf) => !run.asked.has(leaf));
    if (!isFirst && unknown.size === 0 && !isEnd && fresh.length * 2 < run.window) return NOTHING_AHEAD;
    const missing = [...unknown].filter((pgno) => !run.unknown.has(pgno));
    run.asked = new Set(leaves);
    run.unknown = unknown;
    if (isFirst) run.first = leaves.length;
    if (fresh.length === 0 && missing.length === 0) return NOTHING_AHEAD;
    // The first leaf tells soonest whether the reader goes on. Of equal keys all are there: the question is
    // how far it goes.
    run.mark = leaves[isFirst && !run.isEqual ? 0 : (leaves.length - 1) >>> 1] ?? 0;
    return { pgnos: [...missing, ...fresh], mark: run.mark };
  }

  /** The next leaves on a reader's way, as many as its window has. */
  #next(run: Run): { leaves: number[]; unknown: Set<number>; isEnd: boolean } {
    const leaves = new Set<number>();
    const unknown = new Set<number>();
    let range = this.#places.get(run.tableRoot)?.range;
    let lookups = LOOKUPS_MAX;
    for (const rowid of this.#rowidsAfter(run, unknown)) {
      if (leaves.size + unknown.size >= run.window || lookups === 0) {
        return { leaves: [...leaves], unknown, isEnd: false };
      }
      if (Number.isNaN(rowid) || (range && rowid > range.low && rowid <= range.high)) continue;
      lookups--;
      const leaf = this.#tree.leafOf(run.tableRoot, rowid);
      if (leaf === undefined) continue;
      range = this.#tree.rowidRange(leaf);
      if (this.#tree.level(leaf) === 0) leaves.add(leaf);
      else unknown.add(leaf);
    }
    return { leaves: [...leaves], unknown, isEnd: true };
  }

  /**
   * Rowids after a position; where they end because the next page of the index is missing, it is put into
   * `unknown`.
   */
  *#rowidsAfter({ position, direction, isEqual }: Run, unknown: Set<number>): Generator<number> {
    let { list, index } = position;
    for (let pages = 0; pages <= HOPS_MAX; pages++) {
      for (index += direction; index >= 0 && index < list.rowids.length; index += direction) {
        const isOther = list.isEqual[direction > 0 ? index : index + 1] === 0;
        if (isEqual && isOther && !(index === 0 && direction > 0)) return;
        yield list.rowids[index]!;
      }
      const next = this.#listBeside(list, direction);
      if (next === undefined) return;
      const between = this.#tree.rowidBeside(list.pgno, direction);
      if (between !== undefined) yield between;
      if (typeof next === "number") {
        unknown.add(next);
        return;
      }
      [list, index] = [next, direction > 0 ? -1 : next.rowids.length];
    }
  }

  /** The list that goes on with one; its page's number where that is not known. */
  #listBeside({ pgno, goesOn }: RowidList, direction: number): RowidList | number | undefined {
    const beside = goesOn ? this.#tree.following(pgno, 1, direction)[0] : undefined;
    return beside === undefined ? undefined : this.#known.list(beside) ?? beside;
  }

  /** Whether a page of an index is the next on the way of a reader, rather than where it begins anew. */
  #isOnWay(pgno: number): boolean {
    if (this.isWanted(pgno)) return true;
    for (const { position: { list }, direction } of this.#runs.values()) {
      if (list.goesOn && this.#tree.following(list.pgno, 1, direction)[0] === pgno) return true;
    }
    return false;
  }

  #useOf(pgno: number): IndexUse {
    return this.#uses.get(this.#tree.root(pgno)) ?? new IndexUse();
  }
}

/** The rows of a word as a list of equal keys. */
function wordList(tableRoot: number, { rowids, next }: WordRows, more: () => WordRows): RowidList {
  const isEqual = new Uint8Array(rowids.length).fill(1);
  const list = { pgno: tableRoot, tableRoot, rowids, isEqual, goesOn: false };
  if (next.length === 0) return list;
  const lengthen = () => {
    const longer = more();
    return { list: wordList(tableRoot, longer, more), pgnos: longer.next };
  };
  return { ...list, more: lengthen };
}

/** The first of each list, then the second of each, and so on. */
function inTurn(lists: readonly (readonly number[])[]): number[] {
  const count = Math.max(...lists.map(({ length }) => length));
  return Array.from({ length: count }, (_, i) => lists.flatMap((list) => list.slice(i, i + 1))).flat();
}

/** Records that follow a place in its list. */
function restOf({ position: { list, index }, direction }: Pick<Beginning, "position" | "direction">): number {
  return direction > 0 ? list.rowids.length - 1 - index : index;
}

/** Puts an entry behind all others, and takes the first away where they are more than `max`. */
function putNewest<T>(entries: Map<number, T>, key: number, value: T, max: number): void {
  entries.delete(key);
  entries.set(key, value);
  if (entries.size > max) entries.delete(entries.keys().next().value!);
}

/** Takes away the first of some pages, up to one of them; gives how many. */
function passUpTo(pgnos: Set<number>, last: number): number {
  let count = 0;
  for (const pgno of pgnos) {
    pgnos.delete(pgno);
    count++;
    if (pgno === last) break;
  }
  return count;
}
