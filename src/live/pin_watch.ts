/**
 * Transactions that stay open on states which are long not the newest.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";

/** How long a state may be held once it is not the newest before it is told of, in ms. */
const HELD_MS = 60_000;

/** Words of a pin as the shim tells it: TXID, stamp, transactions, whether it was ever the newest. */
const PIN_WORDS = 4;

/** States asked for at first; twice as many where that is how many come. */
const PINS_AT_FIRST = 256;

/** A state that a transaction sees. */
export interface Pin {
  readonly txid: bigint;
  readonly stamp: number;
  /** Open transactions that see it. */
  readonly count: number;
  /** False for one that was only ever looked at in the past. */
  readonly wasNewest: boolean;
}

/** The states of a replica that transactions see right now; `room`: how many are asked for, at first. */
export function readPins(native: Native, replicaId: number, room: number = PINS_AT_FIRST): Pin[] {
  const buffer = new Uint8Array(room * PIN_WORDS * 8);
  const found = native.calls.ls_replica_pins(replicaId, buffer, room);
  if (found === room) return readPins(native, replicaId, 2 * room);
  const words = new DataView(buffer.buffer);
  return Array.from({ length: Math.max(0, found) }, (_, i) => {
    const word = (at: number) => words.getBigUint64((i * PIN_WORDS + at) * 8, true);
    return { txid: word(0), stamp: Number(word(1)), count: Number(word(2)), wasNewest: word(3) === 1n };
  });
}

/** Remembers since when states are held. */
export class PinWatch {
  readonly #native: Native;
  readonly #replicaId: number;
  readonly #heldMs: number;
  readonly #sinceMs = new Map<number, number>();
  readonly #told = new Set<number>();

  /** `heldMs`: how long a state may be held. */
  constructor(native: Native, replicaId: number, heldMs: number = HELD_MS) {
    this.#native = native;
    this.#replicaId = replicaId;
    this.#heldMs = heldMs;
  }

  /** States held for too long that were not told of yet; called after each look. */
  check(newestStamp: number): { txid: bigint; heldMs: number }[] {
    const nowMs = performance.now();
    const held = readPins(this.#native, this.#replicaId)
      .filter(({ wasNewest, stamp }) => wasNewest && stamp !== newestStamp);
    const stamps = new Set(held.map(({ stamp }) => stamp));
    for (const stamp of this.#sinceMs.keys()) {
      if (stamps.has(stamp)) continue;
      this.#sinceMs.delete(stamp);
      this.#told.delete(stamp);
    }
    return held.flatMap(({ txid, stamp }) => {
      const sinceMs = this.#sinceMs.get(stamp) ?? nowMs;
      this.#sinceMs.set(stamp, sinceMs);
      if (nowMs - sinceMs < this.#heldMs || this.#told.has(stamp)) return [];
      this.#told.add(stamp);
      return [{ txid, heldMs: Math.round(nowMs - sinceMs) }];
    });
  }
}
