/**
 * Errors as text: how they cross from the core to the user's thread, through the shim or in a message.
 *
 * The first line is `Name: message`; facts follow as `name=value`, then causes as `cause=Name: message`, each with its facts. The
 * shim keeps 1023 bytes, so a text is never longer: a long message loses its end and a long list its last causes, but no fact is
 * cut in two.
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
import { textOf, thrownText } from "../thrown_text.ts";

/** How deep a chain of causes is followed. */
const CAUSES_MAX = 4;

/** What the shim keeps of a text. */
const TEXT_BYTES_MAX = 1023;

/** What a message and a fact may take of it; four facts and the longest class name fit beside them. */
const MESSAGE_BYTES_MAX = 640;
const FACT_BYTES_MAX = 240;

const CAUSE = "cause=";

const encoder = new TextEncoder();

/** The text, or as much of its beginning as fits into `bytesMax` with the mark of a cut. */
function cut(text: string, bytesMax: number): string {
  if (encoder.encode(text).length <= bytesMax) return text;
  const { read } = encoder.encodeInto(text, new Uint8Array(bytesMax - 3));
  return `${text.slice(0, read)}…`;
}

const oneLine = (value: unknown): string => textOf(value).replaceAll(/\s*[\r\n]+\s*/g, " ");

function facts(error: Error): Record<string, string | number | boolean> {
  if (error instanceof StorageError) {
    const { key, status, code, retryable } = error;
    return { key, status, code, retryable };
  }
  if (error instanceof LtxFormatError) return { key: error.key, offset: error.offset };
  if (error instanceof RestorePlanError) return { fault: error.fault };
  if (error instanceof LocalFileError) return { isTaken: error.isTaken, isCut: error.isCut };
  return {};
}

function factLines(error: Error): string[] {
  return Object.entries(facts(error)).map(([name, value]) =>
    cut(`${name}=${oneLine(value)}`, FACT_BYTES_MAX)
  );
}

/** Writes an error as text. */
export function encodeError(thrown: unknown): string {
  const error = thrown instanceof Error ? thrown : new ReplicaError(thrownText(thrown));
  let text = [
    cut(`${oneLine(error.name)}: ${oneLine(error.message)}`, MESSAGE_BYTES_MAX),
    ...factLines(error),
  ].join(
    "\n",
  );
  let cause = error.cause;
  for (let depth = 0; cause instanceof Error && depth < CAUSES_MAX; depth++, cause = cause.cause) {
    const longer = `${text}\ncause=${oneLine(cause.name)}: ${oneLine(cause.message)}`;
    text = cut(longer, TEXT_BYTES_MAX);
    if (text !== longer) break;
    const whole = [text, ...factLines(cause)].join("\n");
    if (encoder.encode(whole).length <= TEXT_BYTES_MAX) text = whole;
  }
  return text;
}

/** An error in other words: of the same class and with the same facts, the error itself as its cause. */
export function reworded(error: Error, message: string): Error {
  const known = Object.entries(facts(error)).map(([name, value]) => [name, String(value)]);
  return makeError(`${error.name}: ${message}`, Object.fromEntries(known), error);
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
      return new LocalFileError(message, {
        isTaken: known.isTaken === "true",
        isCut: known.isCut === "true",
        cause,
      });
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
  const chain: { readonly head: string; readonly known: Record<string, string> }[] = [];
  for (const line of `${CAUSE}${text}`.split("\n")) {
    const equals = line.indexOf("=");
    if (line.startsWith(CAUSE)) chain.push({ head: line.slice(CAUSE.length), known: {} });
    else if (equals > 0) chain.at(-1)!.known[line.slice(0, equals)] = line.slice(equals + 1);
  }
  const [first, ...causes] = chain;
  const cause = causes.reduceRight<Error | undefined>(
    (inner, { head, known }) => makeError(head, known, inner),
    undefined,
  );
  return makeError(first!.head, first!.known, cause);
}
