/**
 * Guesses that would cost a request, for readers that find all they want on this machine's disk: they wait
 * until such a reader has to wait for storage anyway.
 *
 * @module
 */
import type { PlanFile } from "../view/plan_file.ts";
import { ConnectionMemory } from "./connection_memory.ts";
import type { FrameRange } from "./frames.ts";

/** Guesses of a connection that are kept in mind; the oldest are forgotten. */
const GUESSES_MAX = 64;

/** In place of a connection: what is guessed at the opening. */
const NOBODY = 0;

/** A range that was guessed. */
export interface Guess {
  readonly file: PlanFile;
  readonly range: FrameRange;
}

/** Which connections are served from disk, and what was guessed for them meanwhile. */
export class Deferred {
  readonly #guesses = new ConnectionMemory<Guess[]>();

  /**
   * A connection wanted a page; gives what was guessed for it, and for nobody, once that page is not on disk.
   */
  wanted(connection: number, isLocal: boolean): readonly Guess[] {
    if (isLocal) this.serveLocally(connection);
    return isLocal ? [] : [...this.#takeAll(NOBODY), ...this.#takeAll(connection)];
  }

  /** From now on a connection is served from disk. */
  serveLocally(connection: number): void {
    this.#guesses.use(connection, () => []);
  }

  #takeAll(connection: number): Guess[] {
    return this.#guesses.take(connection) ?? [];
  }

  /** Takes a guess where its connection is served from disk; false where it is to be fetched now. */
  take(connection: number, guess: Guess): boolean {
    const guesses = this.#guesses.get(connection);
    if (guesses === undefined) return false;
    const isAgain = ({ file, range }: Guess) => file === guess.file && range.first === guess.range.first;
    const before = guesses.findIndex(isAgain);
    if (before >= 0) guesses.splice(before, 1);
    guesses.push(guess);
    if (guesses.length > GUESSES_MAX) guesses.shift();
    return true;
  }
}
