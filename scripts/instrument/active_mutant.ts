/**
 * Which mutant is active: one of all that are in the sources. Put into a copy of the sources by scripts/mutate.mjs.
 *
 * @module
 */
import { appendFileSync } from "node:fs";
import process from "node:process";

/** The active mutant; -1 for none. */
export let active: number = Number(process.env.ACTIVE_MUTANT ?? -1);

/** How often it may be come by: a loop that a mutant made endless ends so. */
let turnsMax = Number(process.env.ACTIVE_MUTANT_TURNS ?? Infinity);
let turns = 0;
/** Whether this process tries one mutant after the other. */
let isOfMany = false;

/** Has another mutant active, in a process that tries many. */
export function activate(id: number, most: number): void {
  [active, turnsMax, turns, isOfMany] = [id, most, 0, true];
}

/** Counts how often the active mutant is come by. */
export function turn(): true {
  if (++turns > turnsMax) {
    if (isOfMany) throw new Error("the mutant's loop never ends");
    process.kill(process.pid, "SIGKILL");
  }
  return true;
}

/** Where is written which mutants are come by. */
const record = process.env.MUTANT_RECORD;
const counts = new Float64Array(1 << 16);
const next = new Float64Array(1 << 16).fill(1);

/** Writes down that a mutant was come by: once for each power of ten, with that. Never active. */
export function pass(id: number): false {
  if (++counts[id]! === next[id]) {
    next[id]! *= 10;
    if (record !== undefined) appendFileSync(record, `${id} ${counts[id]}\n`);
  }
  return false;
}

/** How often each was come by since the last time that this was asked. */
export function takeCounts(): [id: number, count: number][] {
  const taken = [...counts.entries()].filter(([, count]) => count > 0);
  counts.fill(0);
  next.fill(1);
  return taken;
}
