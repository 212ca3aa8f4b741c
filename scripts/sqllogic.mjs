/**
 * Scripts of SQL over replicas and over write mode, at full length, in both runtimes one after the other:
 *
 *   node scripts/sqllogic.mjs [options of tests/sqllogic/run.ts]
 *
 * The seed is the same in both; it is printed, and `--seed N` sets it.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { buildShim } from "./build_shim.mjs";
import { BUN, DENO, ROOT } from "./project.mjs";

const RUN = join(ROOT, "tests", "sqllogic", "run.ts");
const RUNTIMES = [[BUN, [RUN]], [DENO, ["run", "-A", "--no-check", RUN]]];

await buildShim();
const broken = RUNTIMES.filter(([program, args]) => {
  const { status } = spawnSync(program, [...args, ...process.argv.slice(2)], { cwd: ROOT, stdio: "inherit" });
  return status !== 0;
});
process.exitCode = broken.length > 0 ? 1 : 0;
