/**
 * How much of everything: a little in the daily tests, all of it with `LOAD=long`; and which seed.
 *
 * @module
 */
import process from "node:process";

const isLong = process.env.LOAD === "long";

/** `LOAD_SEED` in the environment, or 1. */
export const SEED: number = Number(process.env.LOAD_SEED ?? 1);

/** `daily`, or `long` where the environment asks for that. */
export function size(daily: number, long: number): number {
  return isLong ? long : daily;
}

console.log(`LOAD_SEED=${SEED} LOAD=${isLong ? "long" : "daily"}`);
