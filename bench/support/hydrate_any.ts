/**
 * One hydration on one system in this process, look-ups meanwhile where they are asked for, and what reading costs
 * afterwards; prints figures as JSON.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { openSystem } from "./systems.ts";

const { rows, looksUp, killAt, lookUps, ...argument } = JSON.parse(process.argv[2]!);
const PASSES = 4;
/** Pause between look-ups meanwhile, in ms. */
const PAUSE_MS = 5;

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

/** The shortest of some passes in ms, after one that warms. */
function best(pass: () => void): number {
  let shortest = Infinity;
  for (let i = 0; i <= PASSES; i++) {
    const begin = performance.now();
    pass();
    if (i > 0) shortest = Math.min(shortest, performance.now() - begin);
  }
  return shortest;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const start = performance.now();
const { database, replica } = await openSystem(argument);
const statement = database.prepare("SELECT amount FROM orders WHERE id = ?");
const figures: Record<string, number> = {};

/** Share of the pages that are local. */
function share(): number {
  if (argument.system === "local") return 1;
  if (replica) {
    const { phase, pages, pagesTotal } = replica.hydration!;
    return phase === "whole" ? 1 : Math.min(0.999, pages / pagesTotal);
  }
  const [text] = Object.values(database.prepare("PRAGMA litestream_hydration_progress").get());
  return Number(text) / 100;
}

const taken: number[] = [];
for (let i = 0; share() < 1; i++) {
  if (killAt !== undefined && share() >= killAt) process.kill(process.pid, "SIGKILL");
  if (looksUp) {
    const begin = performance.now();
    statement.get(1 + (i * 7919 * 31) % rows);
    taken.push(performance.now() - begin);
  }
  await pause(looksUp ? PAUSE_MS : 2);
}
figures.hydratedMs = performance.now() - start;
figures.duringMs = median(taken);
figures.duringMaxMs = Math.max(0, ...taken);
figures.localPages = replica?.stats().localReads ?? 0;

if (lookUps > 0) {
  spawnSync("sync"); // a copy that was just made is still being written to the disk, a plain file is not
  const ids = Array.from({ length: lookUps }, (_, i) => 1 + (i * 7919) % Math.min(rows, 100_000));
  const all = () => {
    for (const id of ids) statement.get(id);
  };
  const scan = database.prepare(
    "SELECT count(*), sum(id), sum(amount), sum(length(note)) FROM orders NOT INDEXED",
  );
  const mark = replica?.stats();
  figures.perSecond = lookUps / best(all) * 1000;
  figures.scanMs = best(() => scan.get());
  database.exec("PRAGMA cache_size=0");
  figures.uncachedPerSecond = lookUps / best(all) * 1000;
  if (replica) figures.requestsAfter = replica.stats(mark).getRequests;
}
console.log(JSON.stringify(figures));
await replica?.close();
process.exit(0);
