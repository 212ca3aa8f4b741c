/**
 * A copy of the sources that may be changed and run: what bugs are put into.
 *
 * @module
 */
import { cpSync, existsSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT } from "./project.mjs";

const COPIED = [
  ...["src", "ffi", "tests", "scripts", "docs", "bench", "mod.ts", "cli.ts", "deno.json", "bunfig.toml"],
  ...["package.json", "package-lock.json", "README.md", "CHANGELOG.md", "LICENSE"],
];
const LINKED = ["node_modules", ".tools"];

/** A copy of the sources, what is installed linked into it, deleted after `use`. */
export async function withCopy(use) {
  const copy = mkdtempSync(join(tmpdir(), "sources-"));
  try {
    for (const name of COPIED.filter((name) => existsSync(join(ROOT, name)))) {
      cpSync(join(ROOT, name), join(copy, name), { recursive: true, preserveTimestamps: true });
    }
    for (const name of LINKED.filter((name) => existsSync(join(ROOT, name)))) {
      symlinkSync(join(ROOT, name), join(copy, name));
    }
    return await use(copy);
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}
