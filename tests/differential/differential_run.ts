/**
 * Compares what this runtime reads with what `litestream restore` makes, scenario after scenario.
 *
 *   bun tests/differential/differential_run.ts --cases 500 --seed 1
 *   deno run -A tests/differential/differential_run.ts --seed 1234 --scenarios 1      one scenario again, by its seed
 *   bun tests/differential/differential_run.ts --replay FILE                          one that was kept, or made smaller
 *
 * `--primaries N` how many databases a scenario has (default 2) · `--keep FOLDER` where scenarios go that differ (default:
 * the current folder) · `--no-shrink` keeps them as they are. Ends with 1 where something differs or breaks down; the last
 * line is JSON. `node scripts/differential.mjs` runs both runtimes.
 *
 * @module
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { addCounts, type Counts, type Difference, noCounts } from "./outcome.ts";
import { drawScenario, type Scenario } from "./scenario.ts";
import { runScenario } from "./scenario_run.ts";
import { scenarioText } from "./scenario_text.ts";
import { shrinkScenario } from "./shrink.ts";

const { values: options } = parseArgs({
  options: {
    cases: { type: "string", default: "500" },
    seed: { type: "string", default: String(Date.now() % 2 ** 31) },
    scenarios: { type: "string", default: "0" },
    primaries: { type: "string", default: "2" },
    replay: { type: "string" },
    keep: { type: "string", default: "." },
    "no-shrink": { type: "boolean", default: false },
  },
});

/** How long a scenario that differs is made smaller, in ms. */
const SHRINK_MS = 180_000;

const total = noCounts();
const differing: number[] = [];
/** Seeds of scenarios that came to no end: the harness's fault, or the machine's. */
const broken: number[] = [];

/** Runs one, and tells of it; gives what differs. */
async function run(scenario: Scenario): Promise<readonly Difference[]> {
  const beganMs = performance.now();
  const outcome = await runScenario(scenario).catch((error) => {
    console.log(`seed ${scenario.seed} BROKE DOWN: ${error.stack}`);
    broken.push(scenario.seed);
  });
  if (!outcome) return [];
  const { counts, differences, notes } = outcome;
  addCounts(total, counts);
  console.log(line(scenario.seed, counts, performance.now() - beganMs));
  for (const note of new Set(notes)) console.log(`  note: ${note}`);
  for (const { kind, event, text } of differences) {
    console.log(`  DIFFERS ${kind} at event ${event}: ${text}`);
  }
  return differences;
}

function line(seed: number, { cases, queries, refusals, transient, unverified }: Counts, ms: number): string {
  const rest = Object.entries({ refusals, transient, unverified }).filter(([, count]) => count > 0);
  return `seed ${seed}: ${cases} cases, ${queries} queries, ${(ms / 1000).toFixed(1)} s` +
    rest.map(([name, count]) => `, ${count} ${name}`).join("");
}

/** Keeps a scenario that differs, as it is and made smaller. */
async function keep(scenario: Scenario, { kind }: Difference): Promise<void> {
  const name = join(options.keep, `difference-${scenario.seed}`);
  await writeFile(`${name}.json`, JSON.stringify(scenario, null, 1));
  if (options["no-shrink"]) return;
  const differs = async (smaller: Scenario) =>
    (await runScenario(smaller)).differences.some((difference) => difference.kind === kind);
  const smaller = await shrinkScenario(scenario, differs, { timeMs: SHRINK_MS });
  await writeFile(`${name}-small.json`, JSON.stringify(smaller, null, 1));
  await writeFile(`${name}-small.txt`, scenarioText(smaller));
  console.log(scenarioText(smaller));
}

async function all(): Promise<void> {
  if (options.replay !== undefined) {
    const scenario = JSON.parse(await readFile(options.replay, "utf8"));
    if ((await run(scenario)).length > 0) differing.push(scenario.seed);
    return;
  }
  const scenarios = Number(options.scenarios);
  const size = { primaries: Number(options.primaries), readersEach: 3, writes: 8, settledReads: 120 };
  for (let seed = Number(options.seed);; seed++) {
    const scenario = drawScenario(seed, size);
    const differences = await run(scenario);
    if (differences.length > 0) {
      differing.push(seed);
      await keep(scenario, differences[0]!);
    }
    if (scenarios > 0 ? total.scenarios + broken.length >= scenarios : total.cases >= Number(options.cases)) {
      return;
    }
  }
}

// an exit, and not a mere end, stops what was started
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
const beganMs = performance.now();
await all();
console.log(JSON.stringify({ ...total, minutes: (performance.now() - beganMs) / 60_000, differing, broken }));
process.exit(differing.length + broken.length > 0 ? 1 : 0);
