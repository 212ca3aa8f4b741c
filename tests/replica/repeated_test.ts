/** What is done again and again leaves nothing that a runtime keeps for ever. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { joinReplica, loadablePath, openReplica } from "../../mod.ts";
import { lateCalls } from "../../ffi/late_calls.ts";
import { loadNative } from "../../ffi/mod.ts";
import type { FollowEvent } from "../../src/follow/follow_event.ts";
import { until } from "./following.ts";
import { withLive } from "../live/live_place.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { IS_BUN, IS_WASM, tableSql, valueOf } from "./drivers.ts";

const skip = IS_BUN || IS_WASM ? "Deno's permissions, asked by its own SQLite's driver" : false;
if (skip) console.error(`skipped: ${skip}`);
const COPY_SKIP = IS_BUN ? "Deno's permissions" : false;
if (COPY_SKIP) console.error(`skipped: ${COPY_SKIP}`);
const BOUND_SKIP = IS_BUN ? false : "Bun alone keeps what a thread has bound";
if (BOUND_SKIP) console.error(`skipped: ${BOUND_SKIP}`);

test(
  "connect() asks Deno about the same paths each time: it remembers each for ever",
  { skip },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(tableSql(10));
      folder.snapshot();
      await using replica = await openReplica(folder.url);
      replica.connect().close();
      const asked = await pathsAskedFor(() => {
        for (let i = 0; i < 20; i++) {
          const db = replica.connect();
          assert.equal(valueOf(db, "SELECT count(*) FROM t"), 10);
          db.close();
        }
      });
      assert.ok(asked.length <= 1, asked.join("\n"));
    }),
);

test(
  "A local copy without a name has no path that Deno is asked about",
  { skip: COPY_SKIP },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(tableSql(10));
      folder.snapshot();
      const asked = await pathsAskedFor(async () => {
        await withLive(folder, { hydrate: { path: undefined } }, ({ events }) => {
          const isWhole = (event: FollowEvent) => event.type === "hydration" && event.isWhole;
          return until("the copy is whole", () => events.some(isWhole));
        });
      });
      assert.deepEqual(asked.filter((path) => path.includes("hydrated.db")), []);
    }),
);

/** What Deno is asked about meanwhile, each once. */
async function pathsAskedFor(act: () => unknown): Promise<string[]> {
  const { permissions } = (globalThis as unknown as {
    Deno: { permissions: { querySync(of: { name: string; path?: string }): unknown } };
  }).Deno;
  const asked = new Set<string>();
  const real = permissions.querySync;
  permissions.querySync = (of) => {
    asked.add(`${of.name} ${of.path}`);
    return real.call(permissions, of);
  };
  try {
    await act();
  } finally {
    permissions.querySync = real;
  }
  return [...asked];
}

/** Libraries that tell what is bound and closed; each function gives how many were bound before it. */
function toldLibraries(told: string[]) {
  let count = 0;
  return (name: string) => {
    const number = count++;
    told.push(`open ${name}`);
    return { symbols: { [name]: () => number }, close: () => void told.push(`close ${name}`) };
  };
}

test("lateCalls() binds a function when it is first called, and once", () => {
  const told: string[] = [];
  const { calls } = lateCalls(toldLibraries(told));
  assert.deepEqual(told, ["open ls_abi"]);
  assert.equal(calls.ls_stamp(), 1);
  assert.equal(calls.ls_stamp(), 1);
  assert.deepEqual(told, ["open ls_abi", "open ls_stamp"]);
});

test("lateCalls() gives back what was bound, and binds anew what is called again", () => {
  const told: string[] = [];
  const { calls, release } = lateCalls(toldLibraries(told));
  const { ls_stamp } = calls;
  ls_stamp();
  release();
  release();
  assert.deepEqual(told.slice(2), ["close ls_abi", "close ls_stamp"]);
  assert.equal(ls_stamp(), 2, "also where somebody has kept the function");
  release();
  assert.deepEqual(told.slice(4), ["open ls_stamp", "close ls_stamp"]);
});

test(
  "A thread that has closed its replicas has given back all that was bound",
  { skip: BOUND_SKIP },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(tableSql(10));
      folder.snapshot();
      const native = await loadNative(await loadablePath());
      const real = native.release!;
      let count = 0;
      Object.assign(native, { release: () => (count++, real()) });
      try {
        const [first, second] = [await openReplica(folder.url), await openReplica(folder.url)];
        const joined = await joinReplica(second.share());
        const db = joined.connect();
        assert.equal(valueOf(db, "SELECT count(*) FROM t"), 10);
        await joined.close();
        assert.equal(count, 1);
        await first.close();
        assert.equal(count, 1, "there is another one");
        await second.close();
        assert.equal(count, 2);
        db.close();
      } finally {
        Object.assign(native, { release: real });
      }
    }),
);
