/**
 * Signals that ask a command to end.
 *
 * @module
 */
import type { CliIo, EndSignal } from "./process_io.ts";
import { InterruptedError } from "./query_thread.ts";

/** What shells tell of a process that a signal ended. */
const CODES: Readonly<Record<EndSignal, number>> = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 };

/** Hears signals for as long as a command runs. */
export class Interruption {
  /** Aborted by the first signal that is to end the command. */
  readonly signal: AbortSignal;
  /** The exit code that the signal asks for; undefined while there was none. */
  code: number | undefined;
  /** Takes SIGINT in place of its ending the command: an interactive shell. */
  onInterrupt: (() => void) | undefined;
  readonly #abort = new AbortController();
  readonly #stop: () => void;
  readonly #ended: Promise<never>;

  /** Begins to hear; a second signal ends the process at once. */
  constructor(io: CliIo) {
    this.signal = this.#abort.signal;
    this.#ended = new Promise((_, reject) => {
      this.signal.addEventListener("abort", () => reject(this.signal.reason), { once: true });
    });
    this.#ended.catch(() => {}); // nobody may wait
    this.#stop = io.onSignal((signal) => {
      if (signal === "SIGINT" && this.onInterrupt) return this.onInterrupt();
      if (this.code !== undefined) return io.exit(this.code);
      this.code = CODES[signal];
      this.#abort.abort(new InterruptedError("Cannot go on: interrupted"));
    });
  }

  /** What is waited for, or the rejection that a signal asks for: of what a stream may never tell. */
  orEnd<T>(waited: Promise<T>): Promise<T> {
    return Promise.race([waited, this.#ended]);
  }

  /** Hears no more. */
  close(): void {
    this.#stop();
  }
}
