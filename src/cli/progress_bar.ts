/**
 * How far something is, on a terminal as a bar that is written over, elsewhere as a line now and then.
 *
 * @module
 */
import type { RestoreProgress } from "../restore/progress.ts";
import type { Output } from "./output.ts";
import { bytesText, countText, durationText } from "./units.ts";

/** Cells of the bar. */
const WIDTH = 24;
/** Pause between two lines where there is no terminal, in ms. */
const LINE_MS = 2_000;
/** The rate is that of so many ms, so that it follows the network. */
const RATE_MS = 3_000;

/** Shows how a restore goes on. */
export class ProgressBar {
  readonly #err: Output;
  readonly #now: () => number;
  readonly #seen: { ms: number; bytes: number }[];
  #lineMs: number;
  #isShown = false;
  #isWhole = false;

  /** `now` gives milliseconds of any clock that does not jump. */
  constructor(err: Output, now: () => number = () => performance.now()) {
    this.#err = err;
    this.#now = now;
    this.#lineMs = now();
    this.#seen = [{ ms: now(), bytes: 0 }];
  }

  /** Shows a report. */
  show(progress: RestoreProgress): void {
    if (this.#isWhole && !this.#err.isTerminal) return; // the last report may come twice
    const ms = this.#now();
    this.#seen.push({ ms, bytes: progress.bytes });
    while (this.#seen.length > 2 && this.#seen[1]!.ms < ms - RATE_MS) this.#seen.shift();
    const isWhole = progress.pages === progress.pagesTotal;
    this.#isWhole = isWhole;
    if (this.#err.isTerminal) this.#write(`\r\x1b[K${this.#bar(progress)}`);
    else if (ms - this.#lineMs >= LINE_MS || isWhole) {
      this.#lineMs = ms;
      this.#write(`${this.#words(progress)}\n`);
    }
    this.#isShown = true;
  }

  /** Leaves the bar where it is, and the cursor below it. */
  end(): void {
    if (this.#isShown && this.#err.isTerminal) this.#write("\n");
    this.#isShown = false;
  }

  #write(text: string): void {
    this.#err.write(text).catch(() => {}); // nobody watches any more; the restore goes on
  }

  #bar(progress: RestoreProgress): string {
    const full = Math.floor(shareOf(progress) * WIDTH);
    const bar = this.#err.paint("█".repeat(full), "green") + this.#err.paint("░".repeat(WIDTH - full), "dim");
    return cut(`${bar} `, WIDTH + 1, this.#words(progress), this.#err.columns);
  }

  #words(progress: RestoreProgress): string {
    const { bytes, bytesTotal, pages, pagesTotal } = progress;
    const percent = `${Math.floor(shareOf(progress) * 100)}%`.padStart(4);
    const rate = this.#bytesPerSecond();
    const left = rate > 0 ? (bytesTotal - bytes) / rate * 1000 : Infinity;
    const parts = [
      `${percent}  ${countText(pages)}/${countText(pagesTotal)} pages`,
      ...(bytesTotal > 0 ? [`${bytesText(bytes)} of ${bytesText(bytesTotal)} fetched`] : []),
      ...(rate > 0 ? [`${bytesText(Math.round(rate))}/s`] : []),
      ...(pages < pagesTotal && Number.isFinite(left) ? [`${leftText(left)} left`] : []),
    ];
    return parts.join("  ");
  }

  #bytesPerSecond(): number {
    const [first, last] = [this.#seen[0]!, this.#seen.at(-1)!];
    return last.ms > first.ms ? (last.bytes - first.bytes) / (last.ms - first.ms) * 1000 : 0;
  }
}

function shareOf({ pages, pagesTotal }: RestoreProgress): number {
  return pagesTotal === 0 ? 1 : pages / pagesTotal;
}

function leftText(ms: number): string {
  return ms < 10_000 ? `${Math.ceil(Math.max(ms, 0) / 1000)} s` : durationText(ms);
}

/** A line that does not wrap, or it could not be written over. */
function cut(head: string, headWidth: number, text: string, columns: number): string {
  return head + text.slice(0, Math.max(0, columns - 1 - headWidth));
}
