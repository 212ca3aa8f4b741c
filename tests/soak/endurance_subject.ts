/**
 * A process that is meant to endure: reads, writes, or reads from a local copy, and opens and closes all the time. Its argument
 * is a {@link SubjectStart} as JSON, its standard input a {@link SubjectCommand} a line; it prints {@link SubjectLine}s.
 *
 * @module
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { type Counts, type Fault, Ledger, type Weather } from "./endurance_ledger.ts";
import { ReadingSubject } from "./endurance_reader.ts";
import { type Held, ProcessWatch, residentNow } from "./endurance_sample.ts";
import { InvariantViolation } from "../support/invariant_writer_check.ts";
import { collectGarbage, releaseMemory } from "./garbage.ts";
import { WritingSubject } from "./endurance_writer.ts";
import { sleep } from "./follow_reader.ts";

/** What a process does. */
export type SubjectRole = "reader" | "hydrating" | "writer";

/** How a process begins. */
export interface SubjectStart {
  readonly role: SubjectRole;
  readonly url: string;
  readonly seed: number;
  /** A folder of its own, made if need be. */
  readonly folder: string;
  readonly sampleMs: number;
  /** Pauses are so many times as long as usual, until it is told otherwise. */
  readonly pace: number;
}

/** What a process is told. */
export type SubjectCommand =
  | { readonly do: "weather"; readonly weather: Weather }
  /** To make its pauses so many times as long as usual from now on. */
  | { readonly do: "pace"; readonly pace: number }
  /** To see this TXID, or to store what it has, holding still meanwhile; it answers with what that is. */
  | { readonly do: "recover"; readonly txid: string }
  /** To hold still for a sample. */
  | { readonly do: "rest" }
  /** The same, then to close all, and to end. */
  | { readonly do: "end"; readonly txid: string };

/** A state that is stored: what is in it. */
export interface Stored {
  readonly txid: string;
  readonly generation: number;
  readonly digest: string;
}

/** What is held, in which weather; `"rest"` while it did nothing, `"begun"` before all, `"closed"` after all. */
export interface SubjectSample extends Held {
  readonly atMs: number;
  readonly kind: "run" | "rest" | "begun" | "closed";
  readonly weather: Weather;
}

/** What a process prints. */
export type SubjectLine =
  | { readonly sample: SubjectSample }
  | { readonly fault: Fault; readonly atMs: number }
  /** The answer to `"recover"`, how long it took in ms, and what is stored or seen. */
  | { readonly recovered: Stored; readonly tookMs: number }
  | { readonly failed: string }
  | { readonly report: { readonly done: Counts; readonly errors: Counts; readonly stats: Counts } };

/** What a subject's work must offer. */
export interface SubjectWork {
  /** Sees a TXID, or stores what it has, and checks all of it; nothing else is under way. */
  recover(txid: bigint): Promise<Stored>;
  /** Ends what is under way, and begins nothing. */
  hold(): Promise<void>;
  /** Reads every page, so that as many are in memory each time as may be; nothing else is under way. */
  fill(): void;
  go(): void;
  /** Makes pauses so many times as long as usual. */
  pace(pace: number): void;
  /** Counts since the beginning. */
  stats(): Counts;
  close(): Promise<void>;
}

/** How long a recovery is tried, in ms. */
const RECOVER_MS = 180_000;

/** How long a core lingers after its last replica, and threads of a runtime's pool after their last work, in ms. */
const LINGER_MS = 15_000;

/**
 * How often memory is given back before a sample at rest: what one time finds garbage holds more of it, and a follower's looks
 * come and go; the least of 24 is 0.2 to 3 MiB under the least of 6, and differs less from rest to rest.
 */
const RELEASES = 24;

/** How long a core may take to give memory back, in ms. */
const RELEASE_MS = 60_000;

const start = JSON.parse(process.argv[2]!) as SubjectStart;
const print = (line: SubjectLine) =>
  new Promise<void>((resolve) => process.stdout.write(`${JSON.stringify(line)}\n`, () => resolve()));
const ledger = new Ledger((fault) => void print({ fault, atMs: Date.now() }));

mkdirSync(start.folder, { recursive: true });
const watch = await ProcessWatch.start(start.folder);

function tell(kind: SubjectSample["kind"], held: Held): Promise<void> {
  return print({ sample: { atMs: Date.now(), kind, weather: ledger.weather, ...held } });
}

/** How often resident memory is looked at, in ms: garbage comes and goes within seconds. */
const LOOK_MS = 500;

let looks: Pick<Held, "rssBytes" | "anonBytes">[] = [];

/** A sample without this thread's garbage; resident memory as it was on average since the sample before. */
function sampleAtWork(): Promise<void> {
  const seen = looks.length > 0 ? looks : [residentNow()];
  looks = [];
  collectGarbage();
  const average = (measure: "rssBytes" | "anonBytes") =>
    seen.reduce((sum, look) => sum + look[measure], 0) / seen.length;
  return tell("run", { ...watch.look(), rssBytes: average("rssBytes"), anonBytes: average("anonBytes") });
}

/** Has the core of the replica that stays give back what it can; see `core_heap.ts`. */
async function releaseCore(): Promise<void> {
  const request = join(start.folder, "core-heap.release");
  writeFileSync(request, "");
  for (const untilMs = Date.now() + RELEASE_MS; existsSync(request); await sleep(50)) {
    if (Date.now() > untilMs) throw new Error(`The core has not given memory back within ${RELEASE_MS} ms`);
  }
}

/** A sample of a process that has come to rest, and given back what it does not need: the least memory that it came to. */
async function cleanSample(kind: SubjectSample["kind"]): Promise<void> {
  let [rssBytes, anonBytes] = [Infinity, Infinity];
  for (let i = 0; i < RELEASES; i++) {
    if (kind === "rest") {
      await persist("filling", () => work.fill()); // a new view may have emptied the pool
      await releaseCore();
    }
    releaseMemory();
    await sleep(500);
    const held = watch.look();
    rssBytes = Math.min(rssBytes, held.rssBytes);
    anonBytes = Math.min(anonBytes, held.anonBytes);
  }
  await tell(kind, { ...watch.look(), rssBytes, anonBytes });
}

await cleanSample("begun");
const work: SubjectWork = start.role === "writer"
  ? await WritingSubject.open(start, ledger)
  : await ReadingSubject.open(start, ledger);
let isAtRest = false;
const timers = [
  setInterval(() => isAtRest || looks.push(residentNow()), LOOK_MS),
  setInterval(() => isAtRest || void sampleAtWork(), start.sampleMs),
];

/** Tries until it succeeds: what a storm has left may have to come to its deadline first. */
async function persist<T>(what: string, act: () => T | Promise<T>): Promise<T> {
  for (const untilMs = Date.now() + RECOVER_MS;; await sleep(500)) {
    try {
      return await act();
    } catch (error) {
      if (Date.now() > untilMs || error instanceof InvariantViolation) throw error;
      ledger.count(`failed ${what}`);
    }
  }
}

/** Does what it is told. */
async function obey(command: SubjectCommand): Promise<void> {
  if (command.do === "weather") ledger.weather = command.weather;
  if (command.do === "pace") work.pace(command.pace);
  if (command.do === "recover" || command.do === "end") {
    const beganMs = Date.now();
    await work.hold();
    const txid = BigInt(`0x${command.txid}`);
    const recovered = await persist("recovery", () => work.recover(txid));
    await print({ recovered, tookMs: Date.now() - beganMs });
    if (command.do === "recover") work.go();
  }
  if (command.do === "rest") {
    await work.hold();
    isAtRest = true;
    try {
      await cleanSample("rest");
    } finally {
      isAtRest = false;
    }
    work.go();
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as SubjectCommand;
  try {
    await obey(command);
  } catch (error) {
    await print({ failed: `${command.do}: ${error instanceof Error ? error.stack : error}` });
    work.go();
  }
  if (command.do === "end") break;
}
for (const timer of timers) clearInterval(timer);
const stats = work.stats();
try {
  await work.close();
} catch (error) {
  ledger.fault(`Cannot close: ${error}`);
}
for (const untilMs = Date.now() + LINGER_MS; Date.now() < untilMs;) await sleep(500);
await cleanSample("closed");
await print({ report: { done: ledger.done, errors: ledger.errors, stats } });
process.exit(0);
