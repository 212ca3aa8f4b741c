/**
 * A thread of `load_connections_any.ts`: its connections look rows up in turn until their time is over.
 *
 * @module
 */
import { parentPort, workerData } from "node:worker_threads";
import { joinReplica, type SharedReplica } from "../../mod.ts";
import { Random } from "../../tests/support/random.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

/** What a thread is started with. */
export interface ThreadStart {
  readonly system: "ours" | "go" | "local";
  readonly path: string;
  readonly shared: SharedReplica | undefined;
  readonly connections: number;
  readonly rows: number;
  readonly seed: number;
  /** It goes through the table in place of looking rows up. */
  readonly isScanner: boolean;
}

/** How its connections fared; at first how long each took to open. */
export interface ThreadAnswer {
  readonly count: number;
  readonly errors: number;
  /** What the first error said. */
  readonly fault?: string | undefined;
  /** Of each connection, a look-up in ms on average. */
  readonly meansMs: number[];
  readonly longestMs: number;
  /** Some of the look-ups' times, in ms. */
  readonly sample: number[];
}

const SAMPLE_MAX = 20_000;
const BLOCK = 64;

const start = workerData as ThreadStart;
const inBun = "Bun" in globalThis;
const replica = start.shared && await joinReplica(start.shared);
const module: Any = await import(inBun ? "bun:sqlite" : "node:sqlite");

function open(): Any {
  if (replica) return replica.connect();
  if (start.system === "go") return new module.Database("file:replica.db?vfs=litestream", 0x41);
  return inBun
    ? new module.Database(start.path, { readonly: true })
    : new module.DatabaseSync(start.path, { readOnly: true });
}

const openMs: number[] = [];
const connections = Array.from({ length: start.connections }, () => {
  const began = performance.now();
  const db = open();
  const statement = db.prepare(
    start.isScanner
      ? "SELECT count(*) AS id, sum(length(note)) FROM orders WHERE id BETWEEN ? AND ?"
      : "SELECT id, region, amount FROM orders WHERE id = ?",
  );
  openMs.push(performance.now() - began);
  return { statement, totalMs: 0, count: 0 };
});
parentPort!.postMessage(
  { count: 0, errors: 0, meansMs: openMs, longestMs: 0, sample: [] } satisfies ThreadAnswer,
);

parentPort!.once("message", (untilMs: number) => {
  const random = new Random(start.seed);
  const sample: number[] = [];
  let [count, errors, longestMs] = [0, 0, 0];
  let fault: string | undefined;
  const step = start.isScanner ? scan : lookUp;
  while (Date.now() < untilMs) {
    for (let i = 0; i < (start.isScanner ? 1 : BLOCK); i++) {
      const connection = connections[count % connections.length]!;
      const began = performance.now();
      try {
        step(connection.statement, random, count);
      } catch (error) {
        errors++;
        fault ??= `${error}: ${replica?.lastError ?? ""}`;
      }
      const ms = performance.now() - began;
      connection.totalMs += ms;
      connection.count++;
      count++;
      longestMs = Math.max(longestMs, ms);
      if (sample.length < SAMPLE_MAX) sample.push(ms);
      else if (random.next(count) < SAMPLE_MAX) sample[random.next(SAMPLE_MAX)] = ms;
      if (ms > 1 && Date.now() >= untilMs) break;
    }
  }
  const meansMs = connections.filter(({ count }) => count > 0).map(({ totalMs, count }) => totalMs / count);
  parentPort!.postMessage({ count, errors, fault, meansMs, longestMs, sample } satisfies ThreadAnswer);
});

function lookUp(statement: Any, random: Random): void {
  const id = 1 + random.next(start.rows);
  const row = statement.get(id);
  const isRight = row?.id === id && row.region === Math.floor((id - 1) / 50) &&
    Math.abs(row.amount - (id - 1) * 0.37) < 1e-6;
  if (!isRight) throw new Error(`row ${id} is ${JSON.stringify(row)}`);
}

function scan(statement: Any, _: Random, round: number): void {
  const size = 20_000;
  const first = 1 + round * size % (start.rows - size);
  const row = statement.get(first, first + size - 1);
  if (row.id !== size) throw new Error(`${row.id} rows from ${first} on, expected ${size}`);
}
