/**
 * Answers that make no sense: whether they were damaged on their way, and may come whole when they are asked for again.
 *
 * @module
 */

/** Answers of one store that are kept in mind. */
const ANSWERS_MAX = 8;

/** The odd answers of one store. What comes a second time as it was is what the server gives. */
export class OddAnswers {
  readonly #seen: string[] = [];

  /** Whether an answer, or what is odd in it, has not come before. */
  isNew(answer: string): boolean {
    if (this.#seen.includes(answer)) return false;
    this.#seen.push(answer);
    if (this.#seen.length > ANSWERS_MAX) this.#seen.shift();
    return true;
  }
}
