/**
 * The query thread: the database, which blocks its thread while storage is asked, so that signals and the terminal
 * are served meanwhile.
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";
import { parentPort, workerData } from "node:worker_threads";
import { encodeError } from "../bridge/error_text.ts";
import { ReplicaError } from "../errors.ts";
import { joinReplica } from "../open_replica.ts";
import type { Replica } from "../replica.ts";
import type { CellValue } from "./cell_text.ts";
import { suggestName } from "./name_suggestion.ts";
import { bindingsOf, type ParameterValues } from "./parameters.ts";
import type {
  FromQuery,
  QueryCall,
  QueryConnect,
  QueryResult,
  QueryStart,
  ToQuery,
} from "./query_messages.ts";
import { type RowFormat, rowWriter } from "./row_writer.ts";

/** Text that is sent at once, in characters. */
const TEXT_SIZE = 64 * 1024;
/** Rows that come slowly are shown after this, in ms. */
const TEXT_MS = 100;

/** SQLite's primary codes behind which the replica has more to say: PERM … NOTADB as a VFS causes them. */
const REPLICA_CODES = [5, 8, 9, 10, 11, 13, 14, 26];
/** SQLITE_INTERRUPT. */
const INTERRUPTED = 9;

interface Statement {
  columns(): { name: string }[];
  all(...values: unknown[]): CellValue[][];
  iterate(...values: unknown[]): Iterable<CellValue[]>;
  run(...values: unknown[]): unknown;
}

interface Failure {
  readonly message: string;
  readonly errcode?: number;
}

interface Database {
  prepare(sql: string): Statement;
  readonly isTransaction: boolean;
  close(): void;
}

const { stop } = workerData as QueryStart;
const port = parentPort!;
let replica: Replica | undefined;
let database: Database | undefined;
/** Settled when the main thread has written the text that was sent last. */
let onWritten: () => void = () => {};

const say = (message: FromQuery): void => port.postMessage(message);

function isStopped(): boolean {
  return Atomics.load(stop, 0) !== 0;
}

function checkStopped(): void {
  if (isStopped()) throw new ReplicaError("Cannot go on: interrupted");
}

/** Throws what a driver passes over that ends an iteration without a word where a step fails, as Deno's does. */
function checkEnd(): void {
  const fault = replica!.faultOf(database!);
  if (fault) {
    throw Object.assign(new Error(fault.message), { errcode: fault.code } satisfies Partial<Failure>);
  }
}

function connect({ readOnly, ...options }: QueryConnect): void {
  const driver = { readOnly, readBigInts: true, returnArrays: true };
  const next = replica!.connect(DatabaseSync, { ...options, database: driver }) as unknown as Database;
  database?.close();
  database = next;
}

/** Sends text and waits until it is written: what is not wanted yet is not read. */
async function send(text: string): Promise<void> {
  const written = new Promise<void>((resolve) => onWritten = resolve);
  say({ kind: "text", text });
  await written;
  checkStopped();
}

async function run(
  statements: readonly string[],
  { parameters, format }: { parameters: ParameterValues; format: RowFormat },
): Promise<void> {
  for (const sql of statements) {
    checkStopped();
    const statement = database!.prepare(sql);
    const columns = statement.columns().map(({ name }) => name);
    const bindings = bindingsOf(sql, parameters);
    if (columns.length === 0) {
      statement.run(...bindings);
      continue;
    }
    await writeRows(statement.iterate(...bindings), columns, format);
  }
}

/** Sends rows as text, some at once; those before a failure, too. */
async function writeRows(
  rows: Iterable<CellValue[]>,
  columns: readonly string[],
  format: RowFormat,
): Promise<void> {
  const writer = rowWriter(format);
  let text = writer.begin(columns);
  let sentMs = performance.now();
  try {
    for (const row of rows) {
      text += writer.row(row);
      if (text.length < TEXT_SIZE && performance.now() - sentMs < TEXT_MS) continue;
      checkStopped();
      if (text === "") continue;
      const full = text;
      text = "";
      await send(full);
      sentMs = performance.now();
    }
    checkEnd();
    text += writer.end();
  } finally {
    if (text !== "" && !isStopped()) await send(text);
  }
}

function rowsOf(sql: string, parameters: ParameterValues): Pick<QueryResult, "rows" | "columns"> {
  const statement = database!.prepare(sql);
  const columns = statement.columns().map(({ name }) => name);
  return { rows: statement.all(...bindingsOf(sql, parameters)), columns };
}

async function answer(call: QueryCall): Promise<Pick<QueryResult, "rows" | "columns">> {
  const nothing = { rows: [], columns: [] };
  if (call.kind === "rows") return rowsOf(call.sql, call.parameters);
  if (call.kind === "join") replica = await joinReplica(call.shared);
  else if (call.kind === "connect") connect(call.connect);
  else if (call.kind === "run") await run(call.statements, call);
  else {
    database?.close();
    database = undefined;
    await replica?.close();
  }
  return nothing;
}

/** What SQLite says, or, where it only says that reading failed, what the replica says. */
function explained(error: unknown, saidBefore: string): Error {
  const { message, errcode } = error as Failure;
  if (errcode === undefined) return error instanceof Error ? error : new ReplicaError(String(error));
  const code = errcode & 0xff;
  const last = replica?.lastError;
  if (last && REPLICA_CODES.includes(code) && (code === 10 || last.message !== saidBefore)) return last;
  if (code === INTERRUPTED) return new ReplicaError("Cannot go on: interrupted");
  const names = () => {
    const tables = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite%'";
    const columns =
      "SELECT c.name FROM pragma_table_list t, pragma_table_info(t.name) c WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite%'";
    return rowsOf(/no such table/.test(message) ? tables : columns, { named: {}, positional: [] }).rows
      .flat();
  };
  return new ReplicaError(`Cannot run SQL: ${message}${suggestName(message, names)}`);
}

async function take(call: QueryCall): Promise<void> {
  const saidBefore = replica?.lastError?.message ?? "";
  try {
    const result = await answer(call);
    say({ kind: "done", result: { ...result, inTransaction: database?.isTransaction ?? false } });
  } catch (thrown) {
    const isInterrupted = isStopped();
    const error = isInterrupted ? thrown as Error : explained(thrown, saidBefore);
    const inTransaction = database?.isTransaction ?? false;
    say({ kind: "done", fault: { error: encodeError(error), isInterrupted, inTransaction } });
  }
}

port.on("message", (message: ToQuery) => {
  if (message.kind === "written") onWritten();
  else void take(message);
});
