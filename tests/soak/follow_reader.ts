/**
 * One connection that checks an {@link InvariantWriter}'s database again and again, and the counts of what it found.
 *
 * @module
 */
import {
  type CheckDepth,
  checkOrder,
  checkState,
  InvariantViolation,
  type Query,
  type SeenState,
  seenState,
  type ViolationKind,
} from "../support/invariant_writer_check.ts";

/** Something that must not happen, where and when. */
export interface Finding {
  /** What kind of violation; `"error"` for anything that was thrown. */
  readonly kind: ViolationKind | "error";
  readonly text: string;
  /** The state that the transaction began with. */
  readonly state: SeenState | undefined;
  readonly reader: string;
  /** When it was found, and how long the transaction had been open, in ms. */
  readonly atMs: number;
  readonly ageMs: number;
  readonly depth: CheckDepth;
}

/** No new TXID from one time to another, in ms. */
export interface Standstill {
  readonly txid: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/** What a reader has done and seen. */
export interface ReaderReport {
  readonly reader: string;
  readonly transactions: number;
  readonly integrityChecks: number;
  readonly findings: readonly Finding[];
  readonly findingCount: number;
  /** Times without a new TXID of {@link STANDSTILL_MS} and more. */
  readonly standstills: readonly Standstill[];
  readonly longestStandstillMs: number;
  /** All states seen: TXID, generation. */
  readonly states: readonly (readonly [string, number])[];
  readonly last: SeenState | undefined;
  /** How long checks took, the longest, in ms. */
  readonly slowestMs: number;
}

/** How a reader goes about it. */
export interface ReaderOptions {
  readonly reader: string;
  readonly query: Query;
  /** Pause between transactions, in ms. */
  readonly pauseMs: number;
  /** Longest that transactions stay open, in ms; 0: no longer than a check. */
  readonly holdMs: number;
  /** The reason of an error, where the driver has little to say. */
  readonly reasonOf: (error: unknown) => string;
  readonly onFinding?: (finding: Finding) => void;
  /** How many of the states seen are kept, the latest; all unless given. */
  readonly statesMax?: number;
  /** How many findings are kept whole, the first; 200 unless given. */
  readonly findingsMax?: number;
}

/** How long without a new TXID is worth a word, in ms. */
export const STANDSTILL_MS = 15_000;

const FINDINGS_MAX = 200;

/** Waits. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A connection under test. */
export class FollowReader {
  readonly #options: ReaderOptions;
  readonly #states = new Map<string, number>();
  readonly #findings: Finding[] = [];
  readonly #standstills: Standstill[] = [];
  #findingCount = 0;
  #transactions = 0;
  #integrityChecks = 0;
  #slowestMs = 0;
  #longestMs = 0;
  #last: SeenState | undefined;
  #advancedMs = Date.now();

  constructor(options: ReaderOptions) {
    this.#options = options;
  }

  /** Checks until `isOver` says so. */
  async run(isOver: () => boolean): Promise<void> {
    const { pauseMs } = this.#options;
    while (!isOver()) {
      await this.transaction(this.#depth(), isOver);
      await sleep(pauseMs * (0.5 + Math.random()));
    }
  }

  #depth(): CheckDepth {
    const count = this.#transactions;
    return count % 24 === 11 ? "integrity" : count % 6 === 5 ? "rows" : "marks";
  }

  /** One transaction with its checks. */
  async transaction(depth: CheckDepth, isOver: () => boolean = () => true): Promise<void> {
    const { query, holdMs } = this.#options;
    const beganMs = Date.now();
    let state: SeenState | undefined;
    try {
      query("BEGIN");
      state = seenState(query);
      this.#note(state);
      const untilMs = beganMs + Math.random() * holdMs;
      checkState(query, state, depth);
      while (holdMs > 0 && Date.now() < untilMs && !isOver()) {
        await sleep(300);
        checkState(query, state, "marks");
      }
      query("COMMIT");
    } catch (error) {
      this.#find(error, { state, depth, beganMs });
      this.#endTransaction();
    }
    this.#transactions++;
    if (depth === "integrity") this.#integrityChecks++;
    if (holdMs === 0) this.#slowestMs = Math.max(this.#slowestMs, Date.now() - beganMs);
    else this.#advancedMs += Date.now() - beganMs; // it could see nothing newer meanwhile
  }

  #endTransaction(): void {
    try {
      this.#options.query("ROLLBACK");
    } catch {
      // the error ended the transaction, or it had not begun
    }
  }

  #find(error: unknown, at: { state: SeenState | undefined; depth: CheckDepth; beganMs: number }): void {
    const { reader, reasonOf, onFinding, findingsMax = FINDINGS_MAX } = this.#options;
    const { state, depth, beganMs } = at;
    const finding: Finding = {
      kind: error instanceof InvariantViolation ? error.kind : "error",
      text: error instanceof InvariantViolation ? error.message : reasonOf(error),
      state,
      reader,
      atMs: Date.now(),
      ageMs: Date.now() - beganMs,
      depth,
    };
    this.#findingCount++;
    if (this.#findings.length < findingsMax) this.#findings.push(finding);
    onFinding?.(finding);
  }

  /** Looks at what is seen in a transaction of its own; gives it when it is new. */
  look(): SeenState | undefined {
    const before = this.#last;
    const beganMs = Date.now();
    try {
      this.#note(seenState(this.#options.query));
    } catch (error) {
      this.#find(error, { state: this.#last, depth: "marks", beganMs });
    }
    return this.#last?.txid === before?.txid ? undefined : this.#last;
  }

  #note(state: SeenState): void {
    const before = this.#last;
    this.#last = state;
    if (state.txid !== before?.txid) {
      const standstill = { txid: before?.txid ?? "", fromMs: this.#advancedMs, toMs: Date.now() };
      const ms = standstill.toMs - standstill.fromMs;
      if (ms >= STANDSTILL_MS) this.#standstills.push(standstill);
      this.#longestMs = Math.max(this.#longestMs, ms);
      this.#advancedMs = standstill.toMs;
    }
    this.#states.set(state.txid, state.generation);
    if (this.#states.size > (this.#options.statesMax ?? Infinity)) {
      this.#states.delete(this.#states.keys().next().value!);
    }
    checkOrder(before, state);
  }

  /** What was done and seen until now. */
  report(): ReaderReport {
    const open = { txid: this.#last?.txid ?? "", fromMs: this.#advancedMs, toMs: Date.now() };
    const openMs = open.toMs - open.fromMs;
    return {
      reader: this.#options.reader,
      transactions: this.#transactions,
      integrityChecks: this.#integrityChecks,
      findings: this.#findings,
      findingCount: this.#findingCount,
      standstills: openMs >= STANDSTILL_MS ? [...this.#standstills, open] : this.#standstills,
      longestStandstillMs: Math.max(this.#longestMs, openMs),
      states: [...this.#states],
      last: this.#last,
      slowestMs: this.#slowestMs,
    };
  }
}
