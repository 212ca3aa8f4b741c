/**
 * An observer's side: takes batches, calls the listeners.
 *
 * @module
 */
import type { ReplicaObserver } from "./span.ts";
import type { ObservedKinds, SpanBatch } from "./span_outbox.ts";

const KINDS = ["request", "transaction", "lost"] as const;

/**
 * Checks an observer.
 *
 * @throws {TypeError} it listens with something other than a function, or to nothing
 */
export function checkObserver(observer: ReplicaObserver): void {
  const isObject = typeof observer === "object" && observer !== null;
  const given = isObject ? KINDS.filter((kind) => observer[kind] !== undefined) : [];
  if (given.length > 0 && given.every((kind) => typeof observer[kind] === "function")) return;
  throw new TypeError(
    `Cannot use option observe: ${isObject ? "an object of another form" : typeof observer}, ` +
      "expected one with functions request, transaction or lost",
  );
}

/** Hands batches to an observer, and tells the core how many spans were taken. */
export class SpanInbox {
  /** What the core needs to know. */
  readonly kinds: ObservedKinds;
  readonly #observer: ReplicaObserver;
  readonly #taken: Int32Array;

  constructor(observer: ReplicaObserver) {
    const taken = new SharedArrayBuffer(4);
    this.#observer = observer;
    this.#taken = new Int32Array(taken);
    this.kinds = {
      requests: observer.request !== undefined,
      transactions: observer.transaction !== undefined,
      taken,
    };
  }

  /** Takes a batch. */
  take({ requests, transactions, lost }: SpanBatch): void {
    Atomics.add(this.#taken, 0, requests.length + transactions.length);
    for (const span of requests) guarded(() => this.#observer.request?.(span));
    for (const span of transactions) guarded(() => this.#observer.transaction?.(span));
    if (lost > 0) guarded(() => this.#observer.lost?.(lost));
  }
}

/** One that throws keeps the next from nothing: its error is thrown on its own. */
function guarded(tell: () => void): void {
  try {
    tell();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
