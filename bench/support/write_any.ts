/**
 * One work of writing on one system, in this process; prints figures as JSON.
 *
 * `changes` is how many were made, `beganAt` and `endedAt` are ms since the Unix epoch, for the server's log.
 * `share` is how much of the large transaction was done before `limitMs` had passed, `warmShare` how much of
 * the table was read before, where `isWarm`. `durableMs` is from the end until all is stored, where the
 * system can be asked for that; `at0`, `at1` … are when a commit was begun, of a work for which the server
 * tells the rest.
 *
 * @module
 */
import process from "node:process";
import { openWritable } from "./write_systems.ts";
import { BULK_ROWS, changesOf, parametersOf, UPDATE, type WorkName } from "./write_works.ts";

const { work, rows, seconds, limitMs, isWarm, ...argument } = JSON.parse(process.argv[2]!);
/** Pause between transactions at 50 a second. */
const PACE_MS = 20;
/** The Go VFS stores about once a second and cannot be asked for it. */
const STORED_MS = 1_100;
/** Transactions whose way to storage is watched one by one. */
const WATCHED = 5;
const ASKED = 20;

const { database, replica } = await openWritable(argument);
const warmShare = isWarm ? readTable() : 0;
const statement = database.prepare(UPDATE);
const next = changesOf(work, rows);
let changes = 0;

const WORKS: Readonly<Record<WorkName, () => Promise<Record<string, number>>>> = {
  flat: () => runFlat(),
  paced: () => runPaced(),
  bulk: () => runBulk(),
  interval: () => runWatched(),
  sync: () => runAsked(),
  durable() {
    database.exec("PRAGMA litestream_durable = on");
    return runAsked();
  },
};

const beganAt = epochMs();
const figures = await WORKS[work as WorkName]();
const endedAt = figures.endedAt ?? epochMs();
await closeAll();
console.log(JSON.stringify({ ...figures, changes, beganAt, endedAt, warmShare }));
process.exit(0);

function epochMs(): number {
  return performance.timeOrigin + performance.now();
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Reads the table once, as far as the time allows; gives the share. */
function readTable(): number {
  const STEP = 500;
  const read = database.prepare("SELECT max(note), max(payload) FROM orders WHERE id BETWEEN ? AND ?");
  const begin = performance.now();
  for (let id = 1; id <= rows; id += STEP) {
    if (performance.now() - begin > limitMs) return (id - 1) / rows;
    read.get(id, id + STEP - 1);
  }
  return 1;
}

/** Makes one change; gives how long it took, its commit included. */
function makeChange(): number {
  const parameters = parametersOf(next.next().value);
  const begin = performance.now();
  statement.run(...parameters);
  const ms = performance.now() - begin;
  changes++;
  return ms;
}

function spread(times: number[]): Record<string, number> {
  const sorted = times.toSorted((a, b) => a - b);
  return { p50Ms: sorted[Math.floor(sorted.length / 2)]!, maxMs: sorted.at(-1)! };
}

/** Waits until all is stored. */
async function untilStored(): Promise<Record<string, number>> {
  const endedAt = epochMs();
  const begin = performance.now();
  if (replica) await replica.sync();
  else if (argument.system === "go") await sleep(2 * STORED_MS);
  return { endedAt, ...(replica && { durableMs: performance.now() - begin }) };
}

async function runFlat(): Promise<Record<string, number>> {
  const times: number[] = [];
  const begin = performance.now();
  while (performance.now() - begin < seconds * 1000) times.push(makeChange());
  const perSecond = times.length / (performance.now() - begin) * 1000;
  return { perSecond, ...spread(times), ...await untilStored() };
}

async function runPaced(): Promise<Record<string, number>> {
  const times: number[] = [];
  const begin = performance.now();
  for (let due = begin; due - begin < seconds * 1000; due = Math.max(due + PACE_MS, performance.now())) {
    await sleep(due - performance.now());
    times.push(makeChange());
  }
  const perSecond = times.length / (performance.now() - begin) * 1000;
  return { perSecond, ...spread(times), ...await untilStored() };
}

async function runBulk(): Promise<Record<string, number>> {
  const begin = performance.now();
  database.exec("BEGIN IMMEDIATE");
  while (changes < BULK_ROWS && performance.now() - begin < limitMs) makeChange();
  database.exec("COMMIT");
  return { ms: performance.now() - begin, share: changes / BULK_ROWS, ...await untilStored() };
}

/** Has a change made that only lacks its commit, so that none waits for pages. */
function beginChange(): void {
  database.exec("BEGIN IMMEDIATE");
  makeChange();
}

/** Transactions far enough from each other that each is stored alone. */
async function runWatched(): Promise<Record<string, number>> {
  if (argument.system === "local") return await runAsked();
  const commits: Record<string, number> = {};
  for (let i = 0; i < WATCHED; i++) {
    beginChange();
    commits[`at${i}`] = epochMs();
    database.exec("COMMIT");
    await sleep(STORED_MS + i * 170); // at another moment of the system's interval each time
  }
  return { ...commits, ...await untilStored() };
}

/** Transactions each of which is durable before the next one. */
async function runAsked(): Promise<Record<string, number>> {
  const times: number[] = [];
  const begin = performance.now();
  while (times.length < ASKED && performance.now() - begin < seconds * 1000) {
    beginChange();
    const committing = performance.now();
    database.exec("COMMIT");
    if (work === "sync") await replica!.sync();
    times.push(performance.now() - committing);
  }
  return spread(times);
}

async function closeAll(): Promise<void> {
  statement.finalize?.();
  database.close();
  await replica?.close();
}
