/**
 * Values for a statement's parameters, as they are written on a command line.
 *
 * @module
 */
import type { CellValue } from "./cell_text.ts";
import { parametersOf } from "./statements.ts";
import { UsageError } from "./usage_error.ts";

/** Values by name, without `:`, `@` or `$`, and by position; structured-cloneable. */
export interface ParameterValues {
  readonly named: Readonly<Record<string, CellValue>>;
  readonly positional: readonly CellValue[];
}

/** No values. */
export const NO_PARAMETERS: ParameterValues = { named: {}, positional: [] };

const INTEGER_LIMIT = 2n ** 63n;

/**
 * A value as SQL would read the literal: numbers, `NULL`, `'text'` and `x'hex'`; all else is text as it stands, also
 * `007`, which is no number anybody means.
 */
export function parseLiteral(text: string): CellValue {
  if (text === "NULL") return null;
  if (/^[+-]?(?:0|[1-9]\d*)$/.test(text)) {
    const integer = BigInt(text);
    return integer >= -INTEGER_LIMIT && integer < INTEGER_LIMIT ? integer : Number(text);
  }
  if (/^[+-]?(?:(?:0|[1-9]\d*)(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?$/.test(text)) return Number(text);
  const blob = /^[xX]'((?:[0-9a-fA-F]{2})*)'$/.exec(text)?.[1];
  if (blob !== undefined) {
    return Uint8Array.from(blob.match(/../g) ?? [], (digits) => parseInt(digits, 16));
  }
  if (/^'(?:[^']|'')*'$/.test(text)) return text.slice(1, -1).replaceAll("''", "'");
  return text;
}

/**
 * Reads `name=value` options and positional values.
 *
 * @throws {UsageError} an option has no name, or names one twice
 */
export function parseParameters(options: readonly string[], positional: readonly string[]): ParameterValues {
  const named: Record<string, CellValue> = {};
  for (const option of options) {
    const [, name, value] = /^[:@$]?([^=]+)=([^]*)$/.exec(option) ?? [];
    if (name === undefined) {
      throw new UsageError("Cannot use --param: a value without a name, expected --param name=value");
    }
    if (Object.hasOwn(named, name)) {
      throw new UsageError(`Cannot use --param: "${name}" is given twice, expected each name once`);
    }
    named[name] = parseLiteral(value!);
  }
  return { named, positional: positional.map(parseLiteral) };
}

/**
 * Holds values against all statements that are going to run.
 *
 * @throws {UsageError} a parameter has no value, or a value no parameter
 */
export function checkParameters(statements: readonly string[], values: ParameterValues): void {
  const wanted = statements.map(parametersOf);
  const names = new Set(wanted.flatMap(({ names }) => names.map((name) => name.slice(1))));
  const count = Math.max(0, ...wanted.map(({ count }) => count));
  for (const name of names) {
    if (Object.hasOwn(values.named, name)) continue;
    throw new UsageError(`Cannot run SQL: parameter "${name}" has no value, expected --param ${name}=VALUE`);
  }
  for (const name of Object.keys(values.named)) {
    if (names.has(name)) continue;
    const found = names.size === 0 ? "none" : [...names].join(", ");
    throw new UsageError(`Cannot run SQL: it has no parameter "${name}", its parameters are: ${found}`);
  }
  if (count !== values.positional.length) {
    const given = values.positional.length === 1 ? "1 value is" : `${values.positional.length} values are`;
    throw new UsageError(`Cannot run SQL: ${given} given, expected ${count} for its parameters ?`);
  }
}

/** What `node:sqlite` takes for one statement. */
export function bindingsOf(sql: string, { named, positional }: ParameterValues): unknown[] {
  const { names, count } = parametersOf(sql);
  const own = Object.fromEntries(names.map((name) => [name, named[name.slice(1)]]));
  return [...(names.length > 0 ? [own] : []), ...positional.slice(0, count)];
}
