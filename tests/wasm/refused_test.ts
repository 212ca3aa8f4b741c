/** Where native code cannot be had, a replica is read all the same: the process is told so once, and writes nothing. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { IS_BUN, tableSql } from "../replica/drivers.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** What the child prints. */
interface Met {
  readonly rows?: unknown;
  readonly kind?: string;
  readonly writing?: string;
  readonly error?: string;
  readonly told: readonly { readonly level: string; readonly message: string }[];
}

/** Runs the child of a checkout under some permissions, for a replica of 500 rows. */
function run(permissions: readonly string[], args: readonly string[], root = ROOT): Promise<Met> {
  let met: Met | undefined;
  return withReplicaFolder({}, (folder) => {
    folder.record(tableSql(500));
    folder.snapshot();
    const flags = IS_BUN ? [] : ["run", "--no-check", "--no-prompt", ...permissions];
    const child = join(root, "tests", "wasm", "refused_child.ts");
    const environment = { ...process.env, LITESTREAM_VFS_SQLITE: "", LITESTREAM_VFS_SHIM: "", NO_COLOR: "1" };
    const { stdout, stderr } = spawnSync(process.execPath, [...flags, child, folder.url, ...args], {
      cwd: root,
      env: environment,
      encoding: "utf8",
    });
    assert.equal(stderr, "");
    met = JSON.parse(stdout);
    return Promise.resolve();
  }).then(() => met!);
}

/** Asserts that all was read in WASM, for this reason, and that nothing could be written. */
function assertRead(met: Met, reason: RegExp): void {
  assert.deepEqual(met.rows, [{ n: 500, a: 2512695 }], met.error);
  assert.equal(met.kind, "Database");
  assert.deepEqual(met.told.map(({ level }) => level), ["warn"], JSON.stringify(met.told));
  assert.match(met.told[0]!.message, /WASM, read-only/);
  assert.match(met.told[0]!.message, reason);
  assert.match(
    met.writing!,
    /^ReplicaError: Cannot open replica: the replica is to be written, expected native code/,
  );
  assert.match(met.writing!, reason);
}

/** No flag of these lets a process load native code, or all of what an extension needs. */
const REFUSALS: readonly [string, readonly string[], RegExp][] = [
  ["nothing said of it", ["--allow-read", "--allow-env"], /Requires ffi access/],
  ["all permissions but this", ["-A", "--deny-ffi"], /may not load native code/],
  [
    "the shim's file alone",
    ["--allow-read", "--allow-env", "--allow-ffi=/"],
    /into node:sqlite: Requires ffi access/,
  ],
];

if (!IS_BUN) { // Bun has no permissions
  for (const [name, permissions, reason] of REFUSALS) {
    test(`without --allow-ffi (${name}) SQLite runs in WASM`, async () => {
      assertRead(await run(permissions, []), reason);
    });
  }

  test('without --allow-ffi sqlite: "native" fails with words, and "wasm" says nothing', async () => {
    const permissions = ["--allow-read", "--allow-env"];
    assert.match((await run(permissions, ["native"])).error!, /^ShimError: Cannot load shim .*ffi access/);
    const { rows, told, error } = await run(permissions, ["wasm"]);
    assert.deepEqual([rows, told, error], [[{ n: 500, a: 2512695 }], [], undefined]);
  });
}

test("with permission SQLite is the runtime's own", async () => {
  const { rows, kind, told, error } = await run(["-A"], []);
  assert.deepEqual([rows, told, error], [[{ n: 500, a: 2512695 }], [], undefined]);
  assert.equal(kind, IS_BUN ? "Database" : "DatabaseSync");
});

test("where there is no shim for the machine, or it may not be unpacked, SQLite runs in WASM", async () => {
  const root = mkdtempSync(join(tmpdir(), "no-shim-"));
  try {
    for (const name of ["src", "ffi", "tests/wasm", "mod.ts", "deno.json", "package.json"]) {
      const filter = (path: string) => path !== join(ROOT, "ffi", "build"); // what this machine has compiled
      cpSync(join(ROOT, name), join(root, name), { recursive: true, filter });
    }
    symlinkSync(join(ROOT, "node_modules"), join(root, "node_modules"));
    assertRead(await run(["-A"], ["auto", "riscv64"], root), /there is none for \w+ on riscv64/);
    if (!IS_BUN) assertRead(await run(["--allow-read", "--allow-env"], [], root), /shim/);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
