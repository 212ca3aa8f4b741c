/**
 * Chaos at length: storms and calms until each kind of fault has happened often enough.
 *
 *     npm run chaos -- --faults 10000                    both runtimes, one after the other
 *     bun tests/chaos/chaos_run.ts --faults 10000 --seed 7 --minutes 30
 *     deno run -A --no-check tests/chaos/chaos_run.ts --faults 10000
 *
 * Prints what each kind came to, and every promise that was broken, with its seed; ends with 1 where there is one. The same seed
 * draws the same faults for the same requests of the same lane.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { s3ServerBinary } from "../support/real.ts";
import { startFakeBucket, startRealBucket } from "./bucket.ts";
import { ChaosWorld, wantedRates } from "./chaos_world.ts";
import { FAULT_KINDS } from "./fault_schedule.ts";
import { outcomeLines } from "./promise_check.ts";

const STORM_MS = 20_000;
/** Shares of requests that go wrong, storm after storm. */
const SHARES = [0.75, 0.4, 0.8, 0.15, 0.8];

const { values } = parseArgs({
  options: {
    faults: { type: "string", default: "1000" },
    seed: { type: "string", default: String(Date.now() % 100_000) },
    minutes: { type: "string", default: "60" },
    lanes: { type: "string", default: "2,4,1,2,40" },
    storm: { type: "string", default: String(STORM_MS) },
    out: { type: "string", default: "" },
  },
});
const wanted = Number(values.faults);
const seed = Number(values.seed);
const [open = 0, follow = 0, copy = 0, write = 0, store = 0] = values.lanes.split(",").map(Number);
const isReal = s3ServerBinary() !== undefined;
const runtime = "Bun" in globalThis ? "Bun" : "Deno";
console.log(
  `chaos in ${runtime}: seed ${seed}, ${wanted} faults of each kind, before ${
    isReal ? "versitygw" : "a server in memory"
  }`,
);

const bucket = isReal ? await startRealBucket() : await startFakeBucket();
const world = await ChaosWorld.make({
  seed,
  bucket,
  lanes: { open, follow, copy, write, store },
  stepMs: 250,
  hasThreads: true,
});
const endMs = performance.now() + Number(values.minutes) * 60_000;
let brokenCount = 0;

function tellBroken(): void {
  for (const line of world.outcomes.broken.splice(0)) {
    brokenCount++;
    console.log(`BROKEN ${line}`);
  }
}

let isOver = false;
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => isOver = true);
const least = () => Math.min(...FAULT_KINDS.map((kind) => world.proxy.counts()[kind]));

for (let storm = 0; least() < wanted && performance.now() < endMs && !isOver; storm++) {
  const share = SHARES[storm % SHARES.length]!;
  const rates = () => {
    const counts = world.proxy.counts();
    return wantedRates(share, (kind) => 1 - counts[kind] / wanted);
  };
  await world.storm(Number(values.storm), rates);
  await world.calm();
  const counts = world.proxy.counts();
  const rarest = FAULT_KINDS.reduce((a, b) => counts[b] < counts[a] ? b : a);
  console.log(
    `${runtime} ${Math.round(performance.now() / 1000)} s, storm ${
      storm + 1
    }: ${world.proxy.requests} requests, ` +
      `${Object.values(counts).reduce((sum, each) => sum + each)} faults, ${rarest} ${counts[rarest]}, ` +
      `${brokenCount} broken`,
  );
  tellBroken();
  if (values.out) {
    writeFileSync(values.out, JSON.stringify({ runtime, seed, counts, outcomes: world.outcomes }));
  }
}
await world.close();
await bucket.close();
tellBroken();
const counts = world.proxy.counts();
console.log(`\n${runtime}, seed ${seed}: faults by kind, and what the operations came to that they fell in`);
for (const kind of FAULT_KINDS) if (counts[kind] < wanted) console.log(`only ${counts[kind]} of ${kind}`);
for (const line of outcomeLines(world.outcomes)) console.log(line);
console.log(`${brokenCount} broken promises`);
process.exit(brokenCount > 0 ? 1 : 0);
