/**
 * RunningAttempt: one attempt at a request, with its time and perhaps a second request beside it.
 *
 * @module
 */

import { StorageError } from "../errors.ts";
import type { Alarm, Due } from "./alarm.ts";
import type { ReadHedge } from "./hedge.ts";
import { onAbort } from "./request_queue.ts";
import { RetryAfterError } from "./retry_after.ts";
import type { RetryClock, RetryPolicy } from "./retry_policy.ts";

/** One attempt, as the operation sees it. */
export interface Attempt {
  /** Aborts when the attempt's time is over, it was answered otherwise, or the caller wants no more. */
  readonly signal: AbortSignal;
  /** From 1. */
  readonly number: number;
  /** Whether this one is under way already: it is sent a second time. */
  readonly isHedge: boolean;
  /**
   * Says that something arrived, `size` bytes in all: the attempt's time begins anew, within the total.
   * Returns whether that is news: where the attempt was sent twice, the other request may be ahead.
   */
  progress(size?: number): boolean;
}

/** What bounds one operation's attempts. */
export interface Limits extends RetryPolicy, RetryClock {
  readonly alarm: Alarm;
  /** Each ends attempts and pauses at once. */
  readonly signals: readonly AbortSignal[];
  readonly onRetry?: ((error: StorageError) => void) | undefined;
  /** Where an attempt may be sent a second time. */
  readonly hedge?: ReadHedge | undefined;
}

/** An attempt that the end of the total time cut short. */
export class CutShortError extends StorageError {
  override name = "StorageError";
}

/** How late the alarm may ring, in ms: where the loop was held longer, answers have come unseen. */
const LATE_MS = 10;
/** After what time a hedge is tried again that found no place, in ms. */
const HEDGE_PAUSE_MS = 50;

/** What is attempted. */
export interface Plan<T> {
  /** Completes "Cannot …". */
  readonly what: string;
  readonly operation: (attempt: Attempt) => Promise<T>;
  readonly number: number;
  /** When the time of all attempts is over. */
  readonly endMs: number;
  readonly limits: Limits;
}

/**
 * One attempt: a request, and perhaps a second one beside it. The first answer ends it, so does the end of
 * its time, even if the operation does not look at its signal.
 */
export class RunningAttempt<T> implements Due {
  readonly outcome: Promise<T>;
  readonly #plan: Plan<T>;
  readonly #controller = new AbortController();
  readonly #ignoreSignals: () => void;
  #resolve!: (value: T) => void;
  #reject!: (error: unknown) => void;
  #isOver = false;
  #requestsOut = 0;
  #quietSinceMs: number;
  #hedgeAtMs: number;
  #sizeMax = 0;
  /** What one of two requests failed with while the other goes on. */
  #failure: StorageError | undefined;

  constructor(plan: Plan<T>) {
    const { limits } = this.#plan = plan;
    this.#quietSinceMs = limits.now();
    this.#hedgeAtMs = this.#quietSinceMs + (limits.hedge?.delayMs ?? Infinity);
    this.outcome = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#ignoreSignals = onAbort(limits.signals, (reason) => this.#fail(reason));
    limits.alarm.add(this);
    this.#send();
  }

  get dueMs(): number {
    return Math.min(this.#hedgeAtMs, this.#timeOverMs());
  }

  ring(nowMs: number): void {
    const { what, limits: { hedge, attemptTimeoutMs } } = this.#plan;
    if (nowMs >= this.#timeOverMs()) {
      this.#fail(this.#failure ?? stalledError(what, nowMs - this.#quietSinceMs, attemptTimeoutMs));
    } else if (nowMs - this.#hedgeAtMs > LATE_MS) this.#hedgeAtMs = nowMs + LATE_MS;
    else if (!hedge?.begin()) this.#hedgeAtMs = nowMs + HEDGE_PAUSE_MS;
    else {
      this.#hedgeAtMs = Infinity;
      this.#send();
    }
  }

  #timeOverMs(): number {
    const { endMs, limits } = this.#plan;
    return Math.min(this.#quietSinceMs + limits.attemptTimeoutMs, endMs);
  }

  /** Sends a request; what becomes of it is told to the attempt. */
  async #send(): Promise<void> {
    const { operation, number, limits } = this.#plan;
    const sentMs = limits.now();
    let isSilent = true;
    const progress = (size = 0) => {
      if (this.#isOver) return false;
      this.#quietSinceMs = limits.now();
      this.#hedgeAtMs = Infinity;
      if (isSilent) limits.hedge?.answered(this.#quietSinceMs - sentMs);
      isSilent = false;
      return this.#isNews(size);
    };
    this.#requestsOut++;
    try {
      const { signal } = this.#controller;
      const value = await operation({ signal, number, isHedge: this.#requestsOut > 1, progress });
      this.#requestsOut--;
      progress();
      this.#end(() => this.#resolve(value));
    } catch (error) {
      this.#requestsOut--;
      this.#failOne(error);
    }
  }

  /** A failure that may pass says nothing while the other request goes on; one for good is an answer. */
  #failOne(error: unknown): void {
    const mayPass = error instanceof StorageError && error.retryable;
    if (mayPass && this.#requestsOut > 0) this.#failure = error;
    else if (mayPass && this.#failure instanceof RetryAfterError) this.#fail(this.#failure);
    else this.#fail(error);
  }

  #fail(error: unknown): void {
    this.#end(() => this.#reject(error), error);
  }

  /** Settles the outcome; what still runs is aborted. */
  #end(settle: () => void, reason?: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { alarm, hedge } = this.#plan.limits;
    alarm.delete(this);
    this.#ignoreSignals();
    settle();
    if (this.#requestsOut > 0) this.#controller.abort(reason);
    hedge?.end();
  }

  #isNews(size: number): boolean {
    if (size < this.#sizeMax) return false;
    this.#sizeMax = size;
    return true;
  }
}

function stalledError(what: string, quietMs: number, attemptTimeoutMs: number): StorageError {
  const isCutShort = quietMs < attemptTimeoutMs;
  const found = isCutShort ? "the time was over" : `nothing arrived for ${seconds(quietMs)}`;
  const details = { key: "", status: 0, code: "Timeout", retryable: true };
  const Thrown = isCutShort ? CutShortError : StorageError;
  return new Thrown(`Cannot ${what}: ${found}, expected a whole answer`, details);
}

/** A time in ms as a person reads it. */
export function seconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${Math.round(ms / 100) / 10} s`;
}
