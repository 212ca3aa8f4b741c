/**
 * Deadlines and retries: around one operation, and around any store.
 *
 * @module
 */

import { DeadlineError, ReplicaClosedError, StorageError, type StorageErrorDetails } from "../errors.ts";
import type { Log } from "../log.ts";
import { HedgeClock, ReadHedge } from "./hedge.ts";
import {
  type ByteRange,
  checkRange,
  type ListedObject,
  type ListOptions,
  type ObjectIdentity,
  type ObjectStore,
  type ReadResult,
  type RequestCounts,
  type RequestOptions,
} from "./object_store.ts";
import { onAbort, RequestQueue } from "./request_queue.ts";

/** How long and how often is tried. */
export interface RetryPolicy {
  /** An attempt that brings nothing for this long has failed, in ms. */
  readonly attemptTimeoutMs: number;
  /** All attempts and the pauses between them, in ms. */
  readonly totalTimeoutMs: number;
  /** Upper bound of the first pause in ms; each further one doubles it, and the pause is drawn from 0 to the bound. */
  readonly baseDelayMs: number;
  /** What the bound never exceeds, in ms. */
  readonly maxDelayMs: number;
  /** Attempts at most; the first alone where it is 1. */
  readonly attemptsMax: number;
}

/** Time and chance, so that tests can own them. */
export interface RetryClock {
  /** Milliseconds since whenever, by a clock that nobody sets. */
  now(): number;
  /** From 0 up to 1. */
  random(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** What {@link withRetries} is told beside the operation. */
export interface RetryOptions extends Partial<RetryPolicy>, Partial<RetryClock> {
  /** Ends attempts and pauses at once. */
  readonly signal?: AbortSignal | undefined;
  /** Called before each further attempt with the failure of the last. */
  readonly onRetry?: ((error: StorageError) => void) | undefined;
}

/** One attempt, as the operation sees it. */
export interface Attempt {
  /** Aborts when the attempt's time is over, it was answered otherwise, or the caller wants no more. */
  readonly signal: AbortSignal;
  /** From 1. */
  readonly number: number;
  /**
   * Says that something arrived, `size` bytes in all: the attempt's time begins anew, within the total.
   * Returns whether that is news: where the attempt was sent twice, the other request may be ahead.
   */
  progress(size?: number): boolean;
}

/** Defaults of {@link RetryPolicy}. */
export const RETRY_DEFAULTS: RetryPolicy = Object.freeze({
  attemptTimeoutMs: 4_000,
  totalTimeoutMs: 9_000,
  baseDelayMs: 50,
  maxDelayMs: 1_000,
  attemptsMax: Infinity,
});

/** A read's total time grows by what its bytes take at this speed, in bytes a second. */
const SLOWEST_BYTES_PER_SECOND = 256 * 1024;

/** The runtime's own time and chance. */
const SYSTEM_CLOCK: RetryClock = { now: () => performance.now(), random: Math.random, sleep };

/** A {@link StorageError} whose server said when to come again. */
export class RetryAfterError extends StorageError {
  override name = "StorageError";
  /** How long to wait in ms. */
  readonly retryAfterMs: number;

  constructor(message: string, details: StorageErrorDetails & { retryAfterMs: number }) {
    super(message, details);
    this.retryAfterMs = details.retryAfterMs;
  }
}

/** An attempt that the end of the total time cut short. */
class CutShortError extends StorageError {
  override name = "StorageError";
}

/**
 * Runs `operation` until it succeeds, fails for good, or its time is over. `what` completes "Cannot …".
 *
 * Only a {@link StorageError} that says `retryable`, and an attempt that brought nothing in its time, are tried again.
 *
 * @throws {DeadlineError} the total time is over, or would be before the next attempt; the last failure is its cause
 * @throws {StorageError} the failure of the last attempt that `attemptsMax` allows
 * @throws the signal's reason when it aborts; whatever else `operation` throws
 */
export async function withRetries<T>(
  what: string,
  operation: (attempt: Attempt) => Promise<T>,
  options: RetryOptions = {},
): Promise<T> {
  const basis = withDefaults(options);
  const signals = options.signal === undefined ? [] : [options.signal];
  return await tryUntil(what, operation, {
    ...basis,
    alarm: new Alarm(basis),
    signals,
    onRetry: options.onRetry,
  });
}

/** `Retry-After` in ms: seconds, or a date; undefined where it is neither. */
export function parseRetryAfter(value: string | null, nowMs: number): number | undefined {
  if (value === null || value.trim() === "") return undefined;
  if (/^\s*\d+\s*$/.test(value)) return Number(value) * 1000;
  const dateMs = Date.parse(value);
  return Number.isNaN(dateMs) ? undefined : Math.max(0, dateMs - nowMs);
}

/** What bounds one operation's attempts. */
interface Limits extends RetryPolicy, RetryClock {
  readonly alarm: Alarm;
  /** Each ends attempts and pauses at once. */
  readonly signals: readonly AbortSignal[];
  readonly onRetry?: ((error: StorageError) => void) | undefined;
  /** Where an attempt may be sent a second time. */
  readonly hedge?: ReadHedge | undefined;
}

function withDefaults(given: Partial<RetryPolicy & RetryClock>): RetryPolicy & RetryClock {
  return {
    attemptTimeoutMs: given.attemptTimeoutMs ?? RETRY_DEFAULTS.attemptTimeoutMs,
    totalTimeoutMs: given.totalTimeoutMs ?? RETRY_DEFAULTS.totalTimeoutMs,
    baseDelayMs: given.baseDelayMs ?? RETRY_DEFAULTS.baseDelayMs,
    maxDelayMs: given.maxDelayMs ?? RETRY_DEFAULTS.maxDelayMs,
    attemptsMax: given.attemptsMax ?? RETRY_DEFAULTS.attemptsMax,
    now: given.now ?? SYSTEM_CLOCK.now,
    random: given.random ?? SYSTEM_CLOCK.random,
    sleep: given.sleep ?? SYSTEM_CLOCK.sleep,
  };
}

async function tryUntil<T>(
  what: string,
  operation: (attempt: Attempt) => Promise<T>,
  limits: Limits,
): Promise<T> {
  const startMs = limits.now();
  const endMs = startMs + limits.totalTimeoutMs;
  let reason: StorageError | undefined;
  for (let number = 1;; number++) {
    for (const signal of limits.signals) signal.throwIfAborted();
    try {
      return await new RunningAttempt({ what, operation, number, endMs, limits }).outcome;
    } catch (error) {
      for (const signal of limits.signals) signal.throwIfAborted();
      if (!(error instanceof StorageError) || !error.retryable) throw error;
      if (!(error instanceof CutShortError)) reason = error; // That one says nothing: the one before it does.
      if (number >= limits.attemptsMax && limits.now() < endMs) throw error;
      const delayMs = delayAfter(error, number, limits);
      if (limits.now() + delayMs >= endMs) {
        throw deadlineError(
          what,
          { number, tookMs: limits.now() - startMs, delayMs, limits },
          reason ?? error,
        );
      }
      await limits.sleep(delayMs, AbortSignal.any([...limits.signals]));
      limits.onRetry?.(error);
    }
  }
}

/** Full jitter: between nothing and the doubled bound; what the server asked for comes first. */
function delayAfter(error: StorageError, number: number, limits: Limits): number {
  const bound = Math.min(limits.maxDelayMs, limits.baseDelayMs * 2 ** (number - 1));
  const askedMs = error instanceof RetryAfterError ? error.retryAfterMs : 0;
  return Math.max(askedMs, limits.random() * bound);
}

function deadlineError(
  what: string,
  tried: { number: number; tookMs: number; delayMs: number; limits: Limits },
  cause: StorageError,
): DeadlineError {
  const { number, tookMs, delayMs, limits } = tried;
  const asked = cause instanceof RetryAfterError && delayMs === cause.retryAfterMs
    ? `, the server asks to wait ${seconds(delayMs)}`
    : "";
  const attempts = number === 1 ? "1 attempt" : `${number} attempts`;
  return new DeadlineError(
    `Cannot ${what}: no success in ${attempts} and ${seconds(tookMs)}${asked}, expected one within ` +
      `${seconds(limits.totalTimeoutMs)}; the last failure: ${cause.message}`,
    { cause },
  );
}

function seconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${Math.round(ms / 100) / 10} s`;
}

/** How late the alarm may ring, in ms: where the loop was held longer, answers have come unseen. */
const LATE_MS = 10;
/** After what time a hedge is tried again that found no place, in ms. */
const HEDGE_PAUSE_MS = 50;

/** What is attempted. */
interface Plan<T> {
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
class RunningAttempt<T> implements Due {
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
      const value = await operation({ signal: this.#controller.signal, number, progress });
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

/** Something that is due at a moment. */
interface Due {
  /** When; it may become later at any time. */
  readonly dueMs: number;
  /** Called when that moment has come; it is another one, or deleted, afterwards. */
  ring(nowMs: number): void;
}

/** One timer for all that is due: set to the earliest moment, and looked at again when that has come. */
class Alarm {
  readonly #clock: RetryClock;
  readonly #due = new Set<Due>();
  #setForMs = Infinity;
  #timer: AbortController | undefined;

  constructor(clock: RetryClock) {
    this.#clock = clock;
  }

  add(due: Due): void {
    this.#due.add(due);
    this.#setFor(due.dueMs);
  }

  delete(due: Due): void {
    this.#due.delete(due);
    if (this.#due.size === 0) this.#stop(); // A timer keeps a process from its end.
  }

  #setFor(atMs: number): void {
    if (atMs >= this.#setForMs) return;
    this.#stop();
    this.#setForMs = atMs;
    this.#timer = new AbortController();
    const waitMs = Math.max(0, atMs - this.#clock.now());
    // Rejects only where it was stopped.
    this.#clock.sleep(waitMs, this.#timer.signal).then(() => this.#ring(), () => {});
  }

  #stop(): void {
    this.#timer?.abort();
    this.#timer = undefined;
    this.#setForMs = Infinity;
  }

  #ring(): void {
    this.#timer = undefined;
    this.#setForMs = Infinity;
    const nowMs = this.#clock.now();
    for (const due of this.#due) if (due.dueMs <= nowMs) due.ring(nowMs);
    let nextMs = Infinity;
    for (const { dueMs } of this.#due) nextMs = Math.min(nextMs, dueMs);
    this.#setFor(nextMs);
  }
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const cancel = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", cancel);
      resolve();
    }, ms);
    signal.addEventListener("abort", cancel, { once: true });
  });
}

/** Limits of a {@link RetryingStore}. */
export interface RetryingStoreOptions extends Partial<RetryPolicy>, Partial<RetryClock> {
  /** Requests in flight at most; further ones wait in the order they came. 64 where nothing is said. */
  readonly requestsMax?: number;
  /** Where each further attempt is told, for whoever looks for a fault. */
  readonly log?: Log | undefined;
  /** Whether a read that is not answered in its usual time is sent again; yes where nothing is said. */
  readonly hedge?: boolean;
}

const REQUESTS_MAX_DEFAULT = 64;

/**
 * Any store, with a queue, deadlines and retries around each of its requests.
 *
 * A request's time begins when its turn in the queue comes, and a read's grows with its size. A listing is
 * cut into pages, each a request of its own; one that fails on the way goes on after the last key it gave.
 *
 *     read → queue → tries → attempt ─┬→ request ─┬→ inner store
 *     (a place)                       └→ (hedge) ─┘   where nothing has come; a free place of its own
 */
export class RetryingStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #options: RetryingStoreOptions;
  readonly #queue: RequestQueue;
  readonly #hedgeClock = new HedgeClock();
  readonly #basis: RetryPolicy & RetryClock;
  readonly #alarm: Alarm;
  readonly #closing = new AbortController();

  constructor(inner: ObjectStore, options: RetryingStoreOptions = {}) {
    this.#inner = inner;
    this.#options = options;
    this.#queue = new RequestQueue(options.requestsMax ?? REQUESTS_MAX_DEFAULT);
    this.#basis = withDefaults(options);
    this.#alarm = new Alarm(this.#basis);
  }

  get name(): string {
    return this.#inner.name;
  }

  get counts(): RequestCounts {
    return this.#inner.counts;
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ListedObject[], void, undefined> {
    const what = `list "${prefix}" in ${this.name}`;
    let after = options.after;
    let current: RequestOptions = {};
    let pages: AsyncIterator<ListedObject[]> | undefined;
    const nextPage = (): Promise<IteratorResult<ListedObject[]>> => {
      // An iterator outlives the attempt that made it: each of its requests looks up the options of its own attempt.
      pages ??= this.#inner.list(prefix, following(() => current, after))[Symbol.asyncIterator]();
      return pages.next();
    };
    for (;;) {
      const page = await this.#request({ what }, options, (attemptOptions, number) => {
        current = attemptOptions;
        if (number > 1) pages = undefined;
        return nextPage();
      });
      if (page.done) return;
      after = page.value.at(-1)?.key ?? after;
      yield page.value;
    }
  }

  async read(of: ObjectIdentity, range: ByteRange, options: RequestOptions = {}): Promise<ReadResult> {
    checkRange(range);
    const what = `read bytes ${range.offset}-${range.offset + range.size - 1} of "${of.key}" in ${this.name}`;
    const asked = { what, size: range.size, hedge: this.#hedgeOf(what, of, options) };
    return await this.#request(asked, options, (given) => this.#inner.read(of, range, given));
  }

  async close(): Promise<void> {
    this.#closing.abort(
      new ReplicaClosedError(`Cannot finish request to ${this.name}: the store was closed`),
    );
    await this.#inner.close();
  }

  /**
   * The second request that a read may send. Reads that mind their own time have none; nor have those of
   * whatever has the key, since two answers may be of two objects.
   */
  #hedgeOf(what: string, of: ObjectIdentity, options: RequestOptions): ReadHedge | undefined {
    const isTimed = options.attemptsMax === 1 || options.attemptTimeoutMs !== undefined;
    if (this.#options.hedge === false || isTimed || of.etag === "") return undefined;
    return new ReadHedge(this.#hedgeClock, this.#queue, () => {
      this.counts.hedges = (this.counts.hedges ?? 0) + 1;
      this.#options.log?.debug(`Asking a second time, nothing has come yet: ${what}`);
    });
  }

  /** Waits for its turn, then tries until the deadline. */
  async #request<T>(
    { what, size = 0, hedge }: { what: string; size?: number; hedge?: ReadHedge | undefined },
    options: RequestOptions,
    operation: (options: RequestOptions, number: number) => Promise<T>,
  ): Promise<T> {
    const attempted = ({ signal, number, progress }: Attempt) => {
      const onProgress = (received: Uint8Array) => {
        if (progress(received.length)) options.onProgress?.(received);
      };
      return operation({ signal, onProgress }, number);
    };
    const { totalTimeoutMs, attemptTimeoutMs, attemptsMax } = this.#basis;
    const signals = [this.#closing.signal, ...(options.signal === undefined ? [] : [options.signal])];
    const limits: Limits = {
      ...this.#basis,
      totalTimeoutMs: options.timeoutMs ?? totalTimeoutMs + size / SLOWEST_BYTES_PER_SECOND * 1000,
      attemptTimeoutMs: options.attemptTimeoutMs ?? attemptTimeoutMs,
      attemptsMax: options.attemptsMax ?? attemptsMax,
      alarm: this.#alarm,
      signals,
      hedge,
      onRetry: ({ message }) => {
        this.counts.retries++;
        this.#options.log?.debug(`Trying again: ${message}`);
      },
    };
    return await this.#queue.run(() => tryUntil(what, attempted, limits), ...signals);
  }
}

/** Options whose signal and progress are those of the attempt that runs now. */
function following(current: () => ListOptions, after: string | undefined): ListOptions {
  return {
    ...(after === undefined ? {} : { after }),
    get signal() {
      return current().signal as AbortSignal;
    },
    onProgress: (received) => current().onProgress?.(received),
  };
}
