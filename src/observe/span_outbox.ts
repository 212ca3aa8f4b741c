/**
 * SpanOutbox: what the core's thread tells an observer's, in bounded batches.
 *
 * @module
 */
import type { RequestSpan, TransactionSpan } from "./span.ts";

/** Spans told at once. */
export interface SpanBatch {
  readonly requests: readonly RequestSpan[];
  readonly transactions: readonly TransactionSpan[];
  /** Dropped since the batch before. */
  readonly lost: number;
}

/** What is to be told; structured-cloneable, and its memory is shared. */
export interface ObservedKinds {
  readonly requests: boolean;
  readonly transactions: boolean;
  /** One 32-bit word: spans that the observer's thread has taken so far, modulo 2^32. */
  readonly taken: SharedArrayBuffer;
}

/** Spans on their way at most: a thread that is held up by a query takes none meanwhile. */
export const SPANS_MAX = 8_192;

/** Gathers what comes within a turn of the loop; beyond what the other side has taken, it counts and forgets. */
export class SpanOutbox {
  readonly #post: (batch: SpanBatch) => void;
  readonly #taken: Int32Array;
  #requests: RequestSpan[] = [];
  #transactions: TransactionSpan[] = [];
  #put = 0;
  #lost = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor({ taken }: ObservedKinds, post: (batch: SpanBatch) => void) {
    this.#taken = new Int32Array(taken);
    this.#post = post;
  }

  /** Tells a request. */
  request(span: RequestSpan): void {
    if (this.#hasRoom()) this.#requests.push(span);
    this.#flushLater();
  }

  /** Tells a transaction. */
  transaction(span: TransactionSpan): void {
    if (this.#hasRoom()) this.#transactions.push(span);
    this.#flushLater();
  }

  /** Others were dropped before they came here. */
  lost(count: number): void {
    if (count === 0) return;
    this.#lost += count;
    this.#flushLater();
  }

  /** Sends what is there now. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const [requests, transactions, lost] = [this.#requests, this.#transactions, this.#lost];
    if (requests.length + transactions.length + lost === 0) return;
    [this.#requests, this.#transactions, this.#lost] = [[], [], 0];
    this.#post({ requests, transactions, lost });
  }

  #hasRoom(): boolean {
    const onTheirWay = (this.#put - Atomics.load(this.#taken, 0)) | 0;
    if (onTheirWay >= SPANS_MAX) {
      this.#lost++;
      return false;
    }
    this.#put = (this.#put + 1) | 0;
    return true;
  }

  #flushLater(): void {
    this.#timer ??= setTimeout(() => this.flush(), 0);
  }
}
