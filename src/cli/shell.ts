/**
 * The state of a shell: its replica, its settings, and the statement that is not complete yet.
 *
 * @module
 */
import { ReplicaError } from "../errors.ts";
import type { OpenOptions } from "../options.ts";
import { visibleText } from "./cell_text.ts";
import { type CommandContext, rowFormat } from "./command.ts";
import { NAMES_SQL, type SchemaNames, schemaNames } from "./completion.ts";
import { costText } from "./cost.ts";
import { wordsOf } from "./error_words.ts";
import { exitCodeOf } from "./exit_code.ts";
import { OutputClosedError, OutputFailedError } from "./output.ts";
import { checkParameters, type ParameterValues } from "./parameters.ts";
import { InterruptedError } from "./query_thread.ts";
import type { RowMode, ShownRows } from "./row_writer.ts";
import { Session } from "./session.ts";
import { parametersOf, statementsOf, StatementSplitter } from "./statements.ts";

/** What `.mode` and its like set. */
export interface ShellSettings {
  mode: RowMode | undefined;
  header: boolean;
  timer: boolean;
  /** The moment that is seen; undefined: the newest. */
  at: string | undefined;
  readonly named: Record<string, ParameterValues["named"][string]>;
}

/** How the shell's replica is opened. */
export interface ShellStart {
  readonly url: string | undefined;
  readonly options: OpenOptions;
  readonly at: string | undefined;
  readonly mode: RowMode | undefined;
  readonly header: boolean;
  readonly timer: boolean;
  readonly write: boolean;
}

/** A shell over a replica, without the terminal. */
export class Shell {
  /** What was set. */
  readonly settings: ShellSettings;
  /** Whether its replica can be written to. */
  readonly write: boolean;
  /** The streams it writes to. */
  readonly context: CommandContext;
  /** The code of the last failure; 0 while there was none. */
  failure = 0;
  /** A dot command asked for the end. */
  isLeft = false;
  readonly #options: OpenOptions;
  #session: Session;
  #statements = new StatementSplitter();
  #abort: AbortController | undefined;
  #names: SchemaNames | undefined;

  private constructor(
    session: Session,
    { options, at, mode, header, timer, write }: ShellStart,
    context: CommandContext,
  ) {
    this.#session = session;
    this.#options = options;
    this.write = write;
    this.context = context;
    this.settings = { mode, header, timer, at, named: {} };
  }

  /** Opens the replica. */
  static async open(start: ShellStart, context: CommandContext): Promise<Shell> {
    const { url, options, at, write } = start;
    const { signal } = context.interruption;
    const connect = { asOf: at, readOnly: !write };
    return new Shell(await Session.open({ url, options, connect, signal }), start, context);
  }

  /** The replica and its queries. */
  get session(): Session {
    return this.#session;
  }

  /** Whether a statement has begun that is not complete. */
  get isPending(): boolean {
    return this.#statements.isPending;
  }

  /** The form of rows. */
  get format(): ShownRows {
    return rowFormat(this.context.out, this.settings.mode, "csv", this.settings.header);
  }

  /** What stands before the cursor. */
  get prompt(): string {
    const last = this.#session.replica.name.replace(/\/+$/, "").split("/").at(-1) || "replica";
    const { at } = this.settings;
    const name = visibleText(last).slice(0, 24) +
      (at === undefined ? "" : `@${visibleText(at).slice(0, 32)}`);
    const isOpen = this.#session.queries.inTransaction ? "*" : "";
    if (this.isPending) return "...> ".padStart(name.length + isOpen.length + 2);
    return `${name}${isOpen}${this.write && at === undefined ? "# " : "> "}`;
  }

  /** Takes a line: a dot command, or a part of a statement. Gives what is wrong to a person and goes on. */
  async take(line: string): Promise<void> {
    if (!this.isPending && line.trimStart().startsWith(".")) {
      await this.#guarded(async (signal) => {
        const { runDotCommand } = await import("./dot_command.ts");
        await runDotCommand(line.trim(), this, signal);
      });
      return;
    }
    const whole = this.#statements.push(`${line}\n`);
    await this.#guarded(async (signal) => {
      for (const sql of whole) {
        signal.throwIfAborted(); // it may have come when the one before had just ended
        await this.runStatement(sql);
      }
    });
  }

  /** Runs what has no semicolon at the end of a script; drops it where a person has thought better of it. */
  async finish(isDropped: boolean): Promise<void> {
    const left = statementsOf(this.#statements.rest.trimEnd());
    this.#statements = new StatementSplitter();
    if (isDropped) return;
    for (const sql of left) await this.#guarded(() => this.runStatement(sql));
  }

  /** Runs one statement and writes its rows. */
  async runStatement(sql: string): Promise<void> {
    const { out, err } = this.context;
    const used = parametersOf(sql).names.map((name) => name.slice(1));
    const { named } = this.settings;
    const own = Object.fromEntries(used.filter((name) => name in named).map((name) => [name, named[name]!]));
    const parameters = { named: own, positional: [] };
    checkParameters([sql], parameters);
    const { replica, queries } = this.#session;
    const mark = replica.mark();
    const beganMs = performance.now();
    try {
      await queries.run([sql], { parameters, format: this.format, write: (text) => out.write(text) });
    } finally {
      this.#names = undefined;
      if (this.settings.timer) {
        await err.lines(costText({ run: performance.now() - beganMs }, replica.stats(mark)));
      }
    }
  }

  /** Ends what runs; tells whether anything did. */
  interrupt(): boolean {
    if (!this.#abort || this.#abort.signal.aborted) return false;
    this.#abort.abort(new InterruptedError("Cannot go on: interrupted"));
    this.#session.interrupt();
    return true;
  }

  /** Moves to a moment; undefined: to the newest state, and on. */
  async moveTo(at: string | undefined): Promise<void> {
    if (this.#session.queries.inTransaction) {
      throw new ReplicaError(
        "Cannot move to another moment: a transaction is open, expected its COMMIT or ROLLBACK",
      );
    }
    await this.#session.connect({ asOf: at, readOnly: !this.write || at !== undefined });
    this.settings.at = at;
    this.#names = undefined;
  }

  /** Opens another replica in place of this one, which is closed once the other is there. */
  async reopen(url: string, signal: AbortSignal): Promise<void> {
    if (this.write) {
      throw new ReplicaError(
        "Cannot open another replica: this one is open for writing, expected another shell",
      );
    }
    const next = await Session.open({ url, options: this.#options, connect: { readOnly: true }, signal });
    const before = this.#session;
    this.#session = next;
    this.settings.at = undefined;
    this.#names = undefined;
    await before.close();
  }

  /** Names for the tab key; none where they cannot be read right now. */
  async names(): Promise<SchemaNames> {
    if (this.#session.queries.isRunning) return { tables: [], columns: [] };
    this.#names ??= schemaNames((await this.#session.queries.rows(NAMES_SQL)).rows);
    return this.#names;
  }

  /** Runs the lines of a script; a script may have other ones read. */
  async script(text: string): Promise<void> {
    for (const line of text.split(/\r?\n/)) {
      await this.take(line);
      if (this.isLeft) return;
    }
    await this.finish(false);
  }

  /** Closes the replica; a writer stores what is left first. */
  async close(): Promise<void> {
    await this.#session.close();
  }

  /** Runs one thing, tells of its failure, and says whether it went well. */
  async #guarded(act: (signal: AbortSignal) => Promise<void>): Promise<boolean> {
    const outer = this.#abort; // a script that is read runs within `.read`
    const abort = outer ?? new AbortController();
    this.#abort = abort;
    const onEnd = () => this.interrupt();
    const { interruption, err } = this.context;
    interruption.signal.addEventListener("abort", onEnd);
    try {
      abort.signal.throwIfAborted();
      await act(abort.signal);
      return true;
    } catch (error) {
      if (error instanceof OutputClosedError || error instanceof OutputFailedError) throw error;
      this.failure = exitCodeOf(error);
      if (abort.signal.aborted) await err.lines("interrupted");
      else await err.error(wordsOf(error));
      return false;
    } finally {
      this.#abort = outer;
      interruption.signal.removeEventListener("abort", onEnd);
    }
  }
}
