/**
 * How far a restore is, told now and then.
 *
 * @module
 */
import type { Amount } from "../hydrate/transfer.ts";

/** Pause between two reports at least, in ms. */
const REPORT_MS = 100;

/** How far a restore is; no number ever goes back, and each has reached its total when it is done. */
export interface RestoreProgress {
  /** Bytes that were fetched by this call, as they are stored. */
  readonly bytes: number;
  /** What it fetches altogether: more than was thought first where files were deleted meanwhile. */
  readonly bytesTotal: number;
  /** Pages of the database that are there, those of an earlier call too. */
  readonly pages: number;
  /** Pages of the database. */
  readonly pagesTotal: number;
}

/** Keeps how far one restore is. */
export class Progress {
  readonly #tell: (progress: RestoreProgress) => void;
  readonly #pagesTotal: number;
  #toldMs = -Infinity;
  /** Fetched and there before the files that are read now were planned. */
  #bytesBefore = 0;
  #pagesBefore = 0;
  #bytes = 0;
  #bytesTotal = 0;
  #pages = 0;

  /** `pagesTotal`: pages of the database. */
  constructor(pagesTotal: number, tell: (progress: RestoreProgress) => void) {
    this.#pagesTotal = pagesTotal;
    this.#tell = tell;
  }

  /** Bytes that were fetched. */
  get bytes(): number {
    return this.#bytes;
  }

  /** What is going to be asked for from now on. */
  plan({ bytes, pages }: Amount): void {
    this.#bytesBefore = this.#bytes;
    this.#bytesTotal = Math.max(this.#bytesTotal, this.#bytes + bytes);
    this.#pagesBefore = this.#pagesTotal - pages;
    this.came(0, 0);
  }

  /** So much of it has come. */
  came(pages: number, bytes: number): void {
    this.#bytes = this.#bytesBefore + bytes;
    this.#pages = Math.max(this.#pages, this.#pagesBefore + pages);
    if (performance.now() - this.#toldMs >= REPORT_MS) this.#report();
  }

  /** All has. */
  end(): void {
    this.#pages = this.#pagesTotal;
    this.#bytesTotal = this.#bytes;
    this.#report();
  }

  #report(): void {
    this.#toldMs = performance.now();
    this.#tell({
      bytes: this.#bytes,
      bytesTotal: this.#bytesTotal,
      pages: this.#pages,
      pagesTotal: this.#pagesTotal,
    });
  }
}
