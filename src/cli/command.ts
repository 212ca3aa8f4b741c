/**
 * What a command of the command line is.
 *
 * @module
 */
import type { LogEntry } from "../log.ts";
import type { OpenOptions } from "../options.ts";
import { type CommandArguments, openOptionsOf, type OptionForms } from "./arguments.ts";
import type { Interruption } from "./interruption.ts";
import type { Output } from "./output.ts";
import type { CliIo } from "./process_io.ts";
import type { RowMode, ShownRows } from "./row_writer.ts";

/** What a command is run with. */
export interface CommandContext {
  readonly given: CommandArguments;
  readonly io: CliIo;
  /** Results. */
  readonly out: Output;
  /** Words beside them. */
  readonly err: Output;
  readonly interruption: Interruption;
}

/** A command; it gives the exit code, or throws what {@link exitCodeOf} knows a code for. */
export interface Command {
  readonly options: OptionForms;
  run(context: CommandContext): Promise<number>;
}

/** The form of rows: what was asked for, else a table on a terminal and `otherwise` elsewhere. */
export function rowFormat(
  out: Output,
  mode: RowMode | undefined,
  otherwise: RowMode,
  header = true,
): ShownRows {
  const { isTerminal, isColored } = out;
  return { mode: mode ?? (isTerminal ? "table" : otherwise), header, isTerminal, isColored };
}

/** How the replica is opened: as the options say, with what the library tells beside results on stderr. */
export function openOptions({ given, err }: CommandContext): OpenOptions {
  const log = ({ level, message }: LogEntry) => {
    const words = `${level === "warn" ? "warning" : level}: ${message}`;
    err.lines(words, level === "debug" || level === "info" ? "dim" : "yellow").catch(() => {});
  };
  return { ...openOptionsOf(given), log };
}
