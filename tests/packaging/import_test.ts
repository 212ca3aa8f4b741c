/** Importing the package does nothing: it reads, opens, starts and asks for nothing. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT } from "../support/packages.ts";
import { BUN, DENO, urlOf, UserProject } from "./user_project.ts";

const IS_BUN = "Bun" in globalThis;
const DENIED = ["read", "write", "net", "env", "sys", "run", "ffi"].map((name) => `--deny-${name}`);
const ENTRIES = ["mod.ts", "src/contract/storage_contract.ts", "src/storage/http/folder_index.ts"];

/** What a process has open, and how many threads it has, before and after; variables that were read meanwhile. */
const WATCHED = `
import { readdirSync, readlinkSync, readFileSync } from "node:fs";
const state = () => ({
  open: readdirSync("/proc/self/fd").map((fd) => { try { return readlinkSync("/proc/self/fd/" + fd); } catch { return ""; } })
    .filter((path) => path.startsWith("/") && !path.startsWith("/proc/")).sort(),
  shims: readFileSync("/proc/self/maps", "utf8").includes("litestream_vfs"),
  listeners: process.eventNames().length,
});
const before = state();
const read = [];
const env = process.env;
process.env = new Proxy(env, { get: (_, name) => (read.push(String(name)), env[name]), ownKeys: (of) => (read.push("all"), Reflect.ownKeys(of)) });
for (const entry of process.argv.slice(2)) await import(entry);
process.env = env;
console.log(JSON.stringify({ before, after: state(), read }));
`;

test("importing needs no permission, and changes nothing that can be seen", () =>
  UserProject.with(async (project) => {
    const entries = ENTRIES.map((path) => urlOf(join(ROOT, path)));
    if (!IS_BUN) {
      const source = entries.map((url) => `import * as m from "${url}"; console.log(Object.keys(m).length);`);
      for (const [i, text] of source.entries()) {
        await writeFile(join(project.folder, `entry${i}.ts`), text);
        const words = await project.must(DENO, [
          "run",
          "--no-check",
          "--no-prompt",
          ...DENIED,
          `entry${i}.ts`,
        ]);
        assert.ok(Number(words) > 0, words);
      }
      return;
    }
    await writeFile(join(project.folder, "watched.mjs"), WATCHED);
    const others = entries.filter((url) => !url.includes("contract")); // that one imports a test runner, which looks at some
    const { before, after, read } = JSON.parse(await project.must(BUN, ["watched.mjs", ...others]));
    assert.deepEqual(after, before);
    assert.deepEqual(read, []);
  }));
