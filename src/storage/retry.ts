/**
 * Deadlines and retries: around one operation, and around any store.
 *
 * @module
 */

import { DeadlineError, ReplicaClosedError, StorageError, type StorageErrorDetails } from "../errors.ts";
import type { Log } from "../log.ts";
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
import { RequestQueue } from "./request_queue.ts";

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
  /** Aborts when the attempt's time is over or the caller wants no more. */
  readonly signal: AbortSignal;
  /** From 1. */
  readonly number: number;
  /** Says that something arrived: the attempt's time begins anew, within the total. */
  progress(): void;
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
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const limits: RetryPolicy & RetryClock & RetryOptions = { ...RETRY_DEFAULTS, ...SYSTEM_CLOCK, ...given };
  const startMs = limits.now();
  const endMs = startMs + limits.totalTimeoutMs;
  let reason: StorageError | undefined;
  for (let number = 1;; number++) {
    options.signal?.throwIfAborted();
    const outcome = await settle(runAttempt(what, operation, { number, endMs, limits }));
    if ("value" in outcome) return outcome.value;
    const error = outcome.error;
    options.signal?.throwIfAborted();
    if (!(error instanceof StorageError) || !error.retryable) throw error;
    if (!(error instanceof CutShortError)) reason = error; // that one says nothing: the failure before it does
    if (number >= limits.attemptsMax && limits.now() < endMs) throw error;
    const delayMs = delayAfter(error, number, limits);
    if (limits.now() + delayMs >= endMs) {
      throw deadlineError(what, { number, tookMs: limits.now() - startMs, delayMs, limits }, reason ?? error);
    }
    await limits.sleep(delayMs, options.signal ?? new AbortController().signal);
    options.onRetry?.(error);
  }
}

/** `Retry-After` in ms: seconds, or a date; undefined where it is neither. */
export function parseRetryAfter(value: string | null, nowMs: number): number | undefined {
  if (value === null || value.trim() === "") return undefined;
  if (/^\s*\d+\s*$/.test(value)) return Number(value) * 1000;
  const dateMs = Date.parse(value);
  return Number.isNaN(dateMs) ? undefined : Math.max(0, dateMs - nowMs);
}

type Limits = RetryPolicy & RetryClock & RetryOptions;

async function settle<T>(promise: Promise<T>): Promise<{ value: T } | { error: unknown }> {
  try {
    return { value: await promise };
  } catch (error) {
    return { error };
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

/** One attempt under its own clock. It ends when its time does, even if the operation does not look at its signal. */
async function runAttempt<T>(
  what: string,
  operation: (attempt: Attempt) => Promise<T>,
  { number, endMs, limits }: { number: number; endMs: number; limits: Limits },
): Promise<T> {
  const controller = new AbortController();
  const finished = new AbortController();
  const follow = () => controller.abort(limits.signal?.reason);
  limits.signal?.addEventListener("abort", follow, { once: true });
  let quietSinceMs = limits.now();
  const watch = async () => {
    for (;;) {
      const waitMs = Math.min(quietSinceMs + limits.attemptTimeoutMs, endMs) - limits.now();
      if (waitMs <= 0) break;
      await limits.sleep(waitMs, finished.signal);
    }
    controller.abort(stalledError(what, limits.now() - quietSinceMs, limits));
  };
  const aborted = new Promise<never>((_, reject) => {
    controller.signal.addEventListener("abort", () => reject(controller.signal.reason), { once: true });
  });
  const progress = () => void (quietSinceMs = limits.now());
  watch().catch(() => {}); // Rejects only because the attempt has finished.
  try {
    return await Promise.race([operation({ signal: controller.signal, number, progress }), aborted]);
  } finally {
    finished.abort();
    limits.signal?.removeEventListener("abort", follow);
  }
}

function stalledError(what: string, quietMs: number, limits: Limits): StorageError {
  const isCutShort = quietMs < limits.attemptTimeoutMs;
  const found = isCutShort ? "the time was over" : `nothing arrived for ${seconds(quietMs)}`;
  const details = { key: "", status: 0, code: "Timeout", retryable: true };
  const Thrown = isCutShort ? CutShortError : StorageError;
  return new Thrown(`Cannot ${what}: ${found}, expected a whole answer`, details);
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
}

const REQUESTS_MAX_DEFAULT = 64;

/**
 * Any store, with a queue, deadlines and retries around each of its requests.
 *
 * A request's time begins when its turn in the queue comes, and a read's grows with its size. A listing is cut into pages, each a request of its own; one
 * that fails on the way goes on after the last key it gave.
 */
export class RetryingStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #options: RetryingStoreOptions;
  readonly #queue: RequestQueue;
  readonly #closing = new AbortController();

  constructor(inner: ObjectStore, options: RetryingStoreOptions = {}) {
    this.#inner = inner;
    this.#options = options;
    this.#queue = new RequestQueue(options.requestsMax ?? REQUESTS_MAX_DEFAULT);
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
      const page = await this.#request(what, options, (attemptOptions, number) => {
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
    return await this.#request(what, options, (given) => this.#inner.read(of, range, given), range.size);
  }

  async close(): Promise<void> {
    this.#closing.abort(
      new ReplicaClosedError(`Cannot finish request to ${this.name}: the store was closed`),
    );
    await this.#inner.close();
  }

  /** Waits for its turn, then tries until the deadline. */
  async #request<T>(
    what: string,
    options: RequestOptions,
    operation: (options: RequestOptions, number: number) => Promise<T>,
    size = 0,
  ): Promise<T> {
    const either = new AbortController();
    const sources = [this.#closing.signal, options.signal].filter((signal) => signal !== undefined);
    const follow = () => either.abort(sources.find((signal) => signal.aborted)?.reason);
    for (const source of sources) source.addEventListener("abort", follow, { once: true });
    if (sources.some((source) => source.aborted)) follow();
    const attempted = (attempt: Attempt) =>
      operation({
        signal: attempt.signal,
        onProgress: (received) => {
          attempt.progress();
          options.onProgress?.(received);
        },
      }, attempt.number);
    const { totalTimeoutMs = RETRY_DEFAULTS.totalTimeoutMs } = this.#options;
    const limits: RetryOptions = {
      ...this.#options,
      totalTimeoutMs: options.timeoutMs ?? totalTimeoutMs + size / SLOWEST_BYTES_PER_SECOND * 1000,
      attemptTimeoutMs: options.attemptTimeoutMs ?? this.#options.attemptTimeoutMs,
      attemptsMax: options.attemptsMax ?? this.#options.attemptsMax,
      signal: either.signal,
      onRetry: ({ message }) => {
        this.counts.retries++;
        this.#options.log?.debug(`Trying again: ${message}`);
      },
    };
    try {
      return await this.#queue.run(() => withRetries(what, attempted, limits), either.signal);
    } finally {
      for (const source of sources) source.removeEventListener("abort", follow);
    }
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
