/**
 * What happens beside a result: entries with a level, to a sink or to stderr; never to stdout, never with a secret.
 *
 * @module
 */

import { ownProcess } from "./drivers/host.ts";

/** How much an entry matters, from the least. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** One thing that happened; structured-cloneable. */
export interface LogEntry {
  /** How much it matters. */
  readonly level: LogLevel;
  /** A sentence in the form of an error's message; one line, without secrets. */
  readonly message: string;
  /** When. */
  readonly time: Date;
}

/** Takes entries. */
export type LogSink = (entry: LogEntry) => void;

const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];
const LEVEL_DEFAULT: LogLevel = "warn";

/**
 * The least level that is told: `LITESTREAM_LOG_LEVEL` in any case, else `"warn"`.
 *
 * `fault` says what is wrong with the variable where it names no level.
 */
export function logLevel(
  environment: Readonly<Record<string, string | undefined>>,
): { level: LogLevel; fault?: string } {
  const given = environment.LITESTREAM_LOG_LEVEL ?? "";
  if (given === "") return { level: LEVEL_DEFAULT };
  const level = LEVELS.find((each) => each === given.toLowerCase());
  if (level !== undefined) return { level };
  const fault = `Cannot use LITESTREAM_LOG_LEVEL: "${given}", expected one of ${LEVELS.join(", ")}`;
  return { level: LEVEL_DEFAULT, fault };
}

/** Entries from one level on, to one sink. */
export class Log {
  readonly #sink: LogSink;
  readonly #least: number;
  readonly #now: () => number;

  /** `now` gives milliseconds since the Unix epoch. */
  constructor(sink: LogSink, level: LogLevel, now: () => number = Date.now) {
    this.#sink = sink;
    this.#least = LEVELS.indexOf(level);
    this.#now = now;
  }

  /** A log at the environment's level, which is told where it is none: to `sink`, else to stderr. */
  static of(sink: LogSink | undefined, environment: Readonly<Record<string, string | undefined>>): Log {
    const { level, fault } = logLevel(environment);
    const log = new Log(sink ?? toStderr, level);
    if (fault !== undefined) log.warn(fault);
    return log;
  }

  /** For whoever looks for a fault: each retry, each renewal. */
  debug(message: string): void {
    this.#tell("debug", message);
  }

  /** Worth knowing, nothing to do. */
  info(message: string): void {
    this.#tell("info", message);
  }

  /** It goes on, but not for ever, or not as somebody may think. */
  warn(message: string): void {
    this.#tell("warn", message);
  }

  /** Something asked for does not happen. */
  error(message: string): void {
    this.#tell("error", message);
  }

  #tell(level: LogLevel, message: string): void {
    if (LEVELS.indexOf(level) < this.#least) return;
    const oneLine = message.trim().replaceAll(/\s*[\r\n]+\s*/g, " ");
    tellSafely(this.#sink, { level, message: oneLine, time: new Date(this.#now()) });
  }
}

/** An entry as one line without its end: time, level, message. */
export function formatEntry({ level, message, time }: LogEntry): string {
  return `${time.toISOString()} ${level.toUpperCase()} litestream-vfs: ${message}`;
}

/** The sink where none is given. */
export function toStderr(entry: LogEntry): void {
  ownProcess().stderr.write(`${formatEntry(entry)}\n`);
}

/** Hands an entry over; a sink that throws must not end what is told about, so the entry goes to stderr with the fault. */
export function tellSafely(sink: LogSink, entry: LogEntry): void {
  try {
    sink(entry);
  } catch (error) {
    toStderr(entry);
    const message = `Cannot tell the log: its sink threw ${String(error).replaceAll(/\s*[\r\n]+\s*/g, " ")}`;
    toStderr({ level: "error", message, time: entry.time });
  }
}
