/**
 * Work that is done round after round, and can be held up.
 *
 * @module
 */
import { sleep } from "./follow_reader.ts";

/** A round that takes longer hangs, in ms: many times all deadlines within it. */
const ROUND_MS_MAX = 240_000;

/** How rounds go. */
export interface RoundsOptions {
  readonly name: string;
  /** One round; `isOver` tells when it should come to an end. */
  readonly work: (round: number, isOver: () => boolean) => Promise<void> | void;
  /** Pause after each, in ms, at a pace of 1. */
  readonly pauseMs: number;
  readonly pace: number;
  /** Hears that a round hangs, or of what it throws. */
  readonly onFault: (text: string) => void;
}

/** Rounds that go on until they are stopped. */
export class Rounds {
  readonly #options: RoundsOptions;
  /** Pauses are so many times as long. */
  pace: number;
  #isHeld = false;
  #isStopped = false;
  #round: Promise<void> = Promise.resolve();

  constructor(options: RoundsOptions) {
    this.#options = options;
    this.pace = options.pace;
    void this.#run();
  }

  async #run(): Promise<void> {
    const { pauseMs } = this.#options;
    for (let round = 0; !this.#isStopped; await sleep(pauseMs * this.pace * (0.75 + Math.random() / 2))) {
      if (this.#isHeld) continue;
      this.#round = this.#one(round++);
      await this.#round;
    }
  }

  async #one(round: number): Promise<void> {
    const { name, work, onFault } = this.#options;
    const timer = setTimeout(() => onFault(`${name} hangs: not done after ${ROUND_MS_MAX} ms`), ROUND_MS_MAX);
    try {
      await work(round, () => this.#isHeld || this.#isStopped);
    } catch (error) {
      onFault(`${name}: ${error instanceof Error ? error.stack : error}`);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Lets the round under way end; none begins until {@link go}. */
  async hold(): Promise<void> {
    this.#isHeld = true;
    await this.#round;
  }

  /** Goes on. */
  go(): void {
    this.#isHeld = false;
  }

  /** Lets the round under way end, for good. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#round;
  }
}
