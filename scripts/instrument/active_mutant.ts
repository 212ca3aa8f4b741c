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
const counts: number[] = [];

/** Writes down that a mutant was come by: once for each power of ten, with that. Never active. */
export function pass(id: number): false {
  const count = counts[id] = (counts[id] ?? 0) + 1;
  if (record !== undefined && isPower(count)) appendFileSync(record, `${id} ${count}\n`);
  return false;
}

function isPower(count: number): boolean {
  return count === 1 || (count % 10 === 0 && Number.isInteger(Math.log10(count)));
}
