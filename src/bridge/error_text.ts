/**
 * Errors as text: how they cross from the core to the user's thread, through the shim or in a message.
 *
 * The first line is `Name: message`; facts follow as `name=value`, causes last. The shim keeps 1023 bytes, so a text is
 * never longer: a long message loses its end and a long list its last causes, but no fact is cut in two.
 *
 * @module
 */
import {
  BudgetError,
  ConflictError,
  DeadlineError,
  LocalFileError,
  LtxFormatError,
  ObjectExistsError,
  ObjectGoneError,
  ReplacedError,
  ReplicaClosedError,
  ReplicaError,
  RestorePlanError,
  type RestorePlanFault,
  ShimError,
  StaleError,
  StateGoneError,
  StorageError,
  WriteLogError,
} from "../errors.ts";

/** How deep a chain of causes is followed. */
const CAUSES_MAX = 4;

/** What the shim keeps of a text. */
const TEXT_BYTES_MAX = 1023;

/** What a message and a fact may take of it; four facts and the longest class name fit beside them. */
const MESSAGE_BYTES_MAX = 640;
const FACT_BYTES_MAX = 240;

const encoder = new TextEncoder();

/** The text, or as much of its beginning as fits into `bytesMax` with the mark of a cut. */
function cut(text: string, bytesMax: number): string {
  if (encoder.encode(text).length <= bytesMax) return text;
  const { read } = encoder.encodeInto(text, new Uint8Array(bytesMax - 3));
  return `${text.slice(0, read)}…`;
}

const oneLine = (text: string): string => text.replaceAll(/\s*[\r\n]+\s*/g, " ");

function facts(error: Error): Record<string, string | number | boolean> {
  if (error instanceof StorageError) {
    const { key, status, code, retryable } = error;
    return { key, status, code, retryable };
  }
  if (error instanceof LtxFormatError) return { key: error.key, offset: error.offset };
  if (error instanceof RestorePlanError) return { fault: error.fault };
  if (error instanceof LocalFileError) return { isTaken: error.isTaken };
  return {};
}

/** Writes an error as text. */
export function encodeError(thrown: unknown): string {
  const error = thrown instanceof Error ? thrown : new ReplicaError(String(thrown));
  const known = Object.entries(facts(error))
    .map(([name, value]) => cut(`${name}=${oneLine(String(value))}`, FACT_BYTES_MAX));
  let text = [cut(`${error.name}: ${oneLine(error.message)}`, MESSAGE_BYTES_MAX), ...known].join("\n");
  let cause = error.cause;
  for (let depth = 0; cause instanceof Error && depth < CAUSES_MAX; depth++, cause = cause.cause) {
    const longer = `${text}\ncause=${cause.name}: ${oneLine(cause.message)}`;
    text = cut(longer, TEXT_BYTES_MAX);
    if (text !== longer) break;
  }
  return text;
}

/** An error in other words: of the same class and with the same facts, the error itself as its cause. */
export function reworded(error: Error, message: string): Error {
  const known = Object.entries(facts(error)).map(([name, value]) => [name, String(value)]);
  return makeError(`${error.name}: ${message}`, Object.fromEntries(known), error);
}

function causeOf(lines: string[]): Error | undefined {
  let cause: Error | undefined;
  for (const line of lines.filter((line) => line.startsWith("cause=")).reverse()) {
    cause = makeError(line.slice("cause=".length), {}, cause);
  }
  return cause;
}

function makeError(head: string, known: Record<string, string>, cause: Error | undefined): Error {
  const colon = head.indexOf(": ");
  const name = colon < 0 ? "" : head.slice(0, colon);
  const message = colon < 0 ? head : head.slice(colon + 2);
  const details = {
    key: known.key ?? "",
    status: Number(known.status ?? 0),
    code: known.code ?? "",
    retryable: known.retryable === "true",
    cause,
  };
  switch (name) {
    case "StorageError":
      return new StorageError(message, details);
    case "ObjectExistsError":
      return new ObjectExistsError(message, details);
    case "ObjectGoneError":
      return new ObjectGoneError(message, details);
    case "LtxFormatError":
      return new LtxFormatError(message, { key: details.key, offset: Number(known.offset ?? -1), cause });
    case "RestorePlanError":
      return new RestorePlanError(message, (known.fault ?? "unreachable") as RestorePlanFault, { cause });
    case "BudgetError":
      return new BudgetError(message, { cause });
    case "ConflictError":
      return new ConflictError(message, { cause });
    case "WriteLogError":
      return new WriteLogError(message, { cause });
    case "LocalFileError":
      return new LocalFileError(message, { isTaken: known.isTaken === "true", cause });
    case "DeadlineError":
      return new DeadlineError(message, { cause });
    case "ReplicaClosedError":
      return new ReplicaClosedError(message, { cause });
    case "ReplacedError":
      return new ReplacedError(message, { cause });
    case "StaleError":
      return new StaleError(message, { cause });
    case "StateGoneError":
      return new StateGoneError(message, { cause });
    case "ShimError":
      return new ShimError(message, { cause });
    case "TypeError":
      return new TypeError(message, { cause });
    case "RangeError":
      return new RangeError(message, { cause });
  }
  const error = new ReplicaError(message, { cause });
  if (name !== "") error.name = name;
  return error;
}

/** Reads an error back: the same class, facts and causes, without their stacks. */
export function decodeError(text: string): Error {
  const [head = "", ...lines] = text.split("\n");
  const known: Record<string, string> = {};
  for (const line of lines) {
    const equals = line.indexOf("=");
    if (equals > 0 && !line.startsWith("cause=")) known[line.slice(0, equals)] = line.slice(equals + 1);
  }
  return makeError(head, known, causeOf(lines));
}
