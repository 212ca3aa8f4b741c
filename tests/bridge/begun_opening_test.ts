/** What an opening does before there is a shim. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { Native } from "../../ffi/native.ts";
import type { OpenOptions } from "../../mod.ts";
import { beginOpening, type BegunOpening } from "../../src/bridge/begun_opening.ts";
import { DeadlineError, StorageError } from "../../src/errors.ts";
import { makeConfig } from "../../src/replica_config.ts";
import { FakeS3 } from "../support/fake_s3.ts";

const NEVER = new Promise<Native>(() => {});

async function withBegun(
  options: OpenOptions,
  native: Promise<Native>,
  use: (opening: Promise<BegunOpening>, s3: FakeS3) => Promise<void>,
): Promise<void> {
  await using s3 = await FakeS3.start();
  s3.put("db/0000/0000000000000001-0000000000000001.ltx", new Uint8Array(200));
  const { accessKeyId, secretAccessKey } = s3.options;
  const place = { endpoint: s3.endpoint, credentials: { accessKeyId, secretAccessKey } };
  const config = makeConfig("s3://bucket/db", { ...place, ...options }, {});
  const opening = beginOpening(config, { environment: {}, native, signal: undefined, hooks: {} });
  try {
    await use(opening, s3);
  } finally {
    await opening.then(({ settle }) => settle(), () => {});
  }
}

function methods({ log }: FakeS3): string[] {
  return log.map(({ method }) => method);
}

test("storage is listed before there is a shim", () =>
  withBegun({}, NEVER, async (opening, s3) => {
    const { look } = await opening;
    assert.equal((await look.listing)?.files.length, 1);
    assert.deepEqual(methods(s3), ["GET"]);
  }));

test("nothing is stored before there is a shim", () =>
  withFolder((folder) => {
    let arrive!: (native: Native) => void;
    const native = new Promise<Native>((resolve) => arrive = resolve);
    return withBegun({ write: true, bufferPath: join(folder, "log") }, native, async (opening, s3) => {
      const { look } = await opening;
      await look.listing;
      assert.deepEqual(methods(s3), ["GET"]);
      arrive({} as Native);
      assert.ok(await look.probing);
      assert.ok(methods(s3).includes("PUT"));
    });
  }));

test("nothing is stored where no shim is found", () =>
  withFolder((folder) => {
    const native = Promise.reject(new Error("no shim"));
    return withBegun({ write: true, bufferPath: join(folder, "log") }, native, async (opening, s3) => {
      const { look } = await opening;
      await look.listing;
      await assert.rejects(look.probing!, /no shim/);
      assert.deepEqual(methods(s3), ["GET"]);
    });
  }));

test("an opening with a disk cache waits for the shim, which checks it", () =>
  withFolder((cacheDir) => {
    let arrive!: (native: Native) => void;
    const native = new Promise<Native>((resolve) => arrive = resolve);
    return withBegun({ cacheDir }, native, async (opening, s3) => {
      const first = await Promise.race([
        opening,
        new Promise((resolve) => setTimeout(resolve, 100, "waits")),
      ]);
      assert.equal(first, "waits");
      arrive({} as Native);
      assert.ok((await opening).store.name);
      assert.ok(s3.log.every(({ method }) => method === "GET"));
    });
  }));

test("an opening that has taken too long is over, though there is no shim yet", () =>
  withBegun({ openTimeoutMs: 50 }, NEVER, async (opening) => {
    const { signal } = await opening;
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
    assert.ok(signal.reason instanceof DeadlineError);
  }));

test("the time stands still for what is not to count, and goes on afterwards", () =>
  withBegun({ openTimeoutMs: 2_000 }, NEVER, async (opening) => {
    const { signal, uncounted } = await opening;
    const isOver = await uncounted(async () => {
      await delay(2_500);
      return signal.aborted;
    });
    assert.equal(isOver, false);
    await assert.rejects(uncounted(() => Promise.reject(new Error("not done"))), /not done/);
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
    assert.ok(signal.reason instanceof DeadlineError);
  }));

test("a store that refuses is told before there is a shim", () =>
  withBegun({ credentials: "anonymous" }, NEVER, async (opening) => {
    const { look } = await opening;
    await assert.rejects(look.listing!, StorageError);
  }));

async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "begun-opening-"));
  try {
    await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
