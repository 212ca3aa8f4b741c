import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { ConflictError, openReplica, StorageError } from "../../mod.ts";
import { Lease } from "../../src/write/lease.ts";
import { openStore } from "../../src/storage/open_store.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { FaultSchedule } from "../support/faults.ts";
import { type Bucket, withBucket } from "./rival.ts";

const KEY = "db/lock.json";

/** What lock.json says. */
function claimOf({ server }: Bucket): { generation: number; expires_at: string; owner: string } {
  return JSON.parse(new TextDecoder().decode(server.get(KEY)));
}

function putClaim({ server }: Bucket, text: string): void {
  server.put(KEY, new TextEncoder().encode(text));
}

test("a second writer is refused while the first one holds the lease, and is let in after it", () =>
  withBucket(async (bucket) => {
    const first = await bucket.open("a", { lease: true });
    const { owner, generation, expires_at } = claimOf(bucket);
    assert.match(owner, /^.+:\d+:[0-9a-f]{8}$/);
    assert.equal(generation, 1);
    assert.ok(Date.parse(expires_at) > Date.now());
    await assert.rejects(bucket.open("b", { lease: true }), (error: Error) => {
      assert.ok(error instanceof ConflictError);
      assert.ok(error.message.includes(`the lease is held by ${JSON.stringify(owner)} until ${expires_at}`));
      return true;
    });
    first.connect().exec("INSERT INTO t(who) VALUES ('a')");
    await first.close();
    assert.ok(Date.parse(claimOf(bucket).expires_at) <= Date.now(), "given up");
    await using second = await bucket.open("b", { lease: true });
    assert.equal(claimOf(bucket).generation, 2);
    second.connect().exec("INSERT INTO t(who) VALUES ('b')");
    await second.sync();
    assert.deepEqual(await bucket.rows(), ["a", "b"]);
  }));

test("a lease of Litestream's own leaser is kept to, an expired one is taken", () =>
  withBucket(async (bucket) => {
    const expires = new Date(Date.now() + 20_000).toISOString().replace("Z", "123456Z");
    putClaim(bucket, JSON.stringify({ generation: 7, expires_at: expires, owner: "elsewhere:42" }));
    await assert.rejects(bucket.open("a", { lease: true }), /the lease is held by "elsewhere:42"/);
    putClaim(bucket, '{"generation":7,"expires_at":"2026-01-01T00:00:00.123456789Z","owner":"elsewhere:42"}');
    await using replica = await bucket.open("a", { lease: true });
    assert.equal(claimOf(bucket).generation, 8);
    assert.equal(replica.txid, 1n);
  }));

test("a lock.json that is none is told of", () =>
  withBucket(async (bucket) => {
    for (const text of ["no lock", "{}", '{"generation":1,"owner":"x","expires_at":"soon"}']) {
      putClaim(bucket, text);
      await assert.rejects(
        bucket.open("a", { lease: true }),
        /Cannot take the lease on .*expected an object of/,
      );
    }
  }));

test("a lease that another holds is not taken by one damaged reading, nor refused as none", () =>
  withBucket(async (bucket) => {
    const text = '{"generation":7,"expires_at":"2100-01-01T00:00:00Z","owner":"elsewhere:42"}';
    for (const at of [text.indexOf("100-"), 0]) { // as if it had expired in the year 2000, and as if it were no JSON
      putClaim(bucket, text);
      const fault = { kind: "flipped", at } as const;
      bucket.server.options.faults = new FaultSchedule([{
        fault,
        method: "GET",
        key: "lock.json",
        times: 1,
      }]);
      await assert.rejects(
        bucket.open("a", { lease: true }),
        /the lease is held by "elsewhere:42" until 2100/,
      );
      assert.equal(claimOf(bucket).owner, "elsewhere:42");
    }
  }));

test("what another one holds by then stays when a writer closes", () =>
  withBucket(async (bucket) => {
    const replica = await bucket.open("a", { lease: true });
    const later = new Date(Date.now() + 60_000).toISOString();
    putClaim(bucket, JSON.stringify({ generation: 9, expires_at: later, owner: "elsewhere:42" }));
    await replica.close();
    assert.equal(claimOf(bucket).owner, "elsewhere:42");
  }));

test("what was committed before a lease was lost is stored by the next opening, where nobody has written", {
  timeout: 60_000,
}, () =>
  withBucket(async (bucket) => {
    const replica = await bucket.open("a", { lease: true, syncIntervalMs: 0 });
    const database = replica.connect();
    database.exec("INSERT INTO t(who) VALUES ('before')");
    database.close();
    bucket.server.remove("db/lock.json");
    await delay(11_500); // it is renewed each ten seconds
    await assert.rejects(replica.sync(), {
      name: "ConflictError",
      message: /the lease was taken or removed/,
    });
    await replica.close().catch(() => {});
    await using again = await bucket.open("a", { lease: true });
    await again.sync();
    assert.deepEqual(await bucket.rows(), ["before"]);
  }));

/** Takes leases without a replica. */
async function withStore(
  bucket: Bucket,
  act: (options: Parameters<typeof Lease.take>[0], lost: string[]) => Promise<void>,
): Promise<void> {
  const { accessKeyId, secretAccessKey } = bucket.server.options;
  const location = parseReplicaUrl(`${bucket.url}?endpoint=${bucket.server.endpoint}`);
  const store = await openStore(location, { credentials: { accessKeyId, secretAccessKey } });
  const lost: string[] = [];
  try {
    const { signal } = new AbortController();
    await act({ store, signal, onLost: (found) => lost.push(found) }, lost);
  } finally {
    await store.close();
  }
}

test("a lease that another has taken cannot be renewed", () =>
  withBucket((bucket) =>
    withStore(bucket, async (options, lost) => {
      const lease = await Lease.take(options);
      await lease.hold();
      const later = new Date(Date.now() + 60_000).toISOString();
      putClaim(bucket, JSON.stringify({ generation: 9, expires_at: later, owner: "elsewhere:42" }));
      await assert.rejects(lease.release(), (error: Error) => {
        assert.ok(error instanceof ConflictError);
        assert.match(error.message, /the lease was taken by "elsewhere:42"/);
        return true;
      });
      assert.deepEqual(lost, ['the lease was taken by "elsewhere:42" ("lock.json")']);
      bucket.server.remove(KEY);
      const again = await Lease.take(options);
      bucket.server.remove(KEY);
      await assert.rejects(again.release(), /the lease was taken or removed/);
    })
  ));

test("a renewal that succeeded without an answer is known again", () =>
  withBucket((bucket) =>
    withStore(bucket, async (options, lost) => {
      const lease = await Lease.take(options);
      const fault = {
        kind: "doneBut",
        then: { kind: "status", status: 500, code: "InternalError" },
      } as const;
      bucket.server.options.faults = new FaultSchedule([{
        fault,
        method: "PUT",
        key: "lock.json",
        times: 1,
      }]);
      await lease.release();
      assert.deepEqual(lost, []);
      assert.equal((await Lease.take(options)).constructor, Lease);
    })
  ));

for (const [status, code] of [[404, "NoSuchKey"], [412, "PreconditionFailed"]] as const) {
  test(`a renewal that is answered with ${status} once loses no lease`, () =>
    withBucket((bucket) =>
      withStore(bucket, async (options, lost) => {
        const lease = await Lease.take(options);
        const fault = { kind: "status", status, code } as const;
        bucket.server.options.faults = new FaultSchedule([{
          fault,
          key: "lock.json",
          times: status === 404 ? 2 : 1,
        }]);
        await assert.rejects(lease.release(), (error) => error instanceof StorageError && error.retryable);
        assert.deepEqual(lost, []);
        await lease.release();
        assert.ok(Date.parse(claimOf(bucket).expires_at) <= Date.now(), "given up");
      })
    ));
}

test("of two that take an expired lease at once one has it", () =>
  withBucket((bucket) =>
    withStore(bucket, async (options) => {
      putClaim(bucket, '{"generation":1,"expires_at":"2026-01-01T00:00:00Z","owner":"elsewhere:42"}');
      const taken = await Promise.allSettled([Lease.take(options), Lease.take(options), Lease.take(options)]);
      assert.equal(taken.filter(({ status }) => status === "fulfilled").length, 1);
      for (const result of taken) {
        if (result.status === "rejected") {
          assert.ok(result.reason instanceof ConflictError, String(result.reason));
        } else await result.value.release();
      }
    })
  ));

test("a folder has no lease", async () => {
  await assert.rejects(
    openReplica("file:///none", { write: true, lease: true }),
    /Cannot use option lease with/,
  );
});
