/**
 * Which mutant is active: one of all that are in the sources, named by the environment. Put into a copy of the sources by
 * scripts/mutate.mjs.
 *
 * @module
 */
import { appendFileSync } from "node:fs";
import process from "node:process";

/** The active mutant; -1 for none. */
export const active = Number(process.env.ACTIVE_MUTANT ?? -1);

/** How often it may be come by: a loop that a mutant made endless ends so. */
const turnsMax = Number(process.env.ACTIVE_MUTANT_TURNS ?? Infinity);
let turns = 0;

/** Counts how often the active mutant is come by. */
export function turn(): true {
  if (++turns > turnsMax) process.kill(process.pid, "SIGKILL");
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
