/**
 * Processes under chaos, at length:
 *
 *     bun tests/chaos/process_run.ts --rounds 100 --seed 7
 *     deno run -A --no-check tests/chaos/process_run.ts --rounds 100
 *
 * Prints what was done to them and what they told; ends with 1 where a promise was broken.
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { Random } from "../support/random.ts";
import { s3ServerBinary } from "../support/real.ts";
import { startFakeBucket, startRealBucket } from "./bucket.ts";
import { PROCESS_KINDS, type ProcessKind, ProcessWorld } from "./process_world.ts";

const SETTLED_EVERY = 5;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "20" },
    seed: { type: "string", default: String(Date.now() % 100_000) },
    share: { type: "string", default: "0.1" },
    minutes: { type: "string", default: "60" },
  },
});
const seed = Number(values.seed);
const random = new Random(seed);
const endMs = performance.now() + Number(values.minutes) * 60_000;
const bucket = await (s3ServerBinary() === undefined ? startFakeBucket() : startRealBucket());
const world = await ProcessWorld.make({ seed, bucket, share: Number(values.share) });

/** Something of each kind now and then, a kill at the end of many. */
function someKinds(): ProcessKind[] {
  const others = PROCESS_KINDS.filter((kind) => kind !== "killed");
  const kinds = Array.from({ length: 1 + random.next(4) }, () => others[random.next(others.length)]!);
  return random.next(2) === 0 ? [...kinds, "killed"] : kinds;
}

console.log(`processes under chaos: seed ${seed}`);
let round = 0;
for (; round < Number(values.rounds) && performance.now() < endMs; round++) {
  await world.round(random.next(3) > 0 ? "write" : "read", someKinds());
  if (round % SETTLED_EVERY === SETTLED_EVERY - 1) await world.settle();
  for (const line of world.broken.splice(0)) {
    console.log(`BROKEN ${line}`);
    process.exitCode = 1;
  }
}
await world.settle();
await world.close();
await bucket.close();
console.log(`${round} rounds, seed ${seed}`);
for (const [what, count] of [...world.counts].sort()) console.log(`${what.padEnd(36)} ${count}`);
process.exit();
