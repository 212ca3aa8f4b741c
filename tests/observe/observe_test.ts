/** What an observer of a replica is told, when, and what it never is. */
import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { loadNative } from "../../ffi/mod.ts";
import { LS } from "../../ffi/symbols.ts";
import {
  openReplica,
  ReplicaError,
  replicaMetrics,
  type ReplicaObserver,
  requestAttributes,
  requestSpanName,
  transactionAttributes,
} from "../../mod.ts";
import { findShim } from "../../src/shim_path.ts";
import { NOISE_SUM, noiseSql, rowsOf, tableSql, withConnection } from "../replica/drivers.ts";
import { ASKED, pause, until } from "../replica/following.ts";
import { Reader } from "../replica/reader.ts";
import { FaultSchedule } from "../support/faults.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { bucketKey, Kept, optionsOf, serveNoise } from "./observed.ts";

const LIMIT = { timeout: 60_000 };

test("observe: one span for each request that the server saw, as it saw it", LIMIT, async () => {
  await using s3 = await serveNoise();
  const kept = new Kept();
  const replica = await openReplica(s3.url("/db"), { ...optionsOf(s3), observe: kept });
  const reader = await Reader.start({ shared: replica.share() });
  await reader.ask(NOISE_SUM);
  await reader.close();
  await replica.close();
  const told = kept.requests.map(({ kind, http, range }) =>
    `${http!.method} ${kind} ${http!.status} ${
      range ? `bytes=${range.offset}-${range.offset + range.size - 1}` : ""
    }`
  );
  const seen = s3.log.map(({ method, key, status, range }) =>
    `${method} ${key === "" ? "list" : "read"} ${status} ${range}`
  );
  assert.deepEqual(told.sort(), seen.sort());
  assert.ok(seen.length > 4, seen.join("\n"));
  const sum = (of: readonly { bytes?: number; bytesReceived?: number }[]) =>
    of.reduce((total, { bytes, bytesReceived }) => total + (bytes ?? bytesReceived ?? 0), 0);
  assert.equal(sum(kept.requests), sum(s3.log));
  for (const { place, source, outcome, attempt, isHedge, queuedMs, startMs, endMs } of kept.requests) {
    assert.equal(place, replica.name);
    assert.deepEqual({ source, outcome, attempt, isHedge }, {
      source: "storage",
      outcome: "ok",
      attempt: 1,
      isHedge: false,
    });
    assert.ok(endMs >= startMs && queuedMs >= 0);
  }
  assert.deepEqual(new Set(kept.requests.map(({ purpose }) => purpose)), new Set(["open", "page", "ahead"]));
  assert.equal(kept.lostCount, 0);
});

test(
  "observe: pages name the transaction that they were fetched for, and its own span has all counts",
  LIMIT,
  async () => {
    await using s3 = await serveNoise();
    const kept = new Kept();
    const replica = await openReplica(s3.url("/db"), { ...optionsOf(s3), observe: kept });
    const reader = await Reader.start({ shared: replica.share() });
    const before = Date.now();
    await reader.ask(NOISE_SUM);
    const after = Date.now();
    await reader.ask(NOISE_SUM);
    await reader.close();
    await replica.close();
    const [first, second] = kept.transactions.slice(-2);
    assert.deepEqual([second!.misses, second!.hits], [0, 0], "it read what SQLite had");
    assert.ok(first!.startMs >= before - 5 && first!.endMs <= after + 5 && first!.endMs > first!.startMs);
    assert.equal(first!.txid, 1n);
    assert.equal(first!.isWrite, false);
    const pages = kept.requests.filter(({ transaction }) => transaction === first!.transaction);
    assert.equal(pages.length, first!.getRequests);
    assert.equal(pages.reduce((bytes, { bytesReceived }) => bytes + bytesReceived, 0), first!.bytes);
    assert.ok(
      pages.some(({ purpose }) => purpose === "page") && pages.some(({ purpose }) => purpose === "ahead"),
    );
    const depths = pages.map(({ roundTrip }) => roundTrip!);
    assert.ok(Math.max(...depths) - Math.min(...depths) + 1 >= first!.roundTrips, depths.join());
    const waited = pages.filter(({ purpose }) => purpose === "page");
    for (const { startMs, endMs } of waited) {
      assert.ok(startMs >= first!.startMs - 5 && startMs <= first!.endMs + 5 && endMs >= startMs);
    }
  },
);

test(
  "observe: a query that holds the thread up is told afterwards, with its true times",
  LIMIT,
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(1000));
      folder.snapshot();
      const kept = new Kept();
      await using replica = await openReplica(folder.url, { ...ASKED, observe: kept });
      await until("the opening is told", () => kept.requests.length >= 3);
      const opened = kept.requests.length;
      const db = replica.connect();
      assert.equal(replica.transactionOf(db), undefined);
      const before = Date.now();
      rowsOf(db, NOISE_SUM);
      const after = Date.now();
      const name = replica.transactionOf(db);
      assert.equal(kept.requests.length, opened, "told before the loop turned");
      await until(
        "the transaction is told",
        () => kept.transactions.some(({ transaction }) => transaction === name),
      );
      const { misses, getRequests } = kept.transactions.find(({ transaction }) => transaction === name)!;
      assert.deepEqual({ misses, getRequests }, {
        misses: replica.stats({ connection: db }).transaction.misses,
        getRequests: replica.stats({ connection: db }).transaction.getRequests,
      });
      const own = kept.requests.filter(({ transaction }) => transaction === name);
      assert.ok(own.length > 1);
      for (const { startMs, purpose, http, bytesReceived, range } of own) {
        assert.ok(startMs >= before - 5 && startMs <= after + 5, `${startMs} is not in ${before}-${after}`);
        assert.ok(purpose === "page" || purpose === "ahead");
        assert.equal(http, undefined);
        assert.equal(bytesReceived, range!.size);
      }
      db.close();
      assert.equal(replica.transactionOf(db), undefined);
      assert.throws(() => replica.transactionOf({}), ReplicaError);
    }),
);

test("observe: attempts that fail are spans of their own, and no secret is in any", LIMIT, async () => {
  await using s3 = await serveNoise();
  const key = bucketKey(9, 1, 1);
  s3.options.faults = new FaultSchedule([
    { fault: { kind: "status", status: 503, code: "SlowDown" }, on: "object", key, nth: 1 },
    { fault: { kind: "cut", after: 10 }, on: "object", key, nth: 2 },
  ]);
  const kept = new Kept();
  const options = { ...optionsOf(s3), region: "eu-west-3", observe: kept };
  const replica = await openReplica(s3.url("/db"), options);
  await replica.close();
  const failed = kept.requests.filter(({ outcome }) => outcome === "failed");
  const list = failed.find(({ kind }) => kind === "list")!;
  assert.equal(list.http?.status, 400, "the wrong region is told");
  const again = kept.requests.find(({ kind, isRepeat }) => kind === "list" && isRepeat)!;
  assert.deepEqual([again.outcome, again.attempt, again.http?.status], ["ok", 1, 200]);
  assert.equal(requestAttributes(again)["http.request.resend_count"], 1);
  const slow = failed.find(({ http }) => http?.status === 503)!;
  assert.deepEqual([slow.attempt, slow.error?.name, slow.error?.code], [1, "StorageError", "SlowDown"]);
  assert.equal(requestAttributes(slow)["error.type"], "503");
  const cut = failed.find(({ kind, http }) => kind === "read" && http?.status === 206)!;
  assert.equal(cut.error?.name, "StorageError");
  assert.ok(cut.bytesReceived <= 10);
  assert.equal(requestAttributes(cut)["error.type"], cut.error?.code || "StorageError");
  const second = kept.requests.filter(({ attempt, outcome }) => attempt === 2 && outcome === "ok");
  assert.equal(second.length, 2);
  assert.equal(requestAttributes(second[0]!)["http.request.resend_count"], 1);
  const all = JSON.stringify(kept.requests);
  const { secretAccessKey, accessKeyId } = s3.options;
  for (const secret of [secretAccessKey, accessKeyId, "Signature", "?"]) {
    assert.ok(!all.includes(secret), `${secret} in ${all}`);
  }
});

test("observe: attributes have OpenTelemetry's names", LIMIT, async () => {
  await using s3 = await serveNoise();
  const kept = new Kept();
  const replica = await openReplica(s3.url("/db"), { ...optionsOf(s3), observe: kept });
  const metrics = replicaMetrics(replica);
  await replica.close();
  const span = kept.requests.find(({ kind }) => kind === "read")!;
  const { hostname, port } = new URL(s3.endpoint);
  assert.equal(requestSpanName(span), "GET");
  const wanted = {
    "http.request.method": "GET",
    "http.response.status_code": 206,
    "url.full": `${s3.endpoint}/bucket/${bucketKey(9, 1, 1)}`,
    "server.address": hostname,
    "server.port": Number(port),
    "litestream.replica": replica.name,
    "litestream.request.purpose": "open",
    "litestream.request.key": bucketKey(9, 1, 1).slice("db/".length),
    "http.response.body.size": span.bytesReceived,
  };
  const found = requestAttributes(span);
  assert.deepEqual(Object.fromEntries(Object.keys(wanted).map((name) => [name, found[name]])), wanted);
  assert.equal(found["http.request.resend_count"], undefined);
  const value = (name: string, kind?: string) =>
    metrics.find((metric) =>
      metric.name === name && (!kind || metric.attributes["litestream.request.kind"] === kind)
    )!.value;
  assert.equal(value("litestream.requests", "read"), s3.log.filter(({ key }) => key !== "").length);
  assert.equal(value("litestream.requests", "list"), s3.log.filter(({ key }) => key === "").length);
  assert.ok(value("litestream.io") > 0 && value("litestream.lag") < 60);
  const names = metrics.map(({ name, attributes }) => name + JSON.stringify(attributes));
  assert.equal(new Set(names).size, names.length, "two measurements of one name");
});

test(
  "observe: disk cache, following, restoring and writing are told apart, the last before close() ends",
  LIMIT,
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.step(tableSql(2000));
      const home = mkdtempSync(join(tmpdir(), "observe-"));
      const kept = new Kept();
      try {
        const options = { ...ASKED, cacheDir: join(home, "cache"), observe: kept };
        for (let round = 0; round < 2; round++) {
          await using replica = await openReplica(folder.url, options);
          withConnection(replica, undefined, (db) => rowsOf(db, "SELECT sum(length(b)) FROM t"));
        }
        assert.ok(kept.requests.some(({ source }) => source === "disk"));
        const replica = await openReplica(folder.url, {
          ...options,
          write: true,
          syncIntervalMs: 0,
          bufferPath: join(home, "log"),
        });
        folder.record("INSERT INTO t (a) VALUES (1)");
        await replica.refresh();
        await replica.restore(join(home, "restored.db"), { asOf: 1n });
        const db = replica.connect();
        db.exec("INSERT INTO t (a) VALUES (2)");
        db.close();
        const isPut = ({ kind, purpose }: { kind: string; purpose: string }) =>
          kind === "put" && purpose === "write";
        assert.ok(!kept.requests.some(isPut));
        await replica.close();
        const put = kept.requests.find(isPut)!;
        assert.ok(put.bytesSent > 0);
        const purposes = new Set(kept.requests.map(({ purpose }) => purpose));
        for (const purpose of ["open", "follow", "restore", "write"] as const) {
          assert.ok(purposes.has(purpose), purpose);
        }
        const written = kept.transactions.filter(({ isWrite }) => isWrite);
        assert.equal(written.length, 1);
        assert.equal(transactionAttributes(written[0]!)["db.system.name"], "sqlite");
        assert.equal(transactionAttributes(written[0]!)["litestream.transaction.write"], true);
      } finally {
        rmSync(home, { recursive: true });
      }
    }),
);

test("observe: an opening that fails is told, too", LIMIT, async () => {
  const kept = new Kept();
  await using s3 = await serveNoise();
  s3.options.faults = new FaultSchedule([
    { fault: { kind: "status", status: 403, code: "AccessDenied" }, on: "list" },
  ]);
  await assert.rejects(openReplica(s3.url("/db"), { ...optionsOf(s3), observe: kept }), /AccessDenied/);
  assert.ok(kept.requests.some(({ http, outcome }) => http?.status === 403 && outcome === "failed"));
});

test(
  "observe: where nobody does, the shim keeps no transaction",
  LIMIT,
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.step(tableSql(10));
      const { calls } = await loadNative(findShim());
      const words = new Uint8Array(8 * 64);
      const taken = ({ replicaId }: { replicaId: number }) =>
        calls.ls_replica_transactions(replicaId, words, 64);
      for (const observe of [undefined, { request() {} }] satisfies (ReplicaObserver | undefined)[]) {
        await using replica = await openReplica(folder.url, { ...ASKED, ...(observe && { observe }) });
        withConnection(replica, undefined, (db) => rowsOf(db, "SELECT * FROM t"));
        assert.equal(taken(replica.share()), LS.MISUSE);
      }
    }),
);

test(
  "observe: where nobody does, the core's thread sends no span",
  LIMIT,
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.step(tableSql(10));
      let batches = 0;
      const unwatch = watchMessages((message) => {
        if ((message as { kind?: string } | undefined)?.kind === "spans") batches++;
      });
      try {
        const counts = [];
        for (const observe of [undefined, new Kept()]) {
          batches = 0;
          const replica = await openReplica(folder.url, { ...ASKED, ...(observe && { observe }) });
          withConnection(replica, undefined, (db) => rowsOf(db, "SELECT * FROM t"));
          await replica.close();
          counts.push(batches);
        }
        assert.equal(counts[0], 0);
        assert.ok(counts[1]! > 0, "the count sees none at all");
      } finally {
        unwatch();
      }
    }),
);

/** Sees what any worker sends, be it Node's or Deno's own; returns what ends that. */
function watchMessages(see: (message: unknown) => void): () => void {
  const [{ prototype: node }, { prototype: web }] = [EventEmitter, EventTarget];
  const { emit } = node;
  const { dispatchEvent } = web;
  node.emit = function (this: EventEmitter, name: string | symbol, ...told: unknown[]) {
    see(told[0]);
    return emit.call(this, name, ...told);
  };
  web.dispatchEvent = function (this: EventTarget, event: Event) {
    see((event as MessageEvent).data);
    return dispatchEvent.call(this, event);
  };
  return () => {
    node.emit = emit;
    web.dispatchEvent = dispatchEvent;
  };
}

test(
  "observe: transactions beyond what the ring holds are counted as lost",
  LIMIT,
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.step(tableSql(10));
      const kept = new Kept();
      const replica = await openReplica(folder.url, { ...ASKED, observe: kept });
      const db = replica.connect();
      const statement = db.prepare("SELECT a FROM t WHERE id = 3");
      const total = () => kept.transactions.length + kept.lostCount;
      const { transactions: before } = replica.stats({ connection: db }).connection;
      // The core takes some of them meanwhile.
      for (let i = 0; i < 30_000; i++) statement.get();
      const { transactions: after } = replica.stats({ connection: db }).connection;
      await until("all are told or counted", () => total() >= after - before);
      assert.ok(kept.lostCount > 0);
      assert.ok(kept.transactions.length >= 1000, `${kept.transactions.length}`);
      db.close();
      await replica.close();
      assert.equal(total() >= after, true);
    }),
);

test("observe: what is no observer is refused", async () => {
  for (const observe of [5, {}, { request: 3 }, null]) {
    await assert.rejects(
      openReplica("file:///nowhere", { observe: observe as unknown as ReplicaObserver }),
      /^TypeError: Cannot use option observe: /,
    );
  }
  await pause(0);
});
