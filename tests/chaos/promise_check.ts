/**
 * What is promised under chaos, held against what happens: each operation gives what is right, or fails in time with an error
 * of a class that is documented; and what each kind of fault came to is counted.
 *
 * @module
 */
import { ReplicaError } from "../../mod.ts";
import { AskedError } from "./asker.ts";
import { FAULT_KINDS } from "./fault_schedule.ts";

/** Classes of errors that storage may bring about; others tell of something that did not happen. */
const STORAGE_CLASSES = [
  "StorageError",
  "ObjectGoneError",
  "RestorePlanError",
  "LtxFormatError",
  "DeadlineError",
  "StateGoneError",
];

/** How SQLite words that the pages it was given make up no database: nothing of ours fails so. */
const NO_DATABASE = /malformed|not a database/;

/** Something that was promised was not kept. */
export class BrokenPromise extends Error {
  override name = "BrokenPromise";
}

/** Counts of faults by kind. */
export type FaultCounts = Readonly<Record<string, number>>;

/** An operation under faults. */
export interface Operation<T> {
  readonly name: string;
  /** By when it must be over, in ms of the time that was given to this process. */
  readonly deadlineMs: number;
  /** Classes of errors that it may end with besides those of storage. */
  readonly also?: readonly string[];
  readonly act: () => Promise<T>;
}

/** What tells the faults so far, and the time that was given. */
export interface FaultSource {
  counts(): FaultCounts;
  readonly givenMs: number;
}

/** What faults of each kind came to. */
export class Outcomes {
  /** By kind, then by outcome: `right`, or the class of an error. */
  readonly byKind = new Map<string, Map<string, number>>();
  /** By operation, then by outcome. */
  readonly byOperation = new Map<string, Map<string, number>>();
  readonly broken: string[] = [];

  /** An operation ended; `faults` happened meanwhile. */
  add(operation: string, outcome: string, faults: FaultCounts): void {
    count(this.byOperation, operation, outcome, 1);
    for (const [kind, times] of Object.entries(faults)) {
      if (times > 0) count(this.byKind, kind, outcome, times);
    }
  }

  /** Takes over what others have counted. */
  merge(other: OutcomesData): void {
    for (const [kind, outcome, times] of other.byKind) count(this.byKind, kind, outcome, times);
    for (const [name, outcome, times] of other.byOperation) count(this.byOperation, name, outcome, times);
    this.broken.push(...other.broken);
  }

  /** As plain data. */
  toJSON(): OutcomesData {
    return { byKind: rowsOf(this.byKind), byOperation: rowsOf(this.byOperation), broken: this.broken };
  }

  /** Faults of a kind in all. */
  total(kind: string): number {
    return [...this.byKind.get(kind)?.values() ?? []].reduce((sum, times) => sum + times, 0);
  }
}

/** {@link Outcomes} as rows of name, outcome and count. */
export interface OutcomesData {
  readonly byKind: readonly [string, string, number][];
  readonly byOperation: readonly [string, string, number][];
  readonly broken: readonly string[];
}

function rowsOf(counts: Map<string, Map<string, number>>): [string, string, number][] {
  return [...counts].flatMap(([name, outcomes]) =>
    [...outcomes].map(([outcome, times]): [string, string, number] => [name, outcome, times])
  );
}

function count(counts: Map<string, Map<string, number>>, name: string, outcome: string, by: number): void {
  const outcomes = counts.get(name) ?? new Map<string, number>();
  counts.set(name, outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + by));
}

/** Runs operations of one lane, one after the other, and holds each against what is promised. */
export class PromiseCheck {
  readonly #source: FaultSource;
  readonly #outcomes: Outcomes;
  readonly #label: string;
  #before: FaultCounts;
  /** What the last operation that failed as it may failed with. */
  failure = "";

  /** `label` is what is told of a promise that was broken: seed and lane. */
  constructor(source: FaultSource, outcomes: Outcomes, label: string) {
    this.#source = source;
    this.#outcomes = outcomes;
    this.#label = label;
    this.#before = source.counts();
  }

  /** Runs an operation; gives what it gave, or undefined where it failed as it may. */
  async run<T>({ name, deadlineMs, also = [], act }: Operation<T>): Promise<T | undefined> {
    const startMs = this.#source.givenMs;
    let outcome = "right";
    let given: T | undefined;
    try {
      given = await act();
    } catch (error) {
      outcome = this.#classOf(name, error, also);
    }
    const tookMs = this.#source.givenMs - startMs;
    if (tookMs > deadlineMs) {
      this.broken(`${name}: over after ${tookMs} ms, expected within ${deadlineMs} ms`);
    }
    const now = this.#source.counts();
    const faults = Object.keys(now).map((kind) => [kind, now[kind]! - (this.#before[kind] ?? 0)]);
    this.#before = now;
    this.#outcomes.add(name, outcome, Object.fromEntries(faults));
    return given;
  }

  #classOf(operation: string, error: unknown, also: readonly string[]): string {
    if (error instanceof BrokenPromise) {
      this.broken(`${operation}: ${error.message}`);
      return "broken";
    }
    const [, name = "", message = ""] = /^([A-Za-z]+): ([^]*)$/.exec(reasonOf(error)) ?? [];
    this.failure = `${name}: ${message}`;
    if (error instanceof AskedError && NO_DATABASE.test(error.fault.driver)) {
      this.broken(`${operation}: was given pages that make up no database: ${error.fault.driver}`);
      return "broken";
    }
    const isKnown = [...STORAGE_CLASSES, ...also].includes(name) && /^Cannot .+: /.test(message);
    if (isKnown) return name;
    this.broken(`${operation}: failed with ${error}`);
    return "broken";
  }

  /** Notes that a promise was not kept. */
  broken(what: string): void {
    this.#outcomes.broken.push(`${this.#label}: ${what}`);
  }
}

/** `Name: message` of the error that says most: what lies behind one that only says that nothing could be opened. */
function reasonOf(error: unknown): string {
  if (error instanceof AskedError) return error.fault.reason;
  if (!(error instanceof ReplicaError)) return "";
  const isPlain = error.name === "ReplicaError" && error.cause instanceof ReplicaError;
  return isPlain ? reasonOf(error.cause) : `${error.name}: ${error.message}`;
}

/** Kinds of faults, then operations, each with what came of them, as lines of a table. */
export function outcomeLines(outcomes: Outcomes): string[] {
  const line = (name: string, found: ReadonlyMap<string, number>) => {
    const parts = [...found].sort(([, a], [, b]) => b - a).map(([outcome, times]) => `${outcome} ${times}`);
    const sum = [...found.values()].reduce((total, times) => total + times, 0);
    return `${name.padEnd(20)} ${String(sum).padStart(8)}  ${parts.join(", ")}`;
  };
  const kinds = [...FAULT_KINDS, ...[...outcomes.byKind.keys()].filter((kind) => !isFaultKind(kind)).sort()];
  return [
    ...kinds.map((kind) => line(kind, outcomes.byKind.get(kind) ?? new Map())),
    "",
    ...[...outcomes.byOperation].sort().map(([name, found]) => line(name, found)),
  ];
}

function isFaultKind(kind: string): boolean {
  return (FAULT_KINDS as readonly string[]).includes(kind);
}
