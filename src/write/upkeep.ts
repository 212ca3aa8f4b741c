/**
 * Compaction, snapshots and retention beside a writer, when they are due: nobody else compacts what we write.
 *
 * @module
 */
import { COMPACTION_SCHEDULE, nextBoundaryMs } from "../compact/compaction_schedule.ts";
import type { CompactionReport, Compactor, CompactorOptions } from "../compact/compactor.ts";

/** Boundaries are the server's, and its clock is another one: looked a little later, what is due is seen. */
const AFTER_BOUNDARY_MS = 1_000;

/** The first statements after an opening come before what is due, in ms. */
const HEAD_START_MS = 250;

/** What {@link Upkeep} works with. */
export interface UpkeepOptions extends CompactorOptions {
  /** Takes sentences for a person. */
  readonly onNotice: (text: string) => void;
}

/** Runs a compactor soon after the beginning and whenever something may be due. */
export class Upkeep {
  readonly #options: UpkeepOptions;
  #compactor: Compactor | undefined;
  readonly #abort = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #running: Promise<void> | undefined;
  #told = "";

  constructor(options: UpkeepOptions) {
    this.#options = options;
  }

  /** Begins; what is due is made soon. */
  start(): void {
    this.#timer = setTimeout(() => this.#look(), HEAD_START_MS);
  }

  #look(): void {
    this.#running = this.#run().finally(() => {
      if (!this.#abort.signal.aborted) this.#schedule();
    });
  }

  #schedule(): void {
    const now = Date.now();
    const next = nextBoundaryMs(this.#options.schedule ?? COMPACTION_SCHEDULE, now);
    this.#timer = setTimeout(() => this.#look(), next - now + AFTER_BOUNDARY_MS);
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    try {
      const { Compactor } = await import("../compact/compactor.ts");
      this.#compactor ??= new Compactor(this.#options);
      this.#tell(await this.#compactor.run({ signal }));
    } catch (error) {
      if (!signal.aborted) {
        this.#notice(`Compaction has failed and is tried again: ${(error as Error).message}`);
      }
    }
  }

  #tell({ failures, foreign }: CompactionReport): void {
    for (const failure of failures) this.#notice(`Compaction leaves something out: ${failure.message}`);
    const [other] = foreign;
    if (other === undefined) return;
    this.#notice(
      `Compaction ends: another process compacts this replica ("${other.key}" was ${other.change}), expected one`,
    );
  }

  /** The same sentence once. */
  #notice(text: string): void {
    if (text !== this.#told) this.#options.onNotice(text);
    this.#told = text;
  }

  /** Ends it; what is under way is given up, which the next run makes good. */
  async stop(): Promise<void> {
    this.#abort.abort(new DOMException("The writer is being closed", "AbortError"));
    clearTimeout(this.#timer);
    await this.#running;
  }
}
