/**
 * What a command writes to: results, and beside them words for a person.
 *
 * @module
 */
import { visibleLines, visibleText } from "./cell_text.ts";
import { CommandError, EXIT } from "./exit_code.ts";
import { type Paint, paint, wantsColor } from "./paint.ts";
import type { CliStream } from "./process_io.ts";

/** Whoever read our output has gone: `| head` has seen enough. */
export class OutputClosedError extends Error {
  /** The class's name. */
  override name = "OutputClosedError";
}

/** What was written did not get to where it was to: a full disk, say. */
export class OutputFailedError extends CommandError {
  /** The class's name. */
  override name = "OutputFailedError";
}

/** What streams say of a pipe whose other end is closed. */
const READER_GONE = ["EPIPE", "EOF", "ECONNRESET", "ERR_STREAM_DESTROYED", "ERR_STREAM_PREMATURE_CLOSE"];

/** A stream that is written to, which may be a terminal. */
export class Output {
  /** Whether a terminal shows it. */
  readonly isTerminal: boolean;
  /** Whether it shows colours. */
  readonly isColored: boolean;
  readonly #stream: CliStream;
  #closed: OutputClosedError | OutputFailedError | undefined;

  /** `environment` may forbid colours, and so does `noColor`. */
  constructor(
    stream: CliStream,
    environment: Readonly<Record<string, string | undefined>>,
    noColor = false,
  ) {
    this.#stream = stream;
    this.isTerminal = stream.isTTY === true;
    this.isColored = !noColor && wantsColor(stream, environment);
    stream.on("error", (error) => this.#close(error)); // an EPIPE without a listener ends the process with a trace
  }

  #close(cause: Error & { readonly code?: string }): Error {
    this.#closed ??= READER_GONE.includes(cause.code ?? "")
      ? new OutputClosedError("Cannot write: the output was closed", { cause })
      : new OutputFailedError(`Cannot write the output: ${cause.message}`, EXIT.failed, { cause });
    return this.#closed;
  }

  /** Columns of the terminal. */
  get columns(): number {
    return this.#stream.columns || 80;
  }

  /**
   * Writes text as it is, and waits until it is taken.
   *
   * @throws {OutputClosedError} nobody reads any more
   * @throws {OutputFailedError} it cannot be written
   */
  async write(text: string): Promise<void> {
    if (this.#closed) throw this.#closed;
    if (text === "") return;
    await new Promise<void>((resolve, reject) => {
      this.#stream.write(text, (error) => error ? reject(error) : resolve()); // which throws in some runtimes
    }).catch((error) => {
      throw this.#close(error);
    });
  }

  /** Writes lines that may hold what a database or a store says: a terminal only shows them. */
  async lines(text: string, how?: Paint): Promise<void> {
    const shown = this.isTerminal ? visibleLines(text) : text;
    await this.write(`${how ? this.paint(shown, how) : shown}\n`);
  }

  /** Says what went wrong, on one line. */
  async error(text: string): Promise<void> {
    await this.write(`${this.paint("error:", "red")} ${visibleText(text)}\n`);
  }

  /** Text in a colour, where this stream shows colours. */
  paint(text: string, how: Paint): string {
    return paint(text, how, this.isColored);
  }
}
