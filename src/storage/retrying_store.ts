/**
 * RetryingStore: any store with a queue, deadlines and retries.
 *
 * @module
 */

import { ReplicaClosedError, type StorageError } from "../errors.ts";
import type { Log } from "../log.ts";
import { Alarm } from "./alarm.ts";
import type { Attempt, Limits } from "./attempt.ts";
import { HedgeClock, ReadHedge } from "./hedge.ts";
import { type Content, contentOfBytes, contentOfChunks } from "./content.ts";
import { wrongAnswer } from "./http_fault.ts";
import { ListingBound } from "./listing_bound.ts";
import { type MultipartPut, putInParts, putOptionsOf, type StepRunner } from "./multipart.ts";
import {
  type BareStore,
  type ByteRange,
  checkContent,
  checkRange,
  type ListedObject,
  type ListOptions,
  type ObjectIdentity,
  type ObjectStore,
  type PutOptions,
  type ReadResult,
  type RequestCounts,
  type RequestOptions,
  type WritableStore,
} from "./object_store.ts";
import type { RequestPurpose } from "../observe/span.ts";
import { COMPARED_BYTES, findOwn, listedSize } from "./own_object.ts";
import { RemovalError } from "./removal.ts";
import { RequestQueue } from "./request_queue.ts";
import { tryUntil } from "./retry.ts";
import { type RetryClock, type RetryPolicy, withDefaults } from "./retry_policy.ts";
import { SingleWrite } from "./single_write.ts";

/** Limits of a {@link RetryingStore}. */
export interface RetryingStoreOptions extends Partial<RetryPolicy>, Partial<RetryClock> {
  /** Requests in flight at most; further ones wait in the order they came. 64 where nothing is said. */
  readonly requestsMax?: number;
  /** Where each further attempt is told, for whoever looks for a fault. */
  readonly log?: Log | undefined;
  /** Whether a read that is not answered in its usual time is sent again; yes where nothing is said. */
  readonly hedge?: boolean;
  /** Whether the inner store wants to know of each request what it is for, and which attempt. */
  readonly isObserved?: boolean;
}

const REQUESTS_MAX_DEFAULT = 64;
/** Bytes at hand go in one request up to the size of so many parts: two more requests are worth it beyond. */
const WHOLE_PARTS_MAX = 3;
/** A read's total time, and a write's, grow by what the bytes take at this speed, in bytes a second. */
const SLOWEST_BYTES_PER_SECOND = 256 * 1024;
/** Objects that one request removes at most, and what each may add to its total time in ms. */
const REMOVED_AT_ONCE_MAX = 1000;
const REMOVAL_MS = 20;

/** A request as it is queued and tried. */
interface Asked {
  /** Completes "Cannot …". */
  readonly what: string;
  /** Bytes that are to come. */
  readonly size?: number;
  /** Bytes that are sent: nothing comes before they have arrived, so that each attempt has time for them. */
  readonly sentSize?: number;
  /** Further time in ms. */
  readonly moreMs?: number;
  readonly hedge?: ReadHedge | undefined;
}

/**
 * Any store, with a queue, deadlines and retries around each of its requests.
 *
 * A request's time begins when its turn in the queue comes, and grows with what is read or written. A listing is
 * cut into pages, each a request of its own; one that fails on the way goes on after the last key it gave. A page
 * without an object gives it another request's time and nobody else anything.
 *
 *     read → queue → tries → attempt ─┬→ request ─┬→ inner store
 *     (a place)                       └→ (hedge) ─┘   where nothing has come; a free place of its own
 */
export class RetryingStore implements WritableStore {
  readonly #inner: BareStore;
  readonly #options: RetryingStoreOptions;
  readonly #queue: RequestQueue;
  readonly #hedgeClock = new HedgeClock();
  readonly #basis: RetryPolicy & RetryClock;
  readonly #alarm: Alarm;
  readonly #closing = new AbortController();

  constructor(inner: BareStore, options: RetryingStoreOptions = {}) {
    this.#inner = inner;
    this.#options = options;
    this.#queue = new RequestQueue(options.requestsMax ?? REQUESTS_MAX_DEFAULT);
    this.#basis = withDefaults(options);
    this.#alarm = new Alarm(this.#basis);
  }

  get name(): string {
    return this.#inner.name;
  }

  get traits(): ObjectStore["traits"] {
    return this.#inner.traits;
  }

  get counts(): RequestCounts {
    return this.#inner.counts;
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ListedObject[], void, undefined> {
    const what = `list "${prefix}" in ${this.name}`;
    const bound = new ListingBound(); // whatever is begun anew on the way
    let after = options.after;
    let current: RequestOptions = {};
    let pages: AsyncIterator<ListedObject[]> | undefined;
    const nextPage = (): Promise<IteratorResult<ListedObject[]>> => {
      // An iterator outlives the attempt that made it: each of its requests looks up the options of its own attempt.
      pages ??= this.#inner.list(prefix, following(() => current, after))[Symbol.asyncIterator]();
      return pages.next();
    };
    const drop = () => {
      pages?.return?.().catch(() => {}); // not waited for: it may be what never ends
      pages = undefined;
    };
    try {
      for (;;) {
        const page = await this.#request({ what }, options, (attemptOptions, number) => {
          current = attemptOptions;
          if (number > 1) drop();
          return nextPage();
        });
        if (page.done) return;
        const excess = bound.add(page.value.length);
        if (excess) throw wrongAnswer({ what, key: prefix, kind: "list" }, excess.found, excess.wanted);
        after = page.value.at(-1)?.key ?? after;
        if (page.value.length > 0) yield page.value;
      }
    } finally {
      drop();
    }
  }

  async read(of: ObjectIdentity, range: ByteRange, options: RequestOptions = {}): Promise<ReadResult> {
    checkRange(range);
    const what = `read bytes ${range.offset}-${range.offset + range.size - 1} of "${of.key}" in ${this.name}`;
    const asked = { what, size: range.size, hedge: this.#hedgeOf(what, of, options) };
    return await this.#request(asked, options, (given) => this.#inner.read(of, range, given));
  }

  async put(key: string, bytes: Uint8Array, options: PutOptions = {}): Promise<ListedObject> {
    checkContent(key, bytes.length);
    if (!options.inParts && bytes.length <= WHOLE_PARTS_MAX * this.#inner.parts.partSize) {
      return await this.#putWhole(key, bytes, { options, run: this.#stepRunner(options) });
    }
    return await this.#putContent(key, contentOfBytes(bytes), { ...options, inParts: true });
  }

  async putChunks(
    key: string,
    chunks: () => AsyncIterable<Uint8Array>,
    options: PutOptions = {},
  ): Promise<ListedObject> {
    return await this.#putContent(key, contentOfChunks(chunks, options.sizeEstimate), options);
  }

  async remove(keys: readonly string[], options: RequestOptions = {}): Promise<void> {
    const failures: StorageError[] = [];
    for (let first = 0; first < keys.length; first += REMOVED_AT_ONCE_MAX) {
      const some = keys.slice(first, first + REMOVED_AT_ONCE_MAX);
      const what = `remove ${some.length} objects from ${this.name}, the first "${some[0]}"`;
      const asked = { what, moreMs: some.length * REMOVAL_MS };
      try {
        await this.#request(asked, options, (given) => this.#inner.remove(some, given));
      } catch (error) {
        if (!(error instanceof RemovalError)) throw error;
        failures.push(...error.failures); // What the others fail with is no reason not to try them.
      }
    }
    if (failures.length > 0) throw new RemovalError(this.name, keys.length, failures);
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

  async #putWhole(
    key: string,
    bytes: Uint8Array,
    { options, run }: { options: PutOptions; run: StepRunner },
  ): Promise<ListedObject> {
    const { replace = false, isBlind = false, ifMatch } = options;
    const isExchange = ifMatch !== undefined;
    const write = new SingleWrite(this.#inner, { key, bytes, replace, isBlind, isExchange });
    const how = putOptionsOf(options);
    return await run(
      { what: `put "${key}" in ${this.name}`, sentSize: bytes.length },
      (given) => write.attempt(given, () => this.#inner.put(key, bytes, { ...given, ...how })),
    );
  }

  /**
   * In parts where it is larger than one. Content is made outside of all requests: it may come by requests of
   * its own, which need places in the queue.
   */
  async #putContent(key: string, content: Content, given: PutOptions): Promise<ListedObject> {
    const signal = AbortSignal.any([
      this.#closing.signal,
      ...(given.signal === undefined ? [] : [given.signal]),
    ]);
    signal.throwIfAborted();
    const options = { ...given, signal };
    const run = this.#stepRunner(options);
    const put = { name: `"${key}" in ${this.name}`, key, content, options, parts: this.#inner.parts };
    const putWhole = (bytes: Uint8Array) => this.#putWhole(key, bytes, { options, run });
    return await putInParts({
      ...put,
      putWhole: given.inParts ? undefined : putWhole,
      find: (size) => this.#find(put, { size, signal, run }),
    }, run);
  }

  /** Reads an object back, each piece by a request of its own. */
  async #find(
    { name, key, content, options }: Pick<MultipartPut, "name" | "key" | "content" | "options">,
    { size, signal, run }: { size: number; signal: AbortSignal; run: StepRunner },
  ): Promise<ListedObject | undefined> {
    const pieces = content.pieces(COMPARED_BYTES, signal);
    const sought = { name, key, size, pieces, replace: options.replace === true };
    return await findOwn(sought, {
      read: (of, range) => {
        const step = { what: `read ${name} back from byte ${range.offset}`, size: range.size };
        return run(step, (given) => this.#inner.read(of, range, given));
      },
      listedSize: () => run({ what: `list ${name}` }, (given) => listedSize(this.#inner, key, given)),
    });
  }

  /** Each step waits for its own turn; a time for all of them is shared. */
  #stepRunner(options: RequestOptions): StepRunner {
    const { timeoutMs } = options;
    const endMs = timeoutMs === undefined ? undefined : this.#basis.now() + timeoutMs;
    return ({ options: own, ...asked }, operation) => {
      const left = endMs === undefined ? {} : { timeoutMs: Math.max(0, endMs - this.#basis.now()) };
      return this.#request(asked, { ...options, ...left, ...own }, operation);
    };
  }

  /** Waits for its turn, then tries until the deadline. */
  async #request<T>(
    { what, size = 0, sentSize = 0, moreMs = 0, hedge }: Asked,
    options: RequestOptions,
    operation: (options: RequestOptions, number: number) => Promise<T>,
  ): Promise<T> {
    const { isObserved = false } = this.#options;
    const askedMs = isObserved ? performance.now() : 0;
    let queuedMs = 0;
    const attempted = ({ signal, number, isHedge, progress }: Attempt) => {
      const onProgress = (received: Uint8Array) => {
        if (progress(received.length)) options.onProgress?.(received);
      };
      const { onSent, purpose, reader } = options;
      const observed = isObserved &&
        { ...(purpose && { purpose }), reader, attempt: { number, isHedge, queuedMs } };
      return operation({ signal, onProgress, onSent, ...observed }, number);
    };
    const { totalTimeoutMs, attemptTimeoutMs, attemptsMax } = this.#basis;
    const signals = [this.#closing.signal, ...(options.signal === undefined ? [] : [options.signal])];
    const sentMs = sentSize / SLOWEST_BYTES_PER_SECOND * 1000;
    const bytesMs = size / SLOWEST_BYTES_PER_SECOND * 1000 + 2 * sentMs; // Twice: one attempt may be in vain.
    const limits: Limits = {
      ...this.#basis,
      totalTimeoutMs: options.timeoutMs ?? totalTimeoutMs + bytesMs + moreMs,
      attemptTimeoutMs: options.attemptTimeoutMs ?? attemptTimeoutMs + sentMs,
      attemptsMax: options.attemptsMax ?? attemptsMax,
      alarm: this.#alarm,
      signals,
      hedge,
      onRetry: ({ message }) => {
        this.counts.retries++;
        this.#options.log?.debug(`Trying again: ${message}`);
      },
    };
    const tried = () => {
      if (isObserved) queuedMs = performance.now() - askedMs;
      return tryUntil(what, attempted, limits);
    };
    return await this.#queue.run(tried, ...signals);
  }
}

/** Options whose signal and progress are those of the attempt that runs now. */
function following(current: () => ListOptions, after: string | undefined): ListOptions {
  return {
    ...(after === undefined ? {} : { after }),
    get signal() {
      return current().signal as AbortSignal;
    },
    get purpose() {
      return current().purpose as RequestPurpose;
    },
    get attempt() {
      return current().attempt;
    },
    onProgress: (received) => current().onProgress?.(received),
    onSent: () => current().onSent?.(),
  };
}
