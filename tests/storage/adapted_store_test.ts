import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { ObjectExistsError, ObjectGoneError, StorageError } from "../../src/errors.ts";
import { patternBytes } from "../../src/contract/object_store_contract.ts";
import { hasTooManyItems, ITEMS_MAX } from "../../src/storage/listing_bound.ts";
import { AdaptedStore } from "../../src/storage/adapted_store.ts";
import { anyObject, type ListedObject } from "../../src/storage/object_store.ts";
import { RetryingStore } from "../../src/storage/retrying_store.ts";
import type { Storage, StoredObject } from "../../src/storage/storage.ts";

const KEY = "ltx/0/a";
const OBJECT: StoredObject = { key: KEY, size: 10, etag: "x", modifiedMs: 1 };
const RANGE = { offset: 2, size: 3 };
const RANGE_BYTES = patternBytes(3);

/** A place that answers as it should, but for what is said. */
function storage(own: Partial<Storage> = {}): Storage {
  return {
    traits: { conditionalPut: true },
    list: () => pagesOf([OBJECT]),
    read: (_key, { offset, size }) =>
      Promise.resolve({ bytes: patternBytes(10).slice(offset, offset + size), etag: "x", objectSize: 10 }),
    ...own,
  };
}

async function* pagesOf(...pages: StoredObject[][]): AsyncGenerator<StoredObject[]> {
  yield* pages;
}

function store(own: Partial<Storage> = {}, prefix = ""): AdaptedStore {
  return new AdaptedStore("own://place", storage(own), prefix);
}

async function listed(given: AdaptedStore, prefix = "ltx/0/", after?: string): Promise<ListedObject[]> {
  const objects: ListedObject[] = [];
  for await (const page of given.list(prefix, after === undefined ? {} : { after })) objects.push(...page);
  return objects;
}

async function errorOf(promise: Promise<unknown>): Promise<StorageError> {
  const error = await promise.then(() => undefined, (error) => error);
  assert.ok(error instanceof StorageError, String(error));
  return error;
}

const listings: [name: string, object: Partial<StoredObject>, words: RegExp][] = [
  [
    "a key of another folder",
    { key: "ltx/1/a" },
    /key "ltx\/1\/a", expected keys that begin with "ltx\/0\/"$/,
  ],
  ["a negative size", { size: -1 }, /with size -1/],
  ["a size that is no number", { size: undefined as unknown as number }, /with size undefined/],
  ["no ETag", { etag: "" }, /ETag ""/],
  ["no time", { modifiedMs: NaN }, /time NaN, expected a size, an ETag and a time/],
];
for (const [name, object, words] of listings) {
  test(`AdaptedStore refuses a listing with ${name}`, async () => {
    const error = await errorOf(listed(store({ list: () => pagesOf([{ ...OBJECT, ...object }]) })));
    assert.match(error.message, words);
    assert.deepEqual([error.code, error.retryable], ["WrongAnswer", false]);
  });
}

test("AdaptedStore refuses listings out of order where they are said to be in order", async () => {
  const pages = () => pagesOf([{ ...OBJECT, key: "ltx/0/b" }], [OBJECT]);
  assert.match((await errorOf(listed(store({ list: pages })))).message, /"ltx\/0\/a" after "ltx\/0\/b"/);
  const traits = { conditionalPut: true, listsInOrder: false };
  const sorted = await listed(store({ list: pages, traits }));
  assert.deepEqual(sorted.map(({ key }) => key), ["ltx/0/a", "ltx/0/b"]);
  assert.deepEqual((await listed(store({ list: pages, traits }), "ltx/0/", "ltx/0/a")).length, 1);
});

test("AdaptedStore drops what a place lists although it sorts before", async () => {
  const pages = () => pagesOf([OBJECT, { ...OBJECT, key: "ltx/0/b" }]);
  assert.deepEqual((await listed(store({ list: pages }), "ltx/0/", KEY)).map(({ key }) => key), ["ltx/0/b"]);
});

test("AdaptedStore takes its prefix from keys, and puts it before them", async () => {
  const asked: string[] = [];
  const given = store({
    list: (prefix, { after = "" }) => {
      asked.push(`list ${prefix} ${after}`);
      return pagesOf([{ ...OBJECT, key: `db/${KEY}` }]);
    },
    read: (key, { offset, size }) => {
      asked.push(`read ${key}`);
      return Promise.resolve({
        bytes: patternBytes(10).slice(offset, offset + size),
        etag: "x",
        objectSize: 10,
      });
    },
    remove: (keys) => Promise.resolve(void asked.push(`remove ${keys}`)),
  }, "db/");
  assert.deepEqual((await listed(given, "ltx/0/", "ltx/0/0")).map(({ key }) => key), [KEY]);
  await given.read(OBJECT, RANGE);
  await given.remove([KEY]);
  assert.deepEqual(asked, ["list db/ltx/0/ db/ltx/0/0", `read db/${KEY}`, `remove db/${KEY}`]);
});

const answers: [name: string, answer: Awaited<ReturnType<Storage["read"]>>, kind: unknown, words: RegExp][] =
  [
    [
      "too few bytes",
      { bytes: new Uint8Array(2), etag: "x", objectSize: 10 },
      StorageError,
      /2 bytes, expected 3 bytes/,
    ],
    [
      "too many bytes",
      { bytes: new Uint8Array(4), etag: "x", objectSize: 10 },
      StorageError,
      /4 bytes, expected 3/,
    ],
    ["another object", { bytes: new Uint8Array(3), etag: "y", objectSize: 10 }, ObjectGoneError, /ETag y/],
    ["another size", { bytes: new Uint8Array(3), etag: "x", objectSize: 11 }, ObjectGoneError, /11 bytes/],
    ["nothing", undefined, ObjectGoneError, /there is none, expected an object of that key/],
  ];
for (const [name, answer, kind, words] of answers) {
  test(`AdaptedStore refuses a read that gives ${name}`, async () => {
    const error = await errorOf(store({ read: () => Promise.resolve(answer) }).read(OBJECT, RANGE));
    assert.equal(error.constructor, kind);
    assert.match(error.message, words);
    assert.match(error.message, /^Cannot read bytes 2-4 of "ltx\/0\/a" in own:\/\/place: /);
    assert.equal(error.retryable, name === "too few bytes", "a body that was cut may come whole");
  });
}

test("AdaptedStore takes what a place throws for something that may pass, unless it says otherwise", async () => {
  let count = 0;
  const failing = (error: Error) =>
    new RetryingStore(
      store({
        read: () => {
          count++;
          return Promise.reject(error);
        },
      }),
      { baseDelayMs: 1, maxDelayMs: 2, attemptsMax: 3, hedge: false },
    );
  await assert.rejects(failing(new Error("the line is cut")).read(OBJECT, RANGE), /the line is cut/);
  assert.equal(count, 3);
  count = 0;
  const lasting = Object.assign(new Error("no such account"), { retryable: false });
  const error = await errorOf(failing(lasting).read(OBJECT, RANGE));
  assert.match(error.message, /^Cannot read bytes .*: no such account, expected an answer$/);
  assert.equal(error.cause, lasting);
  assert.equal(count, 1);
});

test("AdaptedStore tells that a place can only be read", async () => {
  const given = store();
  for (const act of [given.put("k", patternBytes(1)), given.remove(["k"])]) {
    const error = await errorOf(act);
    assert.match(error.message, /it can only be read, expected a place that takes objects$/);
    assert.deepEqual([error.code, error.retryable], ["NotImplemented", false]);
  }
});

test("AdaptedStore gives conditions on, and tells that one does not hold", async () => {
  const asked: unknown[] = [];
  const given = store({
    traits: { conditionalPut: true, conditionalReplace: true },
    put: (_key, _bytes, { ifAbsent, ifMatch, timestampMs }) => {
      asked.push([ifAbsent, ifMatch, timestampMs]);
      return Promise.resolve(undefined);
    },
  });
  for (const options of [{}, { replace: true, timestampMs: 5 }, { ifMatch: "x" }]) {
    assert.ok(await errorOf(given.put("k", patternBytes(1), options)) instanceof ObjectExistsError);
  }
  assert.deepEqual(asked, [[true, undefined, undefined], [false, undefined, 5], [false, "x", undefined]]);
});

test("AdaptedStore gathers large objects in a file that nothing is left of, whatever happens", async () => {
  const folder = await mkdtemp(join(tmpdir(), "adapted-"));
  const { TMPDIR } = process.env;
  process.env.TMPDIR = folder;
  try {
    await putLarge(async () => (await readdir(folder)).length);
  } finally {
    if (TMPDIR === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = TMPDIR;
    await rm(folder, { recursive: true });
  }
});

async function putLarge(files: () => Promise<number>): Promise<void> {
  let size = 0;
  const given = store({
    putStream: async (_key, chunks, request) => {
      for await (const chunk of chunks) size += chunk.length;
      assert.equal(size, request.size);
      assert.equal(await files(), process.platform === "win32" ? 1 : 0);
      return { etag: "y", modifiedMs: 7 };
    },
  });
  const bytes = new Uint8Array(12 * 1024 * 1024);
  const retrying = new RetryingStore(given);
  const put = await retrying.put("k", bytes, { inParts: true });
  assert.deepEqual([put.etag, put.modifiedMs, put.size, size], ["y", 7, bytes.length, bytes.length]);
  assert.equal(await files(), 0);
  const failing = async function* () {
    yield bytes.subarray(0, 6 * 1024 * 1024);
    throw new Error("no more of it");
  };
  await assert.rejects(retrying.putChunks("k", failing), /no more of it/);
  assert.equal(await files(), 0);
}

test("AdaptedStore ends a listing that nobody wants the rest of", async () => {
  let ended = false;
  const endless = async function* () {
    try {
      for (let i = 0;; i++) yield [{ ...OBJECT, key: `ltx/0/${String(i).padStart(6, "0")}` }];
    } finally {
      ended = true;
    }
  };
  for await (const _ of store({ list: endless }).list("ltx/0/")) break;
  assert.equal(ended, true);
});

test("AdaptedStore reads what has a key, up to its end", async () => {
  const { bytes, objectSize } = await store().read(anyObject(KEY), { offset: 8, size: 100 });
  assert.deepEqual([bytes, objectSize], [patternBytes(10).slice(8), 10]);
  assert.equal((await errorOf(store().read(anyObject(KEY), { offset: 10, size: 1 }))).code, "InvalidRange");
});

test("RetryingStore over it: a later page that does not come is ended with its attempt", async () => {
  let [begun, ended] = [0, 0];
  const list: Storage["list"] = async function* (_prefix, request) {
    begun++;
    if (request.after === undefined) yield [OBJECT];
    if (ended > 0) return yield [{ ...OBJECT, key: "ltx/0/b" }];
    const { signal } = request;
    await new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => {
        ended++;
        reject(signal.reason);
      });
    });
  };
  const retrying = new RetryingStore(store({ list }), { attemptTimeoutMs: 50, baseDelayMs: 1 });
  const keys: string[] = [];
  for await (const page of retrying.list("ltx/0/")) keys.push(...page.map(({ key }) => key));
  assert.deepEqual([keys, begun, ended], [["ltx/0/a", "ltx/0/b"], 2, 1]);
  await retrying.close();
});

test("RetryingStore over it: a page without an object gives a listing out of order further time", async () => {
  let [nowMs, tries] = [0, 0];
  const list: Storage["list"] = async function* () {
    tries++;
    for (let i = 0; i < 3; i++) {
      nowMs += 6_000;
      yield [];
    }
    nowMs += 6_000;
    if (tries === 1) throw new Error("not now");
    yield [OBJECT];
  };
  const place = store({ traits: { conditionalPut: true, listsInOrder: false }, list });
  const retrying = new RetryingStore(place, { now: () => nowMs, random: () => 0 });
  const pages: string[] = [];
  for await (const page of retrying.list("ltx/0/")) pages.push(page.map(({ key }) => key).join());
  assert.deepEqual([pages, tries], [[KEY], 2]);
  await retrying.close();
});

test("RetryingStore over it: a listing that gets nowhere, however often it is begun, is given up", async () => {
  const list: Storage["list"] = async function* () {
    yield [];
    await Promise.reject(new Error("not now"));
  };
  const place = store({ traits: { conditionalPut: true, listsInOrder: false }, list });
  const retrying = new RetryingStore(place, { random: () => 0 });
  const pages = retrying.list("ltx/0/")[Symbol.asyncIterator]();
  const error = await errorOf(pages.next());
  assert.match(error.message, /1001 pages without an object, expected pages that end$/);
  assert.equal(error.retryable, false);
  await retrying.close();
});

const wrongReads: [name: string, found: unknown, words: RegExp][] = [
  ["nothing at all", null, /bytes that are undefined, expected a Uint8Array$/],
  ["text", { bytes: "abc", etag: "x", objectSize: 10 }, /bytes that are string, expected a Uint8Array$/],
  ["numbers", { bytes: [1, 2, 3], etag: "x", objectSize: 10 }, /bytes that are object, expected a Uint8/],
  ["no ETag", { bytes: patternBytes(3), objectSize: 10 }, /ETag "undefined", expected one$/],
  ["no size", { bytes: patternBytes(3), etag: "x" }, /an object of undefined bytes, expected its size$/],
];
for (const [name, found, words] of wrongReads) {
  test(`AdaptedStore refuses a read that gives ${name}`, async () => {
    const read = () => Promise.resolve(found as never);
    for (const  of of[OBJECT, anyObject(KEY)]) {
      const error = await errorOf(store({ read }).read(of, RANGE));
      assert.match(error.message, words);
      assert.deepEqual([error.code, error.retryable], ["WrongAnswer", false]);
    }
  });
}

test("AdaptedStore refuses a put that gives no ETag or no time", async () => {
  for (const made of [null, {}, { etag: "x" }, { etag: 1, modifiedMs: 1 }, { etag: "x", modifiedMs: NaN }]) {
    const error = await errorOf(store({ put: () => Promise.resolve(made as never) }).put(KEY, RANGE_BYTES));
    assert.match(
      error.message,
      /^Cannot put .* an object with ETag ".*", time \w+, expected an ETag and a time$/,
    );
    assert.equal(error.code, "WrongAnswer");
  }
});

test("AdaptedStore tries a listing again that fails before its first page, and refuses pages that are none", async () => {
  let count = 0;
  const list = () => {
    if (++count === 1) throw new Error("not now");
    return pagesOf([OBJECT]);
  };
  const tried = new RetryingStore(store({ list }), { sleep: () => Promise.resolve() });
  const keys: string[] = [];
  for await (const page of tried.list("ltx/0/")) keys.push(...page.map(({ key }) => key));
  assert.deepEqual([count, keys], [2, [KEY]]);
  const error = await errorOf(listed(store({ list: () => pagesOf("no page" as never) })));
  assert.match(error.message, /a page that is string, expected an array$/);
  assert.match(
    (await errorOf(listed(store({ list: () => undefined as never })))).message,
    /expected an answer$/,
  );
  assert.match(
    (await errorOf(listed(store({ list: () => pagesOf([null as never]) })))).message,
    /key "undefined"/,
  );
});

test("AdaptedStore leaves a place that does not come to its end", async () => {
  await store({ close: () => new Promise(() => {}) }).close();
  await assert.rejects(store({ close: () => Promise.reject(new Error("no end")) }).close(), /no end/);
});

test("AdaptedStore's listings are ended at the place, too, where nobody wants the rest", async () => {
  let told = () => {};
  const list = async function* () {
    try {
      yield [OBJECT];
      yield [{ ...OBJECT, key: "ltx/0/b" }];
    } finally {
      told();
    }
  };
  const retrying = new RetryingStore(store({ list }));
  const endings = [() => {}, () => {
    throw new Error("enough");
  }];
  for (const end of endings) {
    const ended = new Promise<void>((resolve) => told = resolve);
    const wholly = (async () => {
      for await (const _page of retrying.list("ltx/0/")) return end();
    })();
    await wholly.catch(() => {});
    await ended;
  }
});

test("AdaptedStore puts nothing in place of a certain object where a place cannot do that", async () => {
  let puts = 0;
  const put: NonNullable<Storage["put"]> = () => {
    puts++;
    return Promise.resolve({ etag: "y", modifiedMs: 1 });
  };
  const bytes = patternBytes(10);
  const error = await errorOf(store({ put }).put(KEY, bytes, { ifMatch: "x" }));
  assert.deepEqual([error.code, error.retryable, puts], ["NotImplemented", false, 0]);
  const traits = { conditionalPut: true, conditionalReplace: true };
  await store({ put, traits }).put(KEY, bytes, { ifMatch: "x" });
  assert.equal(puts, 1);
});

test("AdaptedStore shows bytes early only where their object is told with them", async () => {
  const whole = patternBytes(10);
  const shown = async (etag: string | undefined, of: { key: string; etag: string; size: number }) => {
    const sizes: number[] = [];
    const given = store({
      read: (_key, { offset, size }, { onProgress }) => {
        onProgress(whole.subarray(offset, offset + 1), etag);
        return Promise.resolve({ bytes: whole.slice(offset, offset + size), etag: "x", objectSize: 10 });
      },
    });
    await given.read(of, RANGE, { onProgress: ({ length }) => void sizes.push(length) });
    return sizes;
  };
  assert.deepEqual(await shown("x", OBJECT), [1, 3]);
  assert.deepEqual(await shown("y", OBJECT), [0, 3]);
  assert.deepEqual(await shown(undefined, OBJECT), [0, 3]);
  assert.deepEqual(await shown("", anyObject(KEY)), [0, 3], "nobody knows which object that is");
});

test("hasTooManyItems() counts what begins in HTML and JSON", () => {
  assert.equal(hasTooManyItems(`[${"{},".repeat(1000)}{}]`), false);
  for (const item of ["[],", "<a>", "{},"]) {
    assert.equal(hasTooManyItems(item.repeat(ITEMS_MAX + 1)), true, item);
  }
});
