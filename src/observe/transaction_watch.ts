/**
 * TransactionWatch: transactions of an observed replica, taken from the shim.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { LS } from "../../ffi/symbols.ts";
import { transactionName } from "../pages/counters.ts";
import { ReplicaError } from "../errors.ts";
import type { TransactionSpan } from "./span.ts";

/** Words of one record; `LS_TRANSACTION_WORDS` in `ffi/shim.h`. */
const TRANSACTION_WORDS = 16;

/** Records taken by one call. */
const BATCH = 256;

/** How often the shim is looked at, in ms. */
const PAUSE_MS = 250;

/** Where transactions are told. */
export interface TransactionListener {
  transaction(span: TransactionSpan): void;
  /** So many found no room. */
  lost(count: number): void;
}

/** Takes the transactions of one replica until it is stopped; all of them, those of other threads too. */
export class TransactionWatch {
  readonly #native: Native;
  readonly #replicaId: number;
  readonly #place: string;
  readonly #listener: TransactionListener;
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(native: Native, replicaId: number, place: string, listener: TransactionListener) {
    this.#native = native;
    this.#replicaId = replicaId;
    this.#place = place;
    this.#listener = listener;
    if (native.calls.ls_replica_observe(replicaId) === LS.NOMEM) {
      throw new ReplicaError(`Cannot observe ${place}: out of memory`);
    }
    this.#timer = setInterval(() => this.take(), PAUSE_MS);
  }

  /** Takes what is there now. */
  take(): void {
    const words = new BigUint64Array(1 + BATCH * TRANSACTION_WORDS);
    for (;;) {
      const bytes = new Uint8Array(words.buffer);
      const count = this.#native.calls.ls_replica_transactions(this.#replicaId, bytes, words.length);
      if (count < 0) return;
      for (let i = 0; i < count; i++) {
        const start = 1 + i * TRANSACTION_WORDS;
        this.#listener.transaction(spanOf(words.subarray(start, start + TRANSACTION_WORDS), this.#place));
      }
      this.#listener.lost(Number(words[0]));
      if (count < BATCH) return;
    }
  }

  /** Takes what is there, and no more. */
  stop(): void {
    clearInterval(this.#timer);
    this.take();
  }
}

function spanOf(words: BigUint64Array, place: string): TransactionSpan {
  const at = (index: number) => Number(words[index]);
  return {
    transaction: transactionName(at(0), at(1)),
    place,
    txid: words[2]!,
    startMs: at(3) / 1e6,
    endMs: Math.max(at(3), at(4)) / 1e6,
    isWrite: words[5] !== 0n,
    hits: at(6),
    misses: at(7),
    bytesUsed: at(9),
    aheadHits: at(10),
    getRequests: at(11),
    bytes: at(12),
    roundTrips: at(13),
    aheadPages: at(14),
    localReads: at(15),
  };
}
