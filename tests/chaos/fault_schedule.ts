/**
 * The faults of chaos, and the schedule that says which request meets which: pure, so that a seed repeats it.
 *
 * @module
 */
import { Random } from "../support/random.ts";

/** What a request asks for. */
export type RequestClass = "list" | "read" | "put" | "remove";

const ALL: readonly RequestClass[] = ["list", "read", "put", "remove"];
const ANSWERED: readonly RequestClass[] = ["list", "read"];
const WRITING: readonly RequestClass[] = ["put", "remove"];

/** Each kind of fault, and the requests that it can happen to. */
const CLASSES = {
  /** The true answer, later. */
  latency: ALL,
  /** Nothing comes, or nothing more; the connection stays. */
  stall: ALL,
  /** The connection is reset and the server has not heard of the request. */
  "reset before": ALL,
  /** The connection is reset in the middle of the answer's headers. */
  "reset in headers": ALL,
  /** The connection is reset in the middle of the body. */
  "reset in body": ANSWERED,
  /** The connection ends in the middle of the body, or Content-Length tells of less than was asked for. */
  "cut body": ANSWERED,
  /** The body has more bytes than its headers say. */
  "padded body": ANSWERED,
  /** Bytes of another range, under their own Content-Range or under the one that was asked for. */
  "other range": ["read"],
  /** Status 200 with the whole object. */
  "range ignored": ["read"],
  /** The right bytes under a Content-Range that is not theirs, or none. */
  "wrong content-range": ["read"],
  "403": ALL,
  "404": ALL,
  "412": ["read", "put"],
  "416": ["read"],
  /** With Retry-After. */
  "429": ALL,
  "500": ALL,
  "503": ALL,
  /** A listing as it was a while ago: what is new is missing, what was deleted is there. */
  "stale listing": ["list"],
  /** A listing without some objects that are there. */
  "incomplete listing": ["list"],
  /** The answer comes after that of a later request. */
  reordered: ALL,
  /** The object is gone for listings and reads, for a while. */
  deleted: ["read"],
  /** Bits of the body are turned over. */
  flipped: ANSWERED,
  /** The server's clock is wrong: it refuses the request's time, or tells another one. */
  "clock skew": ALL,
  /** The answer comes byte by byte. */
  drip: ALL,
  /** What is to be written is answered with a failure, and done later. */
  "late write": WRITING,
  /** What is to be written is done, and answered with a failure. */
  unacknowledged: WRITING,
} as const satisfies Record<string, readonly RequestClass[]>;

/** How a request goes wrong. */
export type FaultKind = keyof typeof CLASSES;

/** All kinds, in the order in which they are told. */
export const FAULT_KINDS = Object.keys(CLASSES) as readonly FaultKind[];

/** Of the requests that a kind can happen to, the share that it does happen to; kinds that are absent never do. */
export type FaultRates = Readonly<Partial<Record<FaultKind, number>>>;

/** What a request meets. */
export interface DrawnFault {
  readonly kind: FaultKind;
  /** Decides how exactly. */
  readonly dice: Random;
}

/** Whether a kind of fault can happen to such requests. */
export function canMeet(kind: FaultKind, requested: RequestClass): boolean {
  return (CLASSES[kind] as readonly RequestClass[]).includes(requested);
}

/** The same rate for all kinds, such that `share` of all reads go wrong. */
export function evenRates(share: number, without: readonly FaultKind[] = []): FaultRates {
  const kinds = FAULT_KINDS.filter((kind) => !without.includes(kind));
  const rate = share / kinds.filter((kind) => canMeet(kind, "read")).length;
  return Object.fromEntries(kinds.map((kind) => [kind, rate]));
}

/** Says of each request of a lane what it meets. The same seed, lane, number and rates give the same fault. */
export class ChaosSchedule {
  readonly #seed: number;

  constructor(seed: number, lane: number) {
    this.#seed = mixed(mixed(seed) + lane);
  }

  /** The fault of the `number`-th request, counted from 0; undefined where it goes well. */
  at(number: number, requested: RequestClass, rates: FaultRates): DrawnFault | undefined {
    const dice = new Random(mixed(this.#seed + number));
    let drawn = dice.next(1e9) / 1e9;
    for (const kind of FAULT_KINDS) {
      if (!canMeet(kind, requested)) continue;
      drawn -= rates[kind] ?? 0;
      if (drawn < 0) return { kind, dice };
    }
    return undefined;
  }
}

/** A number far from those of its neighbours (the finalizer of MurmurHash3). */
function mixed(number: number): number {
  let bits = Math.imul(number ^ (number >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}
