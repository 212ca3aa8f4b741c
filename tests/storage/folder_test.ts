import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { ObjectGoneError, StorageError } from "../../src/errors.ts";
import { FolderStore } from "../../src/storage/folder.ts";
import { anyObject, type ObjectStore } from "../../src/storage/object_store.ts";
import { openStore } from "../../src/storage/open_store.ts";
import { type FolderLocation, parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { patternBytes, testObjectStore } from "../../src/contract/object_store_contract.ts";

async function makeFolder(): Promise<{ path: string; location: FolderLocation }> {
  const path = await mkdtemp(join(tmpdir(), "folder store "));
  const location = parseReplicaUrl(`file://${encodeURI(path)}`);
  assert.equal(location.scheme, "file");
  return { path, location: location as FolderLocation };
}

/** As Litestream writes: a temporary file, renamed. */
async function putFile(path: string, key: string, bytes: Uint8Array): Promise<void> {
  const file = join(path, key);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(`${file}.tmp`, bytes);
  await rename(`${file}.tmp`, file);
}

testObjectStore("FolderStore", async () => {
  const { path, location } = await makeFolder();
  const store = await openStore(location);
  return {
    store,
    put: (key, bytes) => putFile(path, key, bytes),
    remove: (key) => rm(join(path, key)),
    close: async () => {
      await store.close();
      await rm(path, { recursive: true });
    },
  };
});

async function withFolder(body: (path: string, store: ObjectStore) => Promise<void>): Promise<void> {
  const { path, location } = await makeFolder();
  try {
    await body(path, new FolderStore(location));
  } finally {
    await rm(path, { recursive: true });
  }
}

async function keysOf(store: ObjectStore, prefix = ""): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of store.list(prefix)) keys.push(...page.map(({ key }) => key));
  return keys;
}

test("FolderStore.list() leaves temporary files out", () =>
  withFolder(async (path, store) => {
    await putFile(path, "ltx/0/a", patternBytes(1));
    await writeFile(join(path, "ltx/0/b.tmp"), "half");
    assert.deepEqual(await keysOf(store), ["ltx/0/a"]);
  }));

test("FolderStore.list() tells that it goes on while it looks at many files", () =>
  withFolder(async (folder, store) => {
    for (let i = 0; i < 100; i++) await writeFile(join(folder, `${i}.ltx`), "x");
    let told = 0;
    const pages: number[] = [];
    for await (const page of store.list("", { onProgress: () => void told++ })) pages.push(page.length);
    assert.deepEqual(pages, [100]);
    assert.ok(told >= 3, `told ${told} times`);
  }));

test("FolderStore follows symbolic links and leaves dangling ones out", () =>
  withFolder(async (path, store) => {
    await putFile(path, "elsewhere/a", patternBytes(7));
    await mkdir(join(path, "ltx"));
    await symlink(join(path, "elsewhere"), join(path, "ltx/0"));
    await symlink(join(path, "elsewhere/a"), join(path, "ltx/linked"));
    await symlink(join(path, "nowhere"), join(path, "ltx/dangling"));
    assert.deepEqual(await keysOf(store, "ltx/"), ["ltx/0/a", "ltx/linked"]);
    assert.equal((await store.read(anyObject("ltx/0/a"), { offset: 0, size: 7 })).objectSize, 7);
  }));

test("FolderStore.list() ends in a loop of links with an error", () =>
  withFolder(async (path, store) => {
    await symlink(path, join(path, "loop"));
    await assert.rejects(keysOf(store), { code: "ELOOP" });
  }));

test("FolderStore refuses keys that leave the folder", () =>
  withFolder(async (_path, store) => {
    for (const key of ["../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a\\..\\b", "a\0b", ""]) {
      await assert.rejects(store.read(anyObject(key), { offset: 0, size: 1 }), RangeError, key);
    }
    await assert.rejects(keysOf(store, "../"), RangeError);
  }));

test("FolderStore.read() of a folder's name is ObjectGoneError", () =>
  withFolder(async (path, store) => {
    await mkdir(join(path, "ltx"));
    await assert.rejects(store.read(anyObject("ltx"), { offset: 0, size: 1 }), ObjectGoneError);
    await putFile(path, "file", patternBytes(1));
    await assert.rejects(store.read(anyObject("file/x"), { offset: 0, size: 1 }), ObjectGoneError);
  }));

test("FolderStore.read() sees a file rewritten in place", () =>
  withFolder(async (path, store) => {
    await writeFile(join(path, "k"), patternBytes(10));
    const first = await store.read(anyObject("k"), { offset: 0, size: 10 });
    await writeFile(join(path, "k"), patternBytes(11));
    const of = { key: "k", etag: first.etag, size: 10 };
    await assert.rejects(store.read(of, { offset: 0, size: 10 }), ObjectGoneError);
  }));

test("FolderStore on a file is StorageError, on an absent folder an empty listing", () =>
  withFolder(async (path) => {
    await writeFile(join(path, "file"), "x");
    const at = (name: string) =>
      new FolderStore(parseReplicaUrl(`file://${encodeURI(path)}/${name}`) as FolderLocation);
    await assert.rejects(keysOf(at("file")), { name: "StorageError", code: "ENOTDIR" });
    assert.deepEqual(await keysOf(at("absent")), []);
  }));

test(
  "FolderStore tells a refused permission",
  { skip: process.getuid?.() === 0 },
  () =>
    withFolder(async (path, store) => {
      await putFile(path, "ltx/0/a", patternBytes(1));
      await chmod(join(path, "ltx/0/a"), 0);
      await assert.rejects(store.read(anyObject("ltx/0/a"), { offset: 0, size: 1 }), StorageError);
      await chmod(join(path, "ltx/0"), 0);
      await assert.rejects(keysOf(store, "ltx/0/"), StorageError);
      await chmod(join(path, "ltx/0"), 0o700);
    }),
);
