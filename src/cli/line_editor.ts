/**
 * Lines that are typed on a terminal.
 *
 * @module
 */
import { createInterface, type Interface } from "node:readline";
import type { CliInput, CliIo } from "./process_io.ts";

/** What was typed: a line, the end (`Ctrl-D`), or `Ctrl-C` on a line that had something on it or not. */
export type Typed =
  | { readonly kind: "line"; readonly line: string }
  | { readonly kind: "end" }
  | { readonly kind: "interrupt"; readonly wasEmpty: boolean };

/** What the tab key offers for a line. */
export type Completer = (line: string) => Promise<[string[], string]>;

/**
 * A terminal with line editing. Between two lines it is as it was before: `Ctrl-C` is a signal then, as what runs wants
 * it, and what is typed waits.
 */
export class LineEditor {
  readonly #stdin: CliInput;
  readonly #interface: Interface;
  readonly #queue: Typed[] = [];
  #take: ((typed: Typed) => void) | undefined;

  /** `history`: earlier lines, the newest first. */
  constructor({ stdin, stdout }: CliIo, { history, completer }: { history: string[]; completer: Completer }) {
    this.#stdin = stdin;
    this.#interface = createInterface({
      input: stdin,
      output: stdout as unknown as NodeJS.WritableStream,
      terminal: true,
      history,
      historySize: 1_000,
      removeHistoryDuplicates: true,
      completer: (line: string, done: (error: null, offered: [string[], string]) => void) => {
        completer(line).then((offered) => done(null, offered), () => done(null, [[], line]));
      },
    });
    this.#interface.on("line", (line) => this.#tell({ kind: "line", line }));
    this.#interface.on("close", () => this.#tell({ kind: "end" }));
    this.#interface.on("SIGINT", () => {
      const wasEmpty = this.#interface.line === "";
      this.#interface.write(null, { ctrl: true, name: "e" });
      this.#interface.write(null, { ctrl: true, name: "u" });
      this.#tell({ kind: "interrupt", wasEmpty });
    });
    this.#rest();
  }

  /** The next line. */
  async next(prompt: string): Promise<Typed> {
    const queued = this.#queue.shift(); // several lines were pasted at once
    if (queued) return queued;
    this.#stdin.setRawMode?.(true);
    this.#interface.setPrompt(prompt);
    this.#interface.resume();
    this.#interface.prompt();
    return await new Promise((resolve) => this.#take = resolve);
  }

  /** Gives the terminal back. */
  close(): void {
    this.#queue.length = 0;
    this.#interface.close();
    this.#stdin.setRawMode?.(false);
  }

  #tell(typed: Typed): void {
    const take = this.#take;
    this.#take = undefined;
    if (!take) {
      this.#queue.push(typed);
      return;
    }
    if (typed.kind !== "end") this.#rest();
    take(typed);
  }

  #rest(): void {
    this.#interface.pause();
    this.#stdin.setRawMode?.(false);
  }
}
