/**
 * The command line, taken apart.
 *
 * @module
 */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { parseDuration } from "../option_value.ts";
import type { OpenOptions } from "../options.ts";
import { ROW_MODES, type RowMode } from "./row_writer.ts";
import { UsageError } from "./usage_error.ts";

/** How an option is written. */
interface OptionForm {
  readonly type: "string" | "boolean";
  readonly short?: string;
  readonly multiple?: boolean;
}

/** Options by name. */
export type OptionForms = Readonly<Record<string, OptionForm>>;

/** Options of every command. */
export const GLOBAL_OPTIONS: OptionForms = {
  help: { type: "boolean", short: "h" },
  region: { type: "string" },
  endpoint: { type: "string" },
  anonymous: { type: "boolean" },
  "cache-dir": { type: "string" },
  offline: { type: "boolean" },
  timeout: { type: "string" },
  "max-requests": { type: "string" },
  "max-bytes": { type: "string" },
  log: { type: "string" },
  "no-color": { type: "boolean" },
};

/** Options that choose the form of rows. */
export const MODE_OPTIONS: OptionForms = {
  ...Object.fromEntries(ROW_MODES.map((mode) => [mode, { type: "boolean" }] as const)),
  "no-header": { type: "boolean" },
};

/** What was given. */
export type OptionValues = Readonly<
  Record<string, string | boolean | readonly (string | boolean)[] | undefined>
>;

/** A command's options and the rest of its arguments. */
export interface CommandArguments {
  readonly values: OptionValues;
  readonly positionals: readonly string[];
}

/** The first argument that is no option, and no option's value; -1 where there is none. */
export function commandIndex(args: readonly string[]): number {
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (!arg.startsWith("-")) return i;
    const takesValue = GLOBAL_OPTIONS[arg.slice(2)]?.type === "string";
    if (takesValue) i++;
  }
  return -1;
}

/**
 * Takes a command's arguments apart.
 *
 * @throws {UsageError} an option is unknown, or lacks its value; no value is repeated in the message
 */
export function parseCommand(args: readonly string[], own: OptionForms): CommandArguments {
  const options = { ...GLOBAL_OPTIONS, ...own };
  const hidden = args.map((arg, i) => isSql(arg, options) ? `${HIDDEN}${i}` : arg);
  const shown = <T>(part: T) =>
    typeof part === "string" && part.startsWith(HIDDEN) ? args[Number(part.slice(HIDDEN.length))]! : part;
  try {
    const { values, positionals } = parseArgs({ args: hidden, options, allowPositionals: true });
    const shownValues = Object.entries(values as OptionValues)
      .map(([name, value]) => [name, Array.isArray(value) ? value.map(shown) : shown(value)]);
    return { values: Object.fromEntries(shownValues), positionals: positionals.map(shown) };
  } catch (error) {
    throw usageOf(error as Error & { code?: string }, hidden, options);
  }
}

/** Begins what stands for SQL while options are looked for; no argument can have it. */
const HIDDEN = "\0";

/** Whether what begins as an option does is SQL that begins with a comment: no option's name has space in it. */
function isSql(arg: string, options: OptionForms): boolean {
  if (!arg.startsWith("--")) return false;
  const [name] = arg.slice(2).split("=", 1) as [string];
  return /\s/.test(name) || (arg.includes("\n") && !Object.hasOwn(options, name));
}

function usageOf(
  error: Error & { code?: string },
  args: readonly string[],
  options: OptionForms,
): UsageError {
  const names = args.filter((arg) => /^--?[^-\s]/.test(arg)).map((arg) => arg.replace(/=[^]*/, ""));
  const known = (name: string) =>
    Object.hasOwn(options, name.slice(2)) ||
    Object.values(options).some(({ short }) => short !== undefined && name === `-${short}`);
  const unknown = names.find((name) => !known(name));
  if (unknown !== undefined) {
    const shown = /^--[a-z][a-z-]*$/.test(unknown) ? unknown : unknown.slice(0, 2);
    const hint = shown.startsWith("--") ? "" : "; what begins with - and is no option stands behind --";
    return new UsageError(`Cannot use option ${shown}: there is none of that name${hint}`);
  }
  const [, name] = /'(?:-\w, )?(--[a-z-]+)/.exec(error.message) ?? [];
  if (name === undefined) return new UsageError("Cannot read the command line: an option's value is missing");
  const isSwitch = options[name.slice(2)]?.type === "boolean";
  return new UsageError(
    `Cannot use option ${name}: ${isSwitch ? "it has a value, expected none" : "its value is missing"}`,
  );
}

/** A text option. */
export function textOf({ values }: CommandArguments, name: string): string | undefined {
  return values[name] as string | undefined;
}

/** All values of an option that may be given more than once. */
export function textsOf({ values }: CommandArguments, name: string): readonly string[] {
  return (values[name] ?? []) as readonly string[];
}

/** A switch. */
export function isOn({ values }: CommandArguments, name: string): boolean {
  return values[name] === true;
}

/**
 * The form of rows that was asked for.
 *
 * @throws {UsageError} more than one was
 */
export function modeOf(given: CommandArguments): RowMode | undefined {
  const modes = ROW_MODES.filter((mode) => isOn(given, mode));
  if (modes.length > 1) {
    throw new UsageError(
      `Cannot use ${modes.map((mode) => `--${mode}`).join(" and ")} at once, expected one`,
    );
  }
  return modes[0];
}

const LOOKS_LIKE_URL = /^(?:[a-z][a-z0-9+.-]*:\/\/|file:)/i;
const LOOKS_LIKE_PATH = /^(?:\.{0,2}[\\/](?!\*)|\.{1,2}$|[A-Za-z]:[\\/])/;

/** SQL is never the name of a folder that is there. */
function isPath(text: string): boolean {
  if (LOOKS_LIKE_PATH.test(text)) return true;
  return !/[\s;(]/.test(text) && (statSync(text, { throwIfNoEntry: false })?.isDirectory() ?? false);
}

/** The URL of a replica as it is written: a URL, or a folder's path; undefined for anything else. */
export function urlOf(text: string): string | undefined {
  if (LOOKS_LIKE_URL.test(text)) return text;
  return isPath(text) ? pathToFileURL(resolve(text)).href : undefined;
}

/**
 * The replica's URL, undefined where the environment names it, and the arguments behind it; `wanted` of them must be there, so
 * that a path may be one.
 */
export function urlAndRest(
  { positionals }: CommandArguments,
  env: Readonly<Record<string, string | undefined>>,
  wanted = 0,
): { url: string | undefined; rest: readonly string[] } {
  const [first, ...rest] = positionals;
  const url = first === undefined ? undefined : urlOf(first);
  const isNamed = Boolean(env.LITESTREAM_REPLICA_URL || env.LITESTREAM_S3_BUCKET);
  const isOther = isNamed && rest.length < wanted && first !== undefined && !LOOKS_LIKE_URL.test(first);
  if (url !== undefined && !isOther) return { url, rest };
  if (isNamed) return { url: undefined, rest: positionals };
  throw new UsageError(
    "Cannot find the replica: no URL or path comes first, expected one such as s3://bucket/path, file:///folder or " +
      "./folder, or LITESTREAM_REPLICA_URL in the environment",
  );
}

/**
 * What all commands say about opening a replica.
 *
 * @throws {UsageError} a number or duration that is none
 */
export function openOptionsOf(given: CommandArguments): OpenOptions {
  const timeout = textOf(given, "timeout");
  const ms = timeout === undefined ? undefined : durationOf("timeout", timeout);
  const offline = isOn(given, "offline");
  if (offline && textOf(given, "cache-dir") === undefined) {
    throw new UsageError("Cannot use option --offline without --cache-dir: the last state is kept there");
  }
  return {
    // the environment is the application's: what is looked at here is neither written to nor brought to a local file
    write: false,
    hydrate: false,
    region: textOf(given, "region"),
    endpoint: textOf(given, "endpoint"),
    ...(isOn(given, "anonymous") && { credentials: "anonymous" }),
    cacheDir: textOf(given, "cache-dir"),
    ...(offline && { offline: "serve-stale" }),
    ...(ms !== undefined && { openTimeoutMs: ms, readTimeoutMs: ms }),
    maxRequests: countOf(given, "max-requests"),
    maxBytes: bytesOf(given, "max-bytes"),
  };
}

function durationOf(name: string, text: string): number {
  try {
    const ms = parseDuration(`option --${name}`, /^\d+$/.test(text) ? `${text}s` : text);
    if (ms > 0) return ms;
  } catch {
    // said below
  }
  throw new UsageError(
    `Cannot use option --${name}: "${text}", expected a duration such as 30s, 500ms or 2m`,
  );
}

/** A whole number. */
export function countOf(given: CommandArguments, name: string): number | undefined {
  const text = textOf(given, name);
  if (text === undefined) return undefined;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new UsageError(`Cannot use option --${name}: "${text}", expected a whole number`);
}

const BYTE_UNITS: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  ki: 1024,
  mi: 1024 ** 2,
  gi: 1024 ** 3,
};

function bytesOf(given: CommandArguments, name: string): number | undefined {
  const text = textOf(given, name);
  if (text === undefined) return undefined;
  const [, count, unit] = /^(\d{1,12}(?:\.\d+)?) ?([kmg]i?|)b?$/i.exec(text) ?? [];
  if (count !== undefined) return Math.round(Number(count) * BYTE_UNITS[unit!.toLowerCase()]!);
  throw new UsageError(`Cannot use option --${name}: "${text}", expected bytes such as 500000, 10MB or 1GiB`);
}

/** A moment, which the library reads. */
export function momentOf(given: CommandArguments, name: string): string | undefined {
  const text = textOf(given, name);
  if (text === "") {
    throw new UsageError(`Cannot use option --${name}: an empty text, expected a time or a TXID`);
  }
  return text;
}

/**
 * That there is nothing more than was understood.
 *
 * @throws {UsageError} there is
 */
export function expectNoMore(rest: readonly string[], expected: string): void {
  if (rest.length === 0) return;
  throw new UsageError(
    `Cannot read the command line: ${rest.length} arguments too many, expected ${expected}`,
  );
}
