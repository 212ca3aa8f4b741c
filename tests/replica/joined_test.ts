/** A replica on a thread that only joined it: the same states, with no word from the core. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { test } from "node:test";
import {
  DeadlineError,
  joinReplica,
  type OpenOptions,
  openReplica,
  ReplacedError,
  type Replica,
  ReplicaClosedError,
  ReplicaError,
  RestorePlanError,
} from "../../mod.ts";
import { withServedPlace } from "../hydrate/hydrating.ts";
import { FaultSchedule } from "../support/faults.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { valueOf, withConnection } from "./drivers.ts";
import { ASKED, breakLooks, OFTEN, pause, recordValue, stepValue, takeAway } from "./following.ts";

interface Place {
  readonly folder: ReplicaFolder;
  readonly replica: Replica;
  readonly joined: Replica;
}

function joinedTest(name: string, options: OpenOptions, use: (place: Place) => Promise<void>): void {
  test(name, { timeout: 60_000 }, () =>
    withReplicaFolder({}, async (folder) => {
      stepValue(folder, 3);
      await using replica = await openReplica(folder.url, options);
      await using joined = await joinReplica(replica.share());
      await use({ folder, replica, joined });
    }));
}

for (const pollIntervalMs of [0, 10, 60_000]) {
  joinedTest(
    `joined: refresh() applies what is there; pollIntervalMs ${pollIntervalMs}`,
    { pollIntervalMs },
    async (place) => {
      const { folder, replica, joined } = place;
      for (const txid of [4, 5, 20]) {
        stepValue(folder, txid);
        assert.equal(await joined.refresh(), BigInt(txid));
        assert.deepEqual([joined.txid, replica.txid], [BigInt(txid), BigInt(txid)]);
        withConnection(joined, undefined, (db) => assert.equal(valueOf(db, "SELECT x FROM v"), txid));
      }
      assert.equal(joined.time?.getTime(), replica.time?.getTime());
      assert.deepEqual(joined.size, replica.size);
    },
  );

  joinedTest(`joined: waitFor() ends by arrival, time or signal; pollIntervalMs ${pollIntervalMs}`, {
    pollIntervalMs,
  }, async (place) => {
    const { folder, joined } = place;
    assert.equal(await joined.waitFor(2n), 3n);
    setTimeout(() => stepValue(folder, 5), 100);
    const began = performance.now();
    assert.equal(await joined.waitFor(5n, { timeoutMs: 10_000 }), 5n);
    assert.ok(performance.now() - began < 3_000, `${performance.now() - began} ms`);
    await assert.rejects(joined.waitFor(9n, { timeoutMs: 100 }), (error) => {
      assert.ok(error instanceof DeadlineError, String(error));
      assert.match(error.message, /wait for TXID 0000000000000009 .*the newest is 0000000000000005/);
      return true;
    });
    const abort = new AbortController();
    setTimeout(() => abort.abort(new Error("enough")), 50);
    await assert.rejects(joined.waitFor(9n, { signal: abort.signal }), /enough/);
  });
}

joinedTest("joined: waiting for what only a higher level has", ASKED, async ({ folder, joined }) => {
  recordValue(folder, 6);
  folder.write(1, 3, 6);
  assert.equal(await joined.waitFor(6n, { timeoutMs: 10_000 }), 6n);
});

joinedTest("joined: a look that fails is thrown as what it is", OFTEN, async ({ folder, joined }) => {
  const mend = breakLooks(folder);
  await assert.rejects(joined.refresh(), { name: "StorageError" });
  mend();
  stepValue(folder, 4);
  assert.equal(await joined.refresh(), 4n);
});

joinedTest(
  "joined: refresh() looks, whatever looks before have found",
  OFTEN,
  async ({ folder, replica, joined }) => {
    const back = takeAway(folder);
    mkdirSync(folder.path);
    await assert.rejects(replica.refresh(), RestorePlanError);
    await pause(1_600); // by then pauses between listings are longer than a second
    back();
    stepValue(folder, 4);
    assert.equal(await joined.refresh(), 4n);
  },
);

test("joined: refresh() tells of a look that began after it, not of one that was under way", {
  timeout: 60_000,
}, () =>
  withServedPlace({}, async (place) => {
    const { folder, s3 } = place;
    stepValue(folder, 3);
    place.upload();
    await using replica = await openReplica(place.url, { ...place.access, pollIntervalMs: 60_000 });
    await using joined = await joinReplica(replica.share());
    s3.options.faults = new FaultSchedule([
      { on: "list", times: 10, fault: { kind: "slow", delayMs: 400 } },
      { fault: { kind: "status", status: 500, code: "InternalError" } },
    ]);
    const underWay = replica.refresh();
    await pause(150);
    await assert.rejects(joined.refresh(), { name: "StorageError", status: 500 });
    assert.equal(await underWay, 3n);
  }));

joinedTest("joined: a replica that was closed ends waiting", OFTEN, async ({ replica, joined }) => {
  const waiting = assert.rejects(joined.waitFor(9n), ReplicaClosedError);
  await pause(50);
  await replica.close();
  await waiting;
  await assert.rejects(joined.refresh(), ReplicaClosedError);
  await assert.rejects(joined.waitFor(9n), ReplicaClosedError);
  assert.equal(joined.lagMs, Infinity);
});

joinedTest("joined: another database in the replica's place is told", ASKED, async ({ folder, joined }) => {
  await withReplicaFolder({}, async (other) => {
    other.step("CREATE TABLE other (a)");
    folder.replaceBy(other);
    await pause(1_100); // whoever joined has the replica listed when that is more than a second ago
    await assert.rejects(joined.refresh(), ReplacedError);
  });
});

joinedTest("joined: on() says where to listen", ASKED, ({ joined }) => {
  assert.throws(() => joined.on("commit", () => {}), (error) => {
    assert.ok(error instanceof ReplicaError);
    assert.match(error.message, /opened on another thread, expected a call there/);
    return true;
  });
  return Promise.resolve();
});
