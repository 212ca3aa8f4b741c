import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { type Fault, type FaultRule, FaultSchedule, type FaultSubject } from "../support/faults.ts";

/** Faults that come and go. */
class Outage extends FaultSchedule {
  isOn = true;

  override pick(subject: FaultSubject): Fault | undefined {
    return this.isOn ? super.pick(subject) : undefined;
  }
}

/** A bucket, and how a writer opens it. */
async function inBucket(
  rules: readonly FaultRule[],
  act: (
    open: (more?: OpenOptions) => Promise<Replica>,
    server: FakeS3,
    more: { folder: string; faults: Outage },
  ) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "s3-writing-test-"));
  const faults = new Outage(rules);
  await using server = await FakeS3.start({ faults });
  const { endpoint, options: { accessKeyId, secretAccessKey } } = server;
  const open = (more: OpenOptions = {}) =>
    openReplica("s3://bucket/db", {
      endpoint,
      credentials: { accessKeyId, secretAccessKey },
      write: true,
      bufferPath: join(folder, "log"),
      syncIntervalMs: 0,
      pollIntervalMs: 0,
      ...more,
    });
  try {
    await act(open, server, { folder, faults });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function insert(replica: Replica, from: number, count: number): void {
  const db = replica.connect();
  db.exec("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, body TEXT)");
  for (let i = from; i < from + count; i++) db.exec(`INSERT INTO t VALUES (${i}, printf('%.*c', 500, 'x'))`);
  db.close();
}

function count(replica: Replica): number {
  const db = replica.connect();
  try {
    return db.prepare("SELECT count(*) AS n FROM t").get().n;
  } finally {
    db.close();
  }
}

const LTX = /\/0000\/\d{16}-\d{16}\.ltx$/;
const lost: [string, Fault][] = [
  ["an error", { kind: "doneBut", then: { kind: "status", status: 500 } }],
  ["silence", { kind: "doneBut", then: { kind: "reset" } }],
  ["half an answer", { kind: "doneBut", then: { kind: "resetAfterHeaders" } }],
];
for (const [name, fault] of lost) {
  test(`an upload that was stored and answered by ${name} makes one history`, () =>
    inBucket([{ fault, method: "PUT", key: LTX, times: 2 }], async (open, server) => {
      await using replica = await open();
      for (let i = 0; i < 4; i++) {
        insert(replica, i * 5, 5);
        assert.equal(await replica.sync(), BigInt(i + 1));
      }
      const puts = server.log.filter(({ method, key }) => method === "PUT" && LTX.test(key));
      assert.equal(new Set(puts.map(({ key }) => key)).size, 4);
      await using reader = await open({ write: false });
      assert.equal(count(reader), 20);
      assert.equal(reader.txid, 4n);
    }));
}

test("what is committed during an outage is read, kept, and stored afterwards", () => {
  const down: FaultRule = { fault: { kind: "status", status: 503 }, method: "PUT", key: LTX };
  return inBucket([down], async (open, _server, { folder, faults }) => {
    faults.isOn = false;
    await using replica = await open({ requestTimeoutMs: 1_500 });
    insert(replica, 0, 5);
    await replica.sync();
    faults.isOn = true;
    for (let i = 1; i <= 3; i++) {
      insert(replica, i * 5, 5);
      await assert.rejects(replica.sync(), { name: "DeadlineError" });
      assert.equal(count(replica), 5 + i * 5);
    }
    assert.ok((await readdir(folder)).some((file) => /^log\.\d/.test(file)));
    faults.isOn = false;
    assert.equal(await replica.sync(), 3n, "the TXID that waited, and all after it as one");
    assert.equal(count(replica), 20);
    assert.ok(!(await readdir(folder)).some((file) => /^log\.\d/.test(file)));
    await using reader = await open({ write: false });
    assert.equal(count(reader), 20);
  });
});

test("a server that ignores If-None-Match is refused, unless that is allowed", () =>
  inBucket([{ fault: { kind: "ignoreIfNoneMatch" }, method: "PUT" }], async (open, server) => {
    await assert.rejects(open(), { name: "ReplicaError", message: /If-None-Match.*allowUnconditional/s });
    assert.ok(!server.log.some(({ key }) => LTX.test(key)));
    await using replica = await open({ allowUnconditional: true });
    insert(replica, 0, 3);
    assert.equal(await replica.sync(), 1n);
  }));

test("a server that ignores it for objects in parts is refused before anything is stored", () =>
  inBucket([{ fault: { kind: "ignoreIfNoneMatch" }, method: "POST" }], async (open, server) => {
    const replica = await open({ syncIntervalMs: 0 });
    insert(replica, 0, 3);
    await assert.rejects(replica.sync(), {
      name: "ReplicaError",
      message: /put in parts.*allowUnconditional/s,
    });
    assert.throws(() => insert(replica, 3, 3));
    await assert.rejects(replica.close());
    assert.ok(!server.log.some(({ key }) => LTX.test(key)));
  }));

test("what could not be found out of objects in parts at the opening is found out before something is stored", () =>
  inBucket(
    [{
      fault: { kind: "status", status: 403, code: "AccessDenied" },
      method: "POST",
      key: "condition-probe",
      target: "uploads",
    }],
    async (open, server, { faults }) => {
      const replica = await open();
      insert(replica, 1, 3);
      await assert.rejects(replica.sync(), /condition-probe-.*403/);
      faults.isOn = false;
      assert.ok(await replica.sync() > 0n);
      await replica.close();
      assert.deepEqual(server.keys().filter((key) => key.includes("condition-probe")), []);
      await using again = await open();
      assert.equal(count(again), 3);
    },
  ));

test("a writer that is opened by listings as they were begins at what it has stored", () =>
  inBucket([], async (open, server, { folder, faults }) => {
    {
      await using replica = await open();
      for (let i = 0; i < 3; i++) {
        insert(replica, i, 1);
        await replica.sync();
      }
    }
    const longAgo = new Date(Date.now() - 3_600_000);
    await utimes(join(folder, "log.base"), longAgo, longAgo);
    server.options.faults = new FaultSchedule([
      { fault: { kind: "staleListing", hide: /000000000000000[23]-/ }, on: "list", times: 2 },
    ]);
    await using replica = await open();
    assert.equal(replica.txid, 3n);
    server.options.faults = faults;
    insert(replica, 3, 1);
    assert.equal(await replica.sync(), 4n);
    assert.equal(count(replica), 4);
  }));

test("nothing is stored while nothing is committed, and one file an interval at most", () =>
  inBucket([], async (open, server) => {
    await using replica = await open({ syncIntervalMs: 50 });
    insert(replica, 0, 50);
    await replica.waitFor(1n);
    await replica.sync();
    const stored = () => server.log.filter(({ method, key }) => method === "PUT" && LTX.test(key)).length;
    const before = stored();
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(stored(), before);
    const db = replica.connect();
    db.exec("BEGIN IMMEDIATE");
    db.exec("ROLLBACK");
    db.close();
    await replica.sync();
    assert.equal(stored(), before, "a transaction that wrote nothing");
  }));
