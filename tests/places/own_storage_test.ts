import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { type OpenOptions, openReplica } from "../../mod.ts";
import { testStorage } from "../../src/contract/storage_contract.ts";
import { testPlace } from "../support/place_suite.ts";
import { withFolder } from "../support/real.ts";
import makeStorage from "./own_storage.ts";

const env = {};

testStorage("a user's storage", async () => {
  const folder = await mkdtemp(join(tmpdir(), "own-"));
  const given = { url: `own:${folder}`, options: undefined, env };
  return {
    storage: makeStorage(given),
    other: makeStorage(given),
    close: () => rm(folder, { recursive: true }),
  };
}, { listedCount: 300, removedCount: 300 });

testPlace("a user's storage", async () => {
  const folder = await mkdtemp(join(tmpdir(), "own-"));
  return {
    place: (name) => ({
      url: `own:${folder}/${name}`,
      options: { storage: { module: new URL("./own_storage.ts", import.meta.url) } },
      replica: { url: pathToFileURL(join(folder, name)).href },
    }),
    close: () => rm(folder, { recursive: true }),
  };
}, { writes: true, parts: {} });

const module = new URL("./own_storage.ts", import.meta.url);

async function refusal(options: OpenOptions): Promise<Error> {
  const opening = openReplica(options).then((replica) => replica.close());
  return await opening.then(() => assert.fail("it was opened"), (error) => error);
}

test("openReplica() does not write where nothing is put on condition, unless it is told to", () =>
  withFolder(async (folder) => {
    const storage = { module, name: "mine", options: { conditionalPut: false } };
    const options = { storage, write: true, bufferPath: join(folder, "log") };
    const { name, message } = await refusal(options);
    assert.equal(name, "StorageError");
    assert.match(
      message,
      /^Cannot write to mine: nothing there keeps .*, expected reading only, or option allow/,
    );
    const leased = { ...options, storage: { module, name: "mine" }, lease: true };
    assert.match(
      (await refusal(leased)).message,
      /a lease cannot be kept there, .*, expected no option lease$/,
    );
    const read = {
      ...options,
      allowUnconditional: true,
      storage: { module, name: "mine", export: "makeReader" },
    };
    assert.match(
      (await refusal(read)).message,
      /^Cannot write to mine: it can only be read, expected no option write$/,
    );
    await using replica = await openReplica(`own:${folder}/db`, { ...options, allowUnconditional: true });
    const db = replica.connect();
    db.exec("CREATE TABLE t(a)");
    await replica.sync();
    db.close();
  }));

test("openReplica() tells what is wrong with a storage", async () => {
  const wrong: [storage: OpenOptions["storage"], words: RegExp][] = [
    [{ module, export: "makeNothing" }, /lacks traits\.conditionalPut, list\(\), expected a Storage$/],
    [
      { module, export: "none" },
      /has no export "none", expected one of its own \(it exports "default", "makeNothing", "makeReader"\)/,
    ],
    [{ module: new URL("./absent.ts", import.meta.url) }, /cannot be loaded: .*, expected a module$/s],
  ];
  for (const [storage, words] of wrong) {
    const error = await refusal({ storage: storage! });
    assert.equal(error.name, "TypeError");
    assert.match(error.message, words);
  }
});

const hostile = new URL("./hostile_storage.ts", import.meta.url);
const ends: [
  name: string,
  options: { hangs?: string; fails?: string; silent?: string },
  isWritten: boolean,
  name: string,
][] = [
  ["is never made", { hangs: "make" }, false, "DeadlineError"],
  ["lists nothing", { hangs: "list" }, false, "DeadlineError"],
  ["takes nothing", { hangs: "put" }, true, "DeadlineError"],
  ["refuses", { fails: "put" }, true, "StorageError"],
  ["fails with an error that has no message", { silent: "list" }, false, "StorageError"],
  ["is empty and cannot be closed", { hangs: "close" }, false, "RestorePlanError"],
  ["is empty and fails to close", { fails: "close" }, false, "RestorePlanError"],
];
for (const [what, options, write, name] of ends) {
  test(`openReplica() comes to its end where a storage ${what}`, () =>
    withFolder(async (folder) => {
      const storage = { module: hostile, name: "hostile", options };
      const openTimeoutMs = name === "DeadlineError" ? 500 : 20_000; // the others come to their end by themselves
      const given = { storage, write, openTimeoutMs, bufferPath: join(folder, "log") };
      const error = await refusal(given);
      assert.equal(error.name, name, error.message);
      assert.match(error.message, /hostile/);
    }));
}

test(
  "openReplica() closes a storage that it does not go on with",
  { skip: process.platform === "win32" },
  () =>
    withFolder(async (folder) => {
      await mkdir(join(folder, "everybody's"));
      await chmod(join(folder, "everybody's"), 0o777); // Windows has no such folders
      const refused = [{ cacheDir: join(folder, "everybody's") }, { write: true, lease: true }];
      for (const [i, options] of refused.entries()) {
        const log = join(folder, `log-${i}`);
        await refusal({ storage: { module: hostile, options: { log } }, ...options });
        assert.deepEqual((await readFile(log, "utf8")).trim().split(" "), ["make", "close"]);
      }
    }),
);

test("openReplica() keeps what it has on disk of two places apart that differ in their options only", () =>
  withFolder(async (folder) => {
    for (const name of ["a", "b"]) {
      const url = pathToFileURL(join(folder, name)).href;
      await using writer = await openReplica(url, { write: true, bufferPath: join(folder, `${name}-log`) });
      const db = writer.connect();
      db.exec("CREATE TABLE t(a)");
      db.close();
    }
    const cacheDir = join(folder, "cache");
    const states = async () =>
      (await readdir(cacheDir, { recursive: true })).filter((name) => name.endsWith(".json"));
    for (const [name, count] of [["a", 1], ["a", 1], ["b", 2]] as const) {
      const storage = { module, options: { folder: join(folder, name) } };
      await using replica = await openReplica({ storage, cacheDir, offline: "serve-stale" });
      await replica.close();
      assert.equal((await states()).length, count, name);
    }
  }));
