/**
 * Shows what the package does: `npm run demo`.
 *
 * Makes a small replica in a temporary folder; then, in Deno and in Bun, queries it, follows a writer, lets that do
 * damage, looks back to before, and checks every result against the database itself; brings it to a local file; then writes to a replica, kills the
 * writer, and reads what it wrote in the other runtime. Needs node, npm and a C compiler; scripts/setup.mjs gets the rest.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildShim } from "./build_shim.mjs";
import { BUN, DENO, ROOT, TOOLS } from "./project.mjs";
import { setup } from "./setup.mjs";

const ENV = { DENO_NO_UPDATE_CHECK: "1", DENO_NO_PROMPT: "1" };
// Deno needs a place for its cache.
if (!process.env.HOME) ENV.DENO_DIR = join(TOOLS, "deno");

function show(command, ...args) {
  const { status } = spawnSync(command, args, {
    cwd: ROOT,
    env: { ...process.env, ...ENV },
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) throw new Error(`Cannot finish the demo: ${args.join(" ")} exited with ${status}`);
}

async function main(folder) {
  await setup("demo");
  const { path, built } = await buildShim();
  if (built) console.error(`setup: compiled ${path.slice(ROOT.length + 1)}`);
  const started = performance.now();
  show(DENO, "run", "-A", "scripts/demo_replica.ts", folder);
  const copy = `${folder}-copy`; // the writer goes on, and each runtime has one of its own
  cpSync(folder, copy, { recursive: true });
  try {
    show(DENO, "run", "-A", "scripts/demo.ts", folder);
    show(BUN, "scripts/demo.ts", copy);
    show(DENO, "run", "-A", "scripts/demo_local.ts", folder);
    show(BUN, "scripts/demo_local.ts", copy);
    show(DENO, "run", "-A", "scripts/demo_write.ts", "show", folder);
    show(BUN, "scripts/demo_write.ts", "read", folder);
    show(BUN, "scripts/demo_write.ts", "show", copy);
    show(DENO, "run", "-A", "scripts/demo_write.ts", "read", copy);
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
  console.log(
    `All results are right, in both runtimes (${((performance.now() - started) / 1000).toFixed(1)} s).`,
  );
}

process.on("SIGINT", () => {}); // the runtimes get it too and end; then the folder is deleted below
const folder = mkdtempSync(join(tmpdir(), "sandwiches-"));
try {
  await main(folder);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
