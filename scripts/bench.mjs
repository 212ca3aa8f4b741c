/**
 * Runs one bench, with what it needs installed: `npm run bench -- open 5`.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { buildShim } from "./build_shim.mjs";
import { BUN, ROOT } from "./project.mjs";
import { setup } from "./setup.mjs";

const names = readdirSync(join(ROOT, "bench")).filter((name) => name.endsWith(".ts")).map((name) =>
  basename(name, ".ts")
);
const [name, ...rest] = process.argv.slice(2);
if (!names.includes(name)) {
  console.error(`Cannot run bench ${name ?? ""}: expected ${names.join(" or ")}`);
  process.exit(2);
}
await setup("demo");
await buildShim();
process.exit(spawnSync(BUN, [join(ROOT, "bench", `${name}.ts`), ...rest], { stdio: "inherit" }).status ?? 1);
