/** connect() of one replica waits for no other's: not for a store that hangs, not for a thread that is gone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openReplica, type Replica, type ReplicaDatabase } from "../../mod.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { FaultSchedule } from "../support/faults.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { Connector } from "./connecting.ts";
import { drivers, IS_BUN, noiseSql, tableSql, thrownBy, valueOf, withConnection } from "./drivers.ts";
import { ASKED, until } from "./following.ts";

const file = (level: number, minTxid: number, maxTxid: number) =>
  ltxKey("s3", level, formatLtxFileName({ minTxid: BigInt(minTxid), maxTxid: BigInt(maxTxid) }));

/** A store of three TXIDs; of the second the files are too large to come along with their indexes. */
async function fill(s3: FakeS3): Promise<void> {
  await withReplicaFolder({}, (folder) => {
    folder.record(noiseSql(1000));
    folder.record("UPDATE n SET x = randomblob(900)");
    folder.record("CREATE TABLE later (a)");
    s3.put(file(9, 1, 1), folder.encode(1, 1));
    for (let txid = 1; txid <= 3; txid++) s3.put(file(0, txid, txid), folder.encode(txid, txid));
  });
}

/** Connects a few times, and asserts that none of it took long. */
function assertConnectsAtOnce(replica: Replica): void {
  for (let again = 0; again < 3; again++) {
    const began = performance.now();
    withConnection(replica, undefined, (db) => assert.equal(valueOf(db, "SELECT count(*) FROM t"), 10));
    const ms = performance.now() - began;
    assert.ok(ms < 1_500, `connect() took ${ms} ms`);
  }
}

test(
  "connect() to a replica is not held up by one whose store hangs",
  { timeout: 60_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.step(tableSql(10));
      await using s3 = await FakeS3.start();
      await fill(s3);
      const { accessKeyId, secretAccessKey, region } = s3.options;
      const place = { credentials: { accessKeyId, secretAccessKey }, region, requestTimeoutMs: 30_000 };
      await using slow = await openReplica(s3.url(), { ...ASKED, ...place });
      await using fast = await openReplica(folder.url, ASKED);
      const connector = await Connector.start(slow.share());
      try {
        const key = file(0, 2, 2);
        const seen = () => s3.log.filter((request) => request.key.endsWith(key)).length;
        const before = seen();
        s3.options.faults = new FaultSchedule([{ fault: { kind: "silence" }, on: "object", key }]);
        const connecting = connector.connect({ asOf: 2n, timeoutMs: 3_000 });
        await until("a request that hangs", () => seen() > before);
        assertConnectsAtOnce(fast);
        const { errors } = await connecting;
        assert.match(errors![0]?.message ?? "none", /^Cannot connect to s3:.*: Cannot read /);
        assert.match(errors![0]!.cause, /^DeadlineError: Cannot read /);
        s3.options.faults = new FaultSchedule([]);
        const sql = "SELECT litestream_txid() || ' ' || count(*) FROM n";
        const { errors: none, value } = await connector.connect({ asOf: 2n, timeoutMs: 20_000, sql });
        assert.deepEqual([none, value], [[], "0000000000000002 1000"]);
      } finally {
        await connector.terminate();
      }
    }),
);

// Deno lets the JavaScript that runs go on to its end.
test(
  "connect() works on when a thread was terminated inside it",
  { skip: !IS_BUN, timeout: 60_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.step(tableSql(10));
      await using replica = await openReplica(folder.url, ASKED);
      for (let round = 0; round < 3; round++) {
        const connector = await Connector.start(replica.share());
        await connector.hang();
        await connector.terminate();
        assertConnectsAtOnce(replica);
      }
    }),
);

test("connect() inside connect() says so at once, and leaves the outer one its window", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step(tableSql(10));
    await using replica = await openReplica(folder.url, ASKED);
    let inner: Error | undefined;
    class Nesting extends (drivers[0]!.Database as new (path: string, options?: object) => ReplicaDatabase) {
      constructor(path: string, options?: object) {
        super(path, options);
        if (path !== ":memory:") inner ??= thrownBy(() => replica.connect());
      }
    }
    replica.connect(Nesting).close();
    assert.match(String(inner), /^ShimError: Cannot connect: this thread is opening a connection already/);
    assertConnectsAtOnce(replica);
  }));
