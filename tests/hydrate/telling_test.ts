/** How a copy is asked for, and what is told of it. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import {
  DeadlineError,
  joinReplica,
  register,
  ReplicaClosedError,
  ReplicaError,
  type ReplicaEvent,
} from "../../mod.ts";
import { makeConfig } from "../../src/replica_config.ts";
import { makeUriConfig } from "../../src/uri_config.ts";
import { drivers, valueOf, withConnection } from "../replica/drivers.ts";
import { stepValue, until } from "../replica/following.ts";
import { readerOf, smallSql, withPlace, withServedPlace } from "./hydrating.ts";

const TIMEOUT = { timeout: 60_000 } as const;
const PATH = "LITESTREAM_HYDRATION_PATH";
const ENABLED = "LITESTREAM_HYDRATION_ENABLED";

const CHOICES: readonly [
  given: boolean | string | undefined,
  environment: Record<string, string>,
  unknown,
][] = [
  [undefined, {}, undefined],
  [undefined, { [PATH]: "/a" }, { path: "/a" }],
  [undefined, { [ENABLED]: "true" }, { path: undefined }],
  [undefined, { [ENABLED]: "false" }, undefined],
  [undefined, { [ENABLED]: "false", [PATH]: "/a" }, undefined],
  [undefined, { [ENABLED]: "true", [PATH]: "/a" }, { path: "/a" }],
  [undefined, { [ENABLED]: "", [PATH]: "" }, undefined],
  [false, { [PATH]: "/a" }, undefined],
  [false, { [ENABLED]: "true" }, undefined],
  [true, {}, { path: undefined }],
  [true, { [PATH]: "/a" }, { path: "/a" }],
  [true, { [ENABLED]: "false" }, { path: undefined }],
  ["/b", { [PATH]: "/a", [ENABLED]: "false" }, { path: "/b" }],
];

test("hydrate: option before environment; a path alone enables, false switches off", () => {
  for (const [hydrate, environment, wanted] of CHOICES) {
    const found = makeConfig("file:///replica", { hydrate }, environment).hydrate;
    assert.deepEqual(found, wanted, JSON.stringify([hydrate, environment]));
  }
});

const URIS: readonly [parameters: Record<string, string>, environment: Record<string, string>, unknown][] = [
  [{}, {}, undefined],
  [{ hydration_path: "/u" }, {}, { path: "/u" }],
  [{ hydration_enabled: "true" }, {}, { path: undefined }],
  [{ hydration_enabled: "1", hydration_path: "/u" }, {}, { path: "/u" }],
  [{ hydration_enabled: "false", hydration_path: "/u" }, {}, undefined],
  [{ hydration_enabled: "false" }, { [ENABLED]: "true" }, undefined],
  [{ hydration_enabled: "true" }, { [PATH]: "/a" }, { path: "/a" }],
  [{ hydration_path: "/u" }, { [ENABLED]: "false", [PATH]: "/a" }, { path: "/u" }],
];

test("hydration_enabled and hydration_path of a URI, before the environment", () => {
  for (const [parameters, environment, wanted] of URIS) {
    const all = new Map(Object.entries({ replica_url: "file:///replica", ...parameters }));
    assert.deepEqual(
      makeUriConfig(all, environment).hydrate,
      wanted,
      JSON.stringify([parameters, environment]),
    );
  }
});

for (const { name, Database } of drivers) {
  test(
    `${name}: a URI asks for a copy, and PRAGMAs tell of it`,
    TIMEOUT,
    () =>
      withPlace({ pageSize: 512 }, async (place) => {
        const { folder, path } = place;
        folder.step(smallSql(300));
        const registration = await register();
        const parameters = new URLSearchParams({
          vfs: "litestream",
          replica_url: folder.url,
          hydration_path: path,
        });
        const uri = `file:x.db?${String(parameters).replaceAll("+", "%20")}`;
        const db = name === "bun:sqlite" ? new Database(uri, 0x41) : new Database(uri);
        await until("it is whole", () => valueOf(db, "PRAGMA litestream_hydration_progress") === "100.0");
        assert.equal(valueOf(db, "PRAGMA litestream_hydration_file"), path);
        assert.equal(valueOf(db, "SELECT count(*) FROM k"), 300);
        db.close();
        await registration.close();
        await place.assertCopy();
      }),
  );
}

test(
  "Without a copy there is none to be told of, and none to be waited for",
  TIMEOUT,
  () =>
    withPlace({}, async (place) => {
      stepValue(place.folder, 1);
      await using replica = await place.open({ hydrate: false });
      assert.equal(replica.hydration, undefined);
      withConnection(replica, undefined, (db) => {
        assert.equal(valueOf(db, "PRAGMA litestream_hydration_progress"), "0");
        assert.equal(valueOf(db, "PRAGMA litestream_hydration_file") || null, null);
      });
      await assert.rejects(replica.hydrated(), (error) => {
        assert.ok(error instanceof ReplicaError);
        assert.match(error.message, /there is none, expected option hydrate/);
        return true;
      });
      assert.ok(!existsSync(place.path));
    }),
);

test(
  "hydrated() ends by arrival, time, signal and close; on other threads too",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder } = place;
      folder.step(smallSql(4_000));
      folder.snapshot();
      place.upload();
      const release = place.hold();
      const replica = await place.open();
      const joined = await joinReplica(replica.share());
      for (const each of [replica, joined]) {
        await assert.rejects(each.hydrated({ timeoutMs: 50 }), (error) => {
          assert.ok(error instanceof DeadlineError);
          assert.match(error.message, /not whole after 50 ms, \d+ of \d+ pages are there/);
          return true;
        });
        const reason = new Error("enough");
        await assert.rejects(each.hydrated({ signal: AbortSignal.abort(reason) }), reason);
        const controller = new AbortController();
        const waiting = each.hydrated({ signal: controller.signal });
        controller.abort(reason);
        await assert.rejects(waiting, reason);
        await assert.rejects(each.hydrated({ timeoutMs: 0 }), RangeError);
        assert.equal(each.hydration?.phase, "under-way");
      }
      release();
      await Promise.all([replica.hydrated(), joined.hydrated()]);
      assert.deepEqual(joined.hydration, replica.hydration);
      await using reader = await readerOf(replica);
      assert.deepEqual(await reader.ask("PRAGMA litestream_hydration_progress"), [{ "100.0": "100.0" }]);
      await joined.close();
      await replica.close();
    }),
);

test("hydrated() ends when the replica is closed", TIMEOUT, () =>
  withServedPlace({}, async (place) => {
    const { folder } = place;
    folder.step(smallSql(4_000));
    folder.snapshot();
    place.upload();
    place.hold();
    const replica = await place.open();
    const waiting = assert.rejects(replica.hydrated(), ReplicaClosedError);
    await replica.close();
    await waiting;
    await assert.rejects(replica.hydrated(), ReplicaError);
    await assert.rejects(replica.hydrated(), ReplicaClosedError);
  }));

test(
  "Events tell how far the copy is, until it is whole; never that it is less",
  TIMEOUT,
  () =>
    withServedPlace({ latencyMs: 5 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(12_000));
      folder.snapshot();
      place.upload();
      await using replica = await place.open();
      const events: Extract<ReplicaEvent, { type: "hydration" }>[] = [];
      replica.on("hydration", (event) => events.push(event));
      await replica.hydrated();
      await until("the last one", () => events.at(-1)?.isWhole === true);
      const count = events.length;
      assert.ok(count >= 4, `${count} events`);
      events.forEach(({ pages, pagesTotal, isWhole }, i) => {
        assert.equal(pagesTotal, folder.commitAt(1));
        assert.ok(pages >= (events[i - 1]?.pages ?? 0), JSON.stringify(events));
        assert.equal(isWhole, i === count - 1);
      });
      folder.step("UPDATE v SET x = 2");
      place.upload();
      await replica.refresh();
      await replica.hydrated();
      assert.equal(events.length, count);
    }),
);

test(
  "A copy of a replica that is still empty begins with its first state",
  TIMEOUT,
  () =>
    withPlace({}, async (place) => {
      const opening = place.open({ waitForReplicaMs: 20_000 });
      stepValue(place.folder, 2);
      const replica = await opening;
      await replica.hydrated();
      await replica.close();
      await place.assertCopy();
    }),
);
