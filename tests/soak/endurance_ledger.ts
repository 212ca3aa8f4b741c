/**
 * What happened to a process that is meant to endure: what it did, which errors it was told, and what must not have happened.
 *
 * @module
 */
import { ReplicaError } from "../../mod.ts";

/**
 * What is to be expected of storage: `"storm"` it goes wrong all the time · `"calming"` it is well again, and not everybody
 * has seen that yet · `"clear"` nothing may fail.
 */
export type Weather = "storm" | "calming" | "clear";

/** Errors that tell of storage, each with words. Others are not what storage can cause. */
const OF_STORAGE = [
  "StorageError",
  "ObjectGoneError",
  "StateGoneError",
  "RestorePlanError",
  "DeadlineError",
  "LtxFormatError",
];

/** How drivers tell that a read, a write or an opening failed. */
const DRIVER_WORDS =
  /disk I\/O error|unable to (open database|get the page)|Failed to read ptrmap|failed to get page|interrupted|query aborted/i;

/** What is counted, by name. */
export type Counts = Record<string, number>;

/** Something that went wrong, and when it began. */
export interface Mishap {
  readonly what: string;
  /** In words. */
  readonly text: string;
  /** That of this package's error, by {@link nameOf}. */
  readonly name: string | undefined;
  readonly beganMs: number;
  /** Errors, by name, that are in order in any weather. */
  readonly expected?: readonly string[];
}

/** What must not happen. */
export interface Fault {
  readonly text: string;
  /** When what went wrong began, in ms. */
  readonly beganMs: number;
  /** Whether storage could be the cause: of a storm that this process was too busy to hear of. */
  readonly isOfStorage: boolean;
}

/** Keeps the books of one process. */
export class Ledger {
  /** What was done, by kind. */
  readonly done: Counts = {};
  /** Errors in bad weather, by what was done and their name. */
  readonly errors: Counts = {};
  /** Faults told so far. */
  faults = 0;
  #weather: Weather = "calming";
  #sinceMs = Date.now();
  readonly #onFault: (fault: Fault) => void;

  /** `onFault` hears of what must not happen. */
  constructor(onFault: (fault: Fault) => void) {
    this.#onFault = onFault;
  }

  get weather(): Weather {
    return this.#weather;
  }

  set weather(weather: Weather) {
    this.#weather = weather;
    this.#sinceMs = Date.now();
  }

  /** Counts something that was done. */
  count(what: string): void {
    this.done[what] = (this.done[what] ?? 0) + 1;
  }

  /** Tells of something that must not happen in any weather. */
  fault(text: string): void {
    this.#tell({ text, beganMs: Date.now(), isOfStorage: false });
  }

  #tell(fault: Fault): void {
    this.faults++;
    this.#onFault(fault);
  }

  /** Books an error: as one that bad weather explains, or as a fault. */
  book({ what, text, name, beganMs, expected = [] }: Mishap): void {
    const isBad = this.#weather !== "clear" || beganMs < this.#sinceMs;
    if (name !== undefined && (expected.includes(name) || (isBad && OF_STORAGE.includes(name)))) {
      const key = `${what}: ${name}`;
      this.errors[key] = (this.errors[key] ?? 0) + 1;
    } else {
      const isOfStorage = name !== undefined && OF_STORAGE.includes(name);
      this.#tell({ text: `${what} in weather "${this.#weather}": ${text}`, beganMs, isOfStorage });
    }
  }
}

/** The name of this package's error that tells why, `reason` being the replica's last one; undefined where none does. */
export function nameOf(error: unknown, reason: Error | undefined): string | undefined {
  if (error instanceof ReplicaError) {
    const { cause } = error; // connect() has one class for all that may have kept it from connecting
    return error.name === "ReplicaError" && cause instanceof ReplicaError ? cause.name : error.name;
  }
  const isDrivers = DRIVER_WORDS.test(String(error));
  return isDrivers && reason instanceof ReplicaError ? reason.name : undefined;
}

/** An error and the replica's last one in words. */
export function textOf(error: unknown, reason: Error | undefined): string {
  const own = error instanceof Error ? error.stack ?? String(error) : String(error);
  return reason === undefined ? own : `${own} (${reason})`;
}
