/**
 * Chaos at length, in both runtimes, one after the other:
 *
 *   npm run chaos -- --faults 10000
 *
 * What it takes besides, and what it prints: `tests/chaos/chaos_run.ts`. Each runtime is told to have half of the faults
 * happen, so that there are as many as asked for in all.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BUN, DENO, ROOT } from "./project.mjs";

const SCRIPT = join(ROOT, "tests", "chaos", "chaos_run.ts");
const { values, tokens } = parseArgs({
  options: { faults: { type: "string", default: "10000" } },
  strict: false,
  tokens: true,
});
const others = tokens.filter(({ name }) => name !== "faults")
  .map(({ rawName, value, inlineValue, kind }) =>
    kind === "option" ? (inlineValue ? [`${rawName}=${value}`] : [rawName, value]) : [value]
  ).flat().filter((each) => each !== undefined);
const args = ["--faults", String(Math.ceil(Number(values.faults) / 2)), ...others];

let code = 0;
for (const [program, before] of [[BUN, []], [DENO, ["run", "-A", "--no-check"]]]) {
  code ||= await run(program, [...before, SCRIPT, ...args]);
}
process.exit(code);

/** Runs a command with our own streams; gives its exit code. */
function run(program, args) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: "inherit" });
    child.on("close", (code) => resolve(code ?? 1));
  });
}
