/**
 * What the thread of a chaos proxy and the one that started it both see: whether it storms, how much, and what came of it.
 *
 * @module
 */
import { FAULT_KINDS, type FaultKind, type FaultRates } from "./fault_schedule.ts";

const STORM = 0;
const TICKS = 1;
const REQUESTS = 2;
/** Counts how often rates were set. */
const VERSION = 3;
const RATES = 4;
const COUNTS = RATES + FAULT_KINDS.length;

/** Rates are kept in millionths. */
const RATE_UNIT = 1_000_000;

/** Time that the proxy's thread was given, is counted in ticks of so many ms. */
const TICK_MS = 10;

/** Shared numbers; each side makes one of the same buffer. */
export class ChaosMemory {
  readonly buffer: SharedArrayBuffer;
  readonly #numbers: Int32Array;
  #known: { readonly version: number; readonly rates: FaultRates } = { version: 0, rates: {} };

  /** Memory for so many lanes, or what another thread has made. */
  constructor(of: number | SharedArrayBuffer) {
    this.buffer = typeof of === "number" ? new SharedArrayBuffer(4 * (COUNTS + of * FAULT_KINDS.length)) : of;
    this.#numbers = new Int32Array(this.buffer);
  }

  /** The rates that hold while it storms. */
  get rates(): FaultRates {
    const version = Atomics.load(this.#numbers, VERSION);
    if (version === this.#known.version) return this.#known.rates;
    const rates = Object.fromEntries(
      FAULT_KINDS.map((kind, i) => [kind, Atomics.load(this.#numbers, RATES + i) / RATE_UNIT]),
    );
    this.#known = { version, rates };
    return rates;
  }

  /** Sets the rates, and lets them hold. */
  storm(rates: FaultRates): void {
    FAULT_KINDS.forEach((kind, i) => {
      Atomics.store(this.#numbers, RATES + i, Math.round((rates[kind] ?? 0) * RATE_UNIT));
    });
    Atomics.add(this.#numbers, VERSION, 1);
    Atomics.store(this.#numbers, STORM, 1);
  }

  /** No request that comes from now on meets a fault. */
  calm(): void {
    Atomics.store(this.#numbers, STORM, 0);
  }

  /** How many lanes it counts faults of. */
  get lanes(): number {
    return (this.#numbers.length - COUNTS) / FAULT_KINDS.length;
  }

  get isStorming(): boolean {
    return Atomics.load(this.#numbers, STORM) === 1;
  }

  /** A fault happened. */
  add(lane: number, kind: FaultKind): void {
    Atomics.add(this.#numbers, COUNTS + lane * FAULT_KINDS.length + FAULT_KINDS.indexOf(kind), 1);
  }

  /** Faults of a lane by kind. */
  countsOf(lane: number): Record<FaultKind, number> {
    const first = COUNTS + lane * FAULT_KINDS.length;
    return Object.fromEntries(
      FAULT_KINDS.map((kind, i) => [kind, Atomics.load(this.#numbers, first + i)]),
    ) as Record<FaultKind, number>;
  }

  /** Counts a request, whatever it meets; gives its number, from 0. */
  addRequest(): number {
    return Atomics.add(this.#numbers, REQUESTS, 1);
  }

  get requests(): number {
    return Atomics.load(this.#numbers, REQUESTS);
  }

  /** Counts ticks of this thread; gives a function that ends it. */
  tick(): () => void {
    const timer = setInterval(() => Atomics.add(this.#numbers, TICKS, 1), TICK_MS);
    return () => clearInterval(timer);
  }

  /**
   * Time in ms that the proxy's thread was given a turn in: less than the wall clock's where the machine is too busy to keep a
   * timer. A deadline that is late by this clock is late for another reason.
   */
  get givenMs(): number {
    return Atomics.load(this.#numbers, TICKS) * TICK_MS;
  }
}
