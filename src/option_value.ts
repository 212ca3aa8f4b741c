/**
 * The values of options, URI parameters and variables: checked, and read from text.
 *
 * @module
 */
import { resolvePath } from "./drivers/host.ts";
import { MS_MAX } from "./deadline.ts";

/**
 * A number option, or `fallback` where none is given.
 *
 * @throws {RangeError} it is no whole number, or out of its range
 */
export function wholeNumber(
  name: string,
  value: number | undefined,
  fallback: number,
  least: number,
  most: number = MS_MAX,
): number {
  if (value === undefined) return fallback;
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
  throw new RangeError(
    `Cannot use option ${name}: ${shownValue(value)}, expected a whole number from ${least} to 2^${
      Math.log2(most + 1)
    } - 1`,
  );
}

/** An option that is one of a few words, or `fallback` where none is given. */
export function oneOf<T extends string>(
  name: string,
  value: T | undefined,
  words: readonly T[],
  fallback: T,
): T {
  if (value === undefined) return fallback;
  if (words.includes(value)) return value;
  throw new RangeError(
    `Cannot use option ${name}: ${shownValue(value)}, expected ${words.map((w) => `"${w}"`).join(" or ")}`,
  );
}

/**
 * Checks an option that is on or off: text such as `"false"` would count as on.
 *
 * @throws {TypeError} it is something else
 */
export function checkSwitch(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== "boolean") throw wrongKind(name, value, "true or false");
}

/**
 * Checks an option that is text.
 *
 * @throws {TypeError} it is something else
 */
export function checkText(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== "string") throw wrongKind(name, value, "text");
}

/**
 * Checks an option that is called.
 *
 * @throws {TypeError} it is no function
 */
export function checkFunction(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== "function") throw wrongKind(name, value, "a function");
}

/**
 * Checks a signal; those of other realms, and stand-ins, will do.
 *
 * @throws {TypeError} it is none
 */
export function checkSignal(value: unknown): void {
  if (value === undefined) return;
  const { throwIfAborted, addEventListener } = Object(value);
  if (typeof throwIfAborted === "function" && typeof addEventListener === "function") return;
  throw wrongKind("signal", value, "an AbortSignal");
}

/** Whether it may hold options: an object of no class that has a name of its own. */
export function isOptions(value: unknown): boolean {
  return Object.prototype.toString.call(value) === "[object Object]";
}

/** The error of an option of another kind. */
function wrongKind(name: string, value: unknown, wanted: string): TypeError {
  return new TypeError(`Cannot use option ${name}: ${shownValue(value)}, expected ${wanted}`);
}

const SHOWN_MAX = 100;

/** A value that cannot be used, for messages: text in quotes, and of an object what it is. */
export function shownValue(value: unknown): string {
  if (typeof value === "string") return `"${value.slice(0, SHOWN_MAX)}"`;
  if (typeof value === "bigint") return `${value}n`;
  return typeof value === "function" || (typeof value === "object" && value !== null)
    ? shownKind(value)
    : String(value);
}

/** What a value is, without what is in it, which may be secret. */
export function shownKind(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === "function") return "a function";
  if (typeof value !== "object") return `a ${typeof value}`;
  return Array.isArray(value) ? "an array" : `an object (${value.constructor?.name || "without a class"})`;
}

const DURATION_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  "µs": 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

/**
 * A duration as upstream writes them, such as `1s`, `500ms` or `1m30s`, in ms; a part of one counts as one.
 *
 * @throws {RangeError} it is none, or longer than timers can keep
 */
export function parseDuration(name: string, text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/gy)];
  const length = parts.reduce((sum, [part]) => sum + part.length, 0);
  const ms = Math.ceil(parts.reduce((sum, [, count, unit]) => sum + Number(count) * DURATION_MS[unit!]!, 0));
  if (text === "0") return 0;
  if (length > 0 && length === text.length && ms <= MS_MAX) return ms;
  throw new RangeError(`Cannot use ${name}: "${text}", expected a duration such as 1s, 500ms or 1m30s`);
}

/** Whether a switch is on, as upstream reads it. */
export function isOn(text: string | undefined): boolean {
  return text === "1" || text?.toLowerCase() === "true";
}

/** A file's path wherever the process goes; others are beside it. */
export function filePath(what: string, path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  if (path !== "" && !/[/\\]$/.test(path)) return resolvePath(path);
  throw new TypeError(
    `Cannot keep ${what} at "${path}": expected the name of a file, whose endings are added`,
  );
}
