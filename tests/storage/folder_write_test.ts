import assert from "node:assert/strict";
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  rmdir,
  stat,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { ObjectExistsError, ReplicaClosedError, StorageError } from "../../src/errors.ts";
import { FolderStore } from "../../src/storage/folder.ts";
import { UnfinishedFile } from "../../src/storage/new_file.ts";
import { anyObject, type ListedObject } from "../../src/storage/object_store.ts";
import { openStore } from "../../src/storage/open_store.ts";
import { type FolderLocation, parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { patternBytes } from "../../src/contract/object_store_contract.ts";
import { testWritableStore } from "../../src/contract/writable_store_contract.ts";
import { outcome, spawnScript } from "../soak/soak_support.ts";
import { ChunkSource } from "../../src/contract/chunk_source.ts";

function locate(path: string): FolderLocation {
  return parseReplicaUrl(`file://${encodeURI(path)}`) as FolderLocation;
}

testWritableStore("FolderStore", async () => {
  const path = await mkdtemp(join(tmpdir(), "folder store "));
  const [store, other] = [await openStore(locate(path)), await openStore(locate(path))];
  return {
    store,
    other,
    close: async () => {
      await Promise.all([store.close(), other.close()]);
      await rm(path, { recursive: true });
    },
  };
});

async function withFolder(body: (path: string, store: FolderStore) => Promise<void>): Promise<void> {
  const path = await mkdtemp(join(tmpdir(), "folder store "));
  try {
    await body(path, new FolderStore(locate(path)));
  } finally {
    await rm(path, { recursive: true });
  }
}

async function listAll(store: FolderStore): Promise<ListedObject[]> {
  const objects: ListedObject[] = [];
  for await (const page of store.list("")) objects.push(...page);
  return objects;
}

test("FolderStore.put() gives a file the time of its transaction, to the millisecond", () =>
  withFolder(async (path, store) => {
    for (let ms = 1_795_227_356_000; ms < 1_795_227_357_000; ms += 7) {
      const { modifiedMs } = await store.put("ltx/0/k", patternBytes(5), { timestampMs: ms, replace: true });
      assert.equal(modifiedMs, ms);
      const { mtimeNs } = await stat(join(path, "ltx/0/k"), { bigint: true });
      const lateNs = Number(mtimeNs - BigInt(ms) * 1_000_000n);
      assert.ok(lateNs >= 0 && lateNs < 2_000, `${lateNs} ns behind`);
    }
    assert.equal((await listAll(store))[0]?.modifiedMs, 1_795_227_356_000 + 142 * 7);
  }));

test("FolderStore.put() makes folders, and leaves no temporary file whatever comes", () =>
  withFolder(async (path, store) => {
    await store.put("ltx/0/k", patternBytes(5));
    await assert.rejects(store.put("ltx/0/k", patternBytes(5, 1)), ObjectExistsError);
    await mkdir(join(path, "ltx/0/folder"));
    await assert.rejects(store.put("ltx/0/folder", patternBytes(5)), ObjectExistsError);
    await assert.rejects(store.put("ltx/0/folder", patternBytes(5), { replace: true }), StorageError);
    await assert.rejects(store.put("ltx/0/k/below", patternBytes(5)), { code: /ENOTDIR|EEXIST/ });
    assert.deepEqual((await readdir(join(path, "ltx/0"))).sort(), ["folder", "k"]);
  }));

test("FolderStore.put() of a bare store tells of equal bytes too: only a retrying one compares", () =>
  withFolder(async (_path, store) => {
    await store.put("k", patternBytes(5));
    await assert.rejects(store.put("k", patternBytes(5)), { name: "ObjectExistsError", code: "EEXIST" });
  }));

const MiB = 1024 * 1024;

test("FolderStore.putChunks() shows nothing of a file before it is whole, with the time it is given", () =>
  withFolder(async (path, store) => {
    const content = new Uint8Array(9 * MiB).fill(7);
    const seen: string[][] = [];
    const chunks = async function* () {
      for await (const chunk of new ChunkSource(content, [MiB]).chunks()) {
        seen.push((await listAll(store)).map(({ key }) => key));
        yield chunk;
      }
      assert.match((await readdir(join(path, "ltx/0"))).join(), /^k\.[0-9a-f-]{36}\.tmp$/);
    };
    const made = await store.putChunks("ltx/0/k", chunks, { timestampMs: 1_795_227_356_242 });
    assert.deepEqual(seen, Array(9).fill([]));
    assert.deepEqual(await listAll(store), [made]);
    assert.deepEqual([made.size, made.modifiedMs], [9 * MiB, 1_795_227_356_242]);
    assert.ok((await readFile(join(path, "ltx/0/k"))).equals(content));
    assert.deepEqual(await readdir(join(path, "ltx/0")), ["k"]);
  }));

test("FolderStore.putChunks() leaves no temporary file whatever comes", () =>
  withFolder(async (path, store) => {
    const content = new Uint8Array(9 * MiB).fill(7);
    await mkdir(join(path, "folder"));
    await writeFile(join(path, "k"), "theirs");
    const given = new ChunkSource(content, [MiB]);
    await assert.rejects(store.putChunks("k", given.chunks), { name: "ObjectExistsError", code: "EEXIST" });
    await assert.rejects(store.putChunks("folder", given.chunks, { replace: true }), StorageError);
    await assert.rejects(store.putChunks("k/below", given.chunks), { code: /ENOTDIR|EEXIST/ });
    await assert.rejects(store.putChunks("a.tmp", given.chunks), RangeError);
    await assert.rejects(store.putChunks("../x", given.chunks), RangeError);
    const controller = new AbortController();
    const hanging = async function* () {
      yield* given.chunks();
      controller.abort(new Error("enough"));
      await new Promise(() => {});
    };
    await assert.rejects(store.putChunks("l", hanging, { signal: controller.signal }), /enough/);
    assert.deepEqual((await readdir(path)).sort(), ["folder", "k"]);
    assert.equal(given.ended, given.begun);
  }));

test("FolderStore.close() removes what is unfinished", () =>
  withFolder(async (path) => {
    const store = await openStore(locate(path));
    let closed: Promise<void> | undefined;
    const closing = async function* () {
      yield* new ChunkSource(new Uint8Array(9 * MiB), [MiB]).chunks();
      assert.equal((await readdir(path)).length, 1);
      await (closed = store.close());
      yield new Uint8Array(MiB);
    };
    await assert.rejects(store.putChunks("k", closing), ReplicaClosedError);
    await closed;
    assert.deepEqual(await readdir(path), []);
  }));

test("an UnfinishedFile that could not be finished can be finished again", () =>
  withFolder(async (path) => {
    const [place, options] = [join(path, "a/b/k"), { replace: false, timestampMs: undefined }];
    const file = await UnfinishedFile.begin(place);
    await Promise.all([file.write(patternBytes(5), 5), file.write(patternBytes(5, 1), 0)]);
    await mkdir(place);
    await assert.rejects(file.finish(options), { code: "EEXIST" });
    await rmdir(place);
    await file.finish(options);
    await file.finish(options);
    await Promise.all([file.drop(), file.drop()]);
    assert.deepEqual([...await readFile(place)], [...patternBytes(5, 1), ...patternBytes(5)]);
    assert.deepEqual(await readdir(join(path, "a/b")), ["k"]);
  }));

test("an UnfinishedFile does one thing after the other", () =>
  withFolder(async (path) => {
    const content = new Uint8Array(32 * MiB).fill(7);
    const file = await UnfinishedFile.begin(join(path, "k"));
    const options = { replace: false, timestampMs: undefined };
    await Promise.all([
      file.write(content, 0),
      file.finish(options),
      file.finish(options),
      file.drop(),
    ]);
    assert.ok((await readFile(join(path, "k"))).equals(content));
  }));

test("putChunks() of 300 MB to a folder, and its comparison, take little memory", () =>
  withFolder(async (path) => {
    const { how, printed } = await outcome(
      spawnScript("../storage/large_put_child.ts", [`file://${encodeURI(path)}`]),
      120_000,
    );
    assert.equal(how, "0", printed);
    const { sizes, grownMiB } = JSON.parse(printed);
    assert.deepEqual(sizes, [300 * MiB, 300 * MiB]);
    assert.ok(grownMiB < 200, `${grownMiB} MiB grown`);
  }));

test("FolderStore refuses to write outside its folder, and names that it does not list", () =>
  withFolder(async (path, store) => {
    for (const key of ["../x", "a/../../x", "/etc/x", "a//b", "./a", "a\\..\\b", "a\0b", "", "a.tmp"]) {
      await assert.rejects(store.put(key, patternBytes(1)), RangeError, key);
    }
    await writeFile(join(path, "k"), "x");
    await assert.rejects(store.remove(["k", "../x"]), RangeError);
    assert.deepEqual((await listAll(store)).map(({ key }) => key), ["k"]);
  }));

test("FolderStore.put() replaces a symbolic link, not what it leads to", () =>
  withFolder(async (path, store) => {
    await writeFile(join(path, "target"), "kept");
    await symlink(join(path, "target"), join(path, "k"));
    await assert.rejects(store.put("k", patternBytes(5)), ObjectExistsError);
    await store.put("k", patternBytes(5), { replace: true });
    assert.equal((await stat(join(path, "target"))).size, 4);
    await store.remove(["k"]);
    assert.deepEqual((await listAll(store)).map(({ key }) => key), ["target"]);
  }));

test("a reader of FolderStore sees each replacement whole", () =>
  withFolder(async (_path, store) => {
    const size = 200_000;
    await store.put("k", new Uint8Array(size));
    let isOver = false;
    const writing = (async () => {
      for (let i = 1; i <= 60; i++) await store.put("k", new Uint8Array(size).fill(i), { replace: true });
      isOver = true;
    })();
    let last = 0;
    while (!isOver) {
      const { bytes } = await store.read(anyObject("k"), { offset: 0, size });
      assert.deepEqual(bytes, new Uint8Array(size).fill(bytes[0]!));
      assert.ok(bytes[0]! >= last, `${bytes[0]} after ${last}`);
      last = bytes[0]!;
    }
    await writing;
  }));

test("FolderStore.remove() tells each file that it could not remove, and removes the others", () =>
  withFolder(async (path, store) => {
    for (const key of ["a", "b", "c"]) await store.put(key, patternBytes(1));
    await mkdir(join(path, "folder"));
    await assert.rejects(store.remove(["a", "folder", "b", "none"]), (error) => {
      assert.ok(error instanceof StorageError);
      assert.match(error.message, /^Cannot remove 1 of 4 objects from /);
      assert.ok(error.cause instanceof AggregateError);
      assert.deepEqual(error.cause.errors.map(({ key }) => key), ["folder"]);
      return true;
    });
    assert.deepEqual((await listAll(store)).map(({ key }) => key), ["c"]);
  }));

test("FolderStore keeps an object's identity while others are written beside it", () =>
  withFolder(async (path, store) => {
    const made = await store.put("k", patternBytes(5));
    await store.put("l", patternBytes(5));
    await store.read(made, { offset: 0, size: 5 });
    await utimes(join(path, "k"), new Date(0), new Date(0));
    await assert.rejects(store.read(made, { offset: 0, size: 5 }), { name: "ObjectGoneError" });
  }));

test(
  "FolderStore tells a folder that cannot be written to",
  { skip: process.getuid?.() === 0 },
  () =>
    withFolder(async (path, store) => {
      await chmod(path, 0o500);
      await assert.rejects(store.put("k", patternBytes(1)), { name: "StorageError", code: "EACCES" });
      await chmod(path, 0o700);
    }),
);
