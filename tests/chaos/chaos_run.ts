/**
 * Chaos at length: storms and calms over a real server, then over stores alone until each kind of fault has happened often enough.
 *
 *     npm run chaos -- --faults 10000                    both runtimes, one after the other
 *     bun tests/chaos/chaos_run.ts --faults 10000 --seed 7 --storms 20
 *     deno run -A --no-check tests/chaos/chaos_run.ts --faults 10000
 *
 * `--storms` over the server come first, 20 s each and its calm; `--faults` are those of each kind over stores. `--out` names a
 * file for what came of it, as JSON. Prints what each kind came to, and every promise that was broken, with its seed; ends
 * with 1 where there is one. The same seed draws the same faults for the same requests of the same lane.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { s3ServerBinary } from "../support/real.ts";
import { startFakeBucket, startRealBucket } from "./bucket.ts";
import { ChaosWorld, wantedRates } from "./chaos_world.ts";
import { FAULT_KINDS, type FaultKind, type FaultRates } from "./fault_schedule.ts";
import { outcomeLines, type Outcomes } from "./promise_check.ts";
import { StoreWorld } from "./store_world.ts";

/** Shares of requests that go wrong, storm after storm. */
const SHARES = [0.75, 0.4, 0.85, 0.15, 0.85, 0.85];

const { values } = parseArgs({
  options: {
    faults: { type: "string", default: "1000" },
    seed: { type: "string", default: String(Date.now() % 100_000) },
    storms: { type: "string", default: "6" },
    "storm-ms": { type: "string", default: "20000" },
    minutes: { type: "string", default: "60" },
    lanes: { type: "string", default: "2,3,1,2,3,2,1" },
    "store-lanes": { type: "string", default: "150" },
    out: { type: "string", default: "" },
  },
});
const seed = Number(values.seed);
const wanted = Number(values.faults);
const stormMs = Number(values["storm-ms"]);
const endMs = performance.now() + Number(values.minutes) * 60_000;
const runtime = "Bun" in globalThis ? "Bun" : "Deno";
let brokenCount = 0;
let isOver = false;
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => isOver = true);

/** Where it storms. */
interface Place {
  readonly outcomes: Outcomes;
  readonly requests: number;
  counts(): Record<FaultKind, number>;
  storm(forMs: number, rates: () => FaultRates): Promise<void>;
  calm(): Promise<void>;
}

/** Storms and calms one after the other for as long as `isWanted` says so. */
async function play(name: string, place: Place, isWanted: (storm: number) => boolean): Promise<void> {
  for (let storm = 0; isWanted(storm) && performance.now() < endMs && !isOver; storm++) {
    const share = SHARES[storm % SHARES.length]!;
    await place.storm(stormMs, () => {
      const counts = place.counts();
      const most = Math.max(1, ...Object.values(counts));
      return wantedRates(share, (kind) => 1 - counts[kind] / most); // those that fall behind come more often
    });
    await place.calm();
    const counts = place.counts();
    const rarest = FAULT_KINDS.reduce((a, b) => counts[b] < counts[a] ? b : a);
    const sum = Object.values(counts).reduce((total, each) => total + each);
    const seconds = Math.round(performance.now() / 1000);
    console.log(
      `${runtime} ${seconds} s, ${name}, storm ${storm + 1}: ${place.requests} requests, ${sum} faults, ` +
        `${rarest} ${counts[rarest]}, ${brokenCount} broken`,
    );
    tellBroken(place);
    if (values.out) {
      writeFileSync(
        `${values.out}.${name}`,
        JSON.stringify({ runtime, seed, counts, outcomes: place.outcomes }),
      );
    }
  }
}

function tellBroken({ outcomes }: Place): void {
  for (const line of outcomes.broken.splice(0)) {
    brokenCount++;
    console.log(`BROKEN ${line}`);
  }
}

function tell(what: string, { outcomes }: Place): void {
  console.log(
    `\n${runtime}, seed ${seed}, ${what}: faults by kind, and what the operations came to that they fell in`,
  );
  for (const line of outcomeLines(outcomes)) console.log(line);
}

if (Number(values.storms) > 0) {
  const isReal = s3ServerBinary() !== undefined;
  const server = isReal ? "versitygw" : "a server in memory";
  console.log(`chaos in ${runtime}: seed ${seed}, ${values.storms} storms before ${server}`);
  const bucket = isReal ? await startRealBucket() : await startFakeBucket();
  const [open = 0, follow = 0, copy = 0, write = 0, own = 0, folder = 0, leased = 0] = values.lanes.split(",")
    .map(
      Number,
    );
  const lanes = { open, follow, copy, write, own, folder, leased };
  const world = await ChaosWorld.make({ seed, bucket, lanes, stepMs: 250, hasThreads: true });
  await play("server", world, (storm) => storm < Number(values.storms));
  await world.close();
  await bucket.close();
  tellBroken(world);
  tell("before a server", world);
}
if (wanted > 0) {
  console.log(`chaos in ${runtime}: seed ${seed}, ${wanted} faults of each kind over stores`);
  const world = await StoreWorld.make({ seed, lanes: Number(values["store-lanes"]) });
  await play("stores", world, () => Object.values(world.counts()).some((count) => count < wanted));
  await world.close();
  tell("over stores", world);
  for (const [kind, count] of Object.entries(world.counts())) {
    if (count < wanted) console.log(`only ${count} of ${kind}`);
  }
}
console.log(`${brokenCount} broken promises`);
process.exit(brokenCount > 0 ? 1 : 0);
