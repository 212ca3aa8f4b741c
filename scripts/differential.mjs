/**
 * The long form of the differential tests: both runtimes compare what they read with what `litestream restore` makes.
 *
 *   node scripts/differential.mjs --cases 5000 --seed 1        so many cases in all, half in each runtime
 *   node scripts/differential.mjs --runtime deno --cases 500   in one of them
 *
 * `--primaries`, `--keep` and `--no-shrink` go to `tests/differential/differential_run.ts`, which says what they are. The
 * runtimes draw different seeds: Deno's begin 500,000 higher. Ends with 1 where something differs.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import process from "node:process";
import { parseArgs } from "node:util";
import { BUN, DENO, ROOT } from "./project.mjs";

const { values: options } = parseArgs({
  options: {
    cases: { type: "string", default: "5000" },
    seed: { type: "string", default: String(Date.now() % 2 ** 30) },
    runtime: { type: "string" },
    primaries: { type: "string" },
    keep: { type: "string" },
    "no-shrink": { type: "boolean" },
  },
});
const passedOn = ["primaries", "keep", "no-shrink"].filter((name) => options[name] !== undefined)
  .flatMap((name) => options[name] === true ? [`--${name}`] : [`--${name}`, options[name]]);
const RUNTIMES = {
  bun: { command: BUN, args: [], firstSeed: Number(options.seed) },
  deno: { command: DENO, args: ["run", "-A", "--no-check"], firstSeed: Number(options.seed) + 500_000 },
};
const RUN = "tests/differential/differential_run.ts";

/** Runs one runtime; gives its counts, or none where it broke down. */
async function run(name, cases) {
  const { command, args, firstSeed } = RUNTIMES[name];
  const own = ["--cases", String(cases), "--seed", String(firstSeed)];
  const child = spawn(command, [...args, RUN, ...own, ...passedOn], {
    cwd: ROOT,
    detached: true, // a process group of its own, which ends as a whole: npm's deno is a process around Deno
    stdio: ["ignore", "pipe", "inherit"],
  });
  const end = () => process.kill(-child.pid, "SIGTERM");
  process.once("exit", end);
  let last = "";
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith("{")) console.log(`${name}: ${line}`);
    last = line;
  }
  process.off("exit", end);
  return last.startsWith("{") ? JSON.parse(last) : undefined;
}

/** Adds up numbers by name, below `settings` too. */
function add(sum, more) {
  for (const [name, value] of Object.entries(more)) {
    if (typeof value === "number") sum[name] = (sum[name] ?? 0) + value;
    else if (Array.isArray(value)) sum[name] = [...sum[name] ?? [], ...value];
    else add(sum[name] ??= {}, value);
  }
  return sum;
}

function print({ settings = {}, differing, broken, minutes, ...counts }) {
  const lines = Object.entries(counts).map(([name, count]) => `| ${name} | ${count} |`);
  const bySetting = Object.entries(settings).sort(([a], [b]) => a < b ? -1 : 1);
  console.log(["| what | count |", "| --- | --- |", ...lines].join("\n"));
  console.log(`| minutes, both runtimes together | ${minutes.toFixed(1)} |`);
  console.log(`| seeds that differ | ${differing.join(", ") || "none"} |`);
  console.log(`| seeds that broke down | ${broken.join(", ") || "none"} |\n`);
  console.log(
    ["| cases by setting | |", "| --- | --- |", ...bySetting.map(([name, n]) => `| ${name} | ${n} |`)].join(
      "\n",
    ),
  );
}

for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
const names = options.runtime ? [options.runtime] : Object.keys(RUNTIMES);
console.log(`seed ${options.seed}`);
const results = await Promise.all(
  names.map((name) => run(name, Math.ceil(Number(options.cases) / names.length))),
);
const whole = results.filter((result) => result !== undefined);
if (whole.length > 0) print(whole.reduce(add, {}));
if (whole.length < names.length) console.log("a runtime has broken down");
process.exit(
  whole.length < names.length || whole.some(({ differing, broken }) => differing.length + broken.length > 0)
    ? 1
    : 0,
);
