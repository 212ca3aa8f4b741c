/** Somebody else may write to the bucket: names, sizes, listings, indexes and pages that are made up. */
import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { inspect } from "node:util";
import { LtxFormatError, openReplica, ReplicaError, RestorePlanError, StorageError } from "../../mod.ts";
import { AdaptedStore } from "../../src/storage/adapted_store.ts";
import { EMPTY_PAGES_MAX, OBJECTS_MAX } from "../../src/storage/listing_bound.ts";
import { parseReplicaUrl, type S3Location } from "../../src/storage/replica_url.ts";
import { S3Store } from "../../src/storage/s3.ts";
import type { Storage, StoredObject } from "../../src/storage/storage.ts";
import { resealFile } from "../support/ltx_files.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { HostileServer, listingOf } from "./hostile_server.ts";

const KEYS = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG" };
const SNAPSHOT_KEY = "db/0009/0000000000000001-0000000000000005.ltx";

async function rejectionOf(promise: Promise<unknown>): Promise<Error> {
  return await promise.then(() => assert.fail("it was fulfilled"), (error) => error);
}

async function openingOf(server: HostileServer): Promise<Error> {
  const opening = openReplica(`s3://b/db?endpoint=${server.origin}`, {
    credentials: KEYS,
    openTimeoutMs: 20_000,
    requestTimeoutMs: 3_000,
    log: () => {},
  });
  return await rejectionOf(opening.then((replica) => replica.close()));
}

test("a listing that never ends is given up after as many objects as a replica may have", async () => {
  let pages = 0;
  const storage: Storage = {
    traits: { conditionalPut: false, listsInOrder: true },
    async *list() {
      for (let n = 0;; pages++) {
        const page: StoredObject[] = [];
        for (let i = 0; i < 20_000; i++) {
          page.push({ key: `ltx/0/${String(n++).padStart(16, "0")}`, etag: "e", size: 1, modifiedMs: 1 });
        }
        yield await Promise.resolve(page);
      }
    },
    read: () => assert.fail("nothing is to be read"),
  };
  const store = new AdaptedStore("own:place", storage);
  const listed = async () => {
    let count = 0;
    for await (const page of store.list("ltx/0/")) count += page.length;
    return count;
  };
  const error = await rejectionOf(listed());
  assert.ok(error instanceof StorageError && !error.retryable, String(error));
  assert.match(error.message, /^Cannot list "ltx\/0\/" in own:place: more than 1000000 objects, expected /);
  assert.equal(pages, OBJECTS_MAX / 20_000, "and not one page later");
});

test("pages of a listing without an object are given up, not paid for as long as the opening may take", async () => {
  let asked = 0;
  const fetch = () => Promise.resolve(new Response(listingOf([], `t${asked++}`).body as string));
  const location = parseReplicaUrl("s3://b/db?region=us-east-1") as S3Location;
  const store = new S3Store(location, { credentials: "anonymous", fetch });
  const listing = (async () => {
    for await (const page of store.list("0000/")) assert.equal(page.length, 0);
  })();
  const error = await rejectionOf(listing);
  assert.match(error.message, /1001 pages without an object, expected pages that end$/);
  assert.equal(asked, EMPTY_PAGES_MAX + 1);
});

test("sizes that are made up are told as what they are", async () => {
  for (const size of [2 ** 53 - 1, 0, 100, "-1", "99999999999999999999"]) {
    await using server = await HostileServer.start(({ url, headers }) => {
      if (url.searchParams.has("list-type")) return listingOf([{ key: SNAPSHOT_KEY, size }]);
      const [, first, last] = /bytes=(\d+)-(\d+)/.exec(headers.range ?? "") ?? [];
      const body = new Uint8Array(Math.min(65_536, Number(last) - Number(first) + 1));
      return {
        status: 206,
        headers: { etag: '"e"', "content-range": `bytes ${first}-${last}/${size}` },
        body,
      };
    });
    const error = await openingOf(server);
    assert.ok(error instanceof LtxFormatError || error instanceof StorageError, `${size}: ${error}`);
    assert.match(error.message, /^Cannot .+, expected /);
  }
});

test("names that lead elsewhere are neither asked for nor read", async () => {
  const names = [
    "../../../etc/passwd",
    "..\\..\\secret",
    "0000000000000001-0000000000000001.ltx/../../../x",
    "%2e%2e/0000000000000001-0000000000000001.ltx",
    "0000000000000001-0000000000000001.ltx\0",
    "0000000000000001-0000000000000001.ltx\n",
    "./0000000000000001-0000000000000001.ltx",
  ];
  await using server = await HostileServer.start(({ url }) => {
    if (!url.searchParams.has("list-type")) return { status: 404 };
    const prefix = url.searchParams.get("prefix")!;
    const keys = names.map((name) => `db/0000/${name}`).filter((key) => key.startsWith(prefix)).sort();
    return listingOf(keys.map((key) => ({ key, size: 500 })));
  });
  const error = await openingOf(server);
  assert.ok(error instanceof RestorePlanError || error instanceof StorageError, String(error));
  assert.deepEqual(server.asked.filter(({ url }) => !url.searchParams.has("list-type")), []);
});

test("an index of static files that names what lies elsewhere is refused", async () => {
  for (
    const key of ["../secret", "ltx/../../secret", "/etc/passwd", "ltx/0/%2e%2e/x", "http://127.0.0.1/x"]
  ) {
    await using server = await HostileServer.start(({ url }) =>
      url.pathname.endsWith("/index.json")
        ? { body: JSON.stringify({ version: 1, files: [{ key, size: 500, modified: 1 }] }) }
        : { status: 404 }
    );
    const opening = openReplica(`${server.origin}/r`, { openTimeoutMs: 10_000, log: () => {} });
    const error = await rejectionOf(opening);
    assert.ok(error instanceof ReplicaError, String(error));
    assert.deepEqual(server.asked.filter(({ url }) => !url.pathname.startsWith("/r/")), [], key);
    assert.deepEqual(server.asked.filter(({ url }) => /secret|passwd/.test(url.href)), [], key);
  }
});

test("a link in a folder replica that leads to another file shows nothing of it", () =>
  withReplicaFolder({}, async (folder) => {
    const secret = join(folder.home, "shadow");
    writeFileSync(secret, "root:$6$canary-in-a-file:19000\n".repeat(50));
    const path = folder.pathOf(9, 1, 1);
    mkdirSync(dirname(path), { recursive: true });
    symlinkSync(secret, path);
    const error = await rejectionOf(openReplica(folder.url));
    assert.ok(error instanceof LtxFormatError, String(error));
    assert.doesNotMatch(inspect(error, { depth: 9, showHidden: true }), /canary|root:/);
  }));

test("a page that unpacks to more than a page is damaged, whatever its writer's checksum says", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("CREATE TABLE t (a); INSERT INTO t VALUES (randomblob(9000))");
    for (const size of [4097, 1024 * 1024, 16 * 1024 * 1024]) {
      const bomb = (page: Uint8Array, pgno: number) => pgno === 3 ? new Uint8Array(size) : page;
      folder.put(folder.pathOf(0, 1, 1), folder.encode(1, 1, bomb));
      const error = await rejectionOf(openReplica(folder.url));
      assert.ok(error instanceof LtxFormatError, String(error));
      assert.match(error.message, /(LZ4 block of|page index gives) page 3 .* expected (4096|8 to 9216)$/);
    }
  }));

test("a size of the database that no file has pages for is refused, and no memory taken for it", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("CREATE TABLE t (a)");
    folder.step("INSERT INTO t VALUES (1)");
    for (const commit of [0xffff_ffff, 0xffff_fffe, 50_000_000]) {
      const file = folder.encode(2, 2);
      new DataView(file.buffer).setUint32(12, commit);
      folder.put(folder.pathOf(0, 2, 2), resealFile(file));
      const before = process.memoryUsage().rss;
      const error = await rejectionOf(openReplica(folder.url));
      assert.match(error.message, new RegExp(`page 3 of ${commit} is in no file`));
      assert.ok(process.memoryUsage().rss - before < 100 * 1024 * 1024);
    }
  }));
