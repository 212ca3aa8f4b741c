/** A real S3 server written to by us and restored by a real Litestream. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import { Compactor } from "../../src/compact/compactor.ts";
import { openStore } from "../../src/storage/open_store.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { allDrivers } from "../support/all_drivers.ts";
import { type LocalDatabase, openLocal } from "../support/local_database.ts";
import { lz4 } from "../support/lz4.ts";
import { Random } from "../support/random.ts";
import {
  listFiles,
  litestreamBinary,
  replicate,
  restore,
  type S3Server,
  s3ServerBinary,
  skipWithout,
  startS3Server,
  withFolder,
} from "../support/real.ts";
import { dump, Workload } from "../write/workload.ts";

const skip = skipWithout({ litestream: litestreamBinary(), "S3 server": s3ServerBinary() });
const HOUR = 3_600_000;

let server: S3Server | undefined;
let places = 0;
before(async () => {
  if (!skip) server = await startS3Server();
});
after(() => server?.close());

function credentials() {
  const { accessKey, secretKey } = server!;
  return { accessKeyId: accessKey, secretAccessKey: secretKey };
}

/** A place of its own in the bucket, and how it is opened. */
function place(folder: string): { url: string; open(log: string, more?: OpenOptions): Promise<Replica> } {
  const url = server!.url(`written/${++places}`);
  return {
    url,
    open: (log, more) =>
      openReplica(url, {
        credentials: credentials(),
        write: true,
        bufferPath: join(folder, log),
        syncIntervalMs: 0,
        pollIntervalMs: 0,
        compact: false,
        ...more,
      }),
  };
}

/** Restores a replica, checks it, and gives what is asked of it: all its content unless something else is. */
async function restored<T = string>(
  url: string,
  out: string,
  { txid, ask = dump as (database: LocalDatabase) => T }: {
    txid?: bigint;
    ask?: (database: LocalDatabase) => T;
  } = {},
): Promise<T> {
  await restore(url, out, { env: server!.env, ...(txid === undefined ? {} : { txid }) });
  const database = await openLocal(out);
  try {
    assert.deepEqual({ ...database.prepare("PRAGMA integrity_check").get() }, { integrity_check: "ok" });
    return ask(database);
  } finally {
    database.close();
  }
}

/** Who wrote the rows of `t`. */
function writers(database: LocalDatabase): string[] {
  return database.prepare("SELECT b FROM t ORDER BY a").all().map(({ b }) => b);
}

/** Runs a statement on both; what it comes to is the same. */
function runBoth(databases: readonly LocalDatabase[], sql: string): void {
  const [found, wanted] = databases.map((database) => {
    try {
      for (const statement of sql.split("; ")) database.exec(statement);
      return "";
    } catch (error) {
      return String((error as Error).message).slice(0, 20);
    }
  });
  assert.equal(found, wanted, sql.slice(0, 80));
}

async function compact(url: string): Promise<void> {
  const location = parseReplicaUrl(url);
  const store = await openStore(location, { credentials: credentials() });
  const now = () => Date.now() + 25 * HOUR;
  const report = await new Compactor({ store, layout: location.layout, lz4, now }).run();
  assert.deepEqual([report.failures, report.foreign], [[], []]);
  await store.close();
}

for (const [i, { name, Database }] of (await allDrivers()).entries()) {
  test(
    `litestream restores from S3 what we write there, at every TXID: ${name}`,
    { skip, timeout: 240_000 },
    () =>
      withFolder(async (folder) => {
        const { url, open } = place(folder);
        const [random, workload] = [new Random(23 + i), new Workload(23 + i)];
        const states = new Map<bigint, string>();
        const replica = await open("log");
        const local = new Database(join(folder, "local.db"));
        const written = replica.connect(Database);
        for (const database of [written, local]) database.exec("PRAGMA cache_size = 8");
        for (let step = 0; (step < 400 && states.size < 8) || workload.isOpen; step++) {
          runBoth([written, local], workload.next());
          if (!workload.isOpen && random.next(12) === 0) states.set(await replica.sync(), dump(local));
        }
        states.set(await replica.sync(), dump(local));
        written.close();
        local.close();
        assert.ok(states.size > 4, `${states.size} TXIDs`);
        for (const [txid, state] of states) {
          assert.equal(await restored(url, join(folder, `${txid}.db`), { txid }), state, `TXID ${txid}`);
        }
        // The newest again once it lies in a snapshot, and once more has been written on top.
        await compact(url);
        assert.ok((await listFiles(url, server!)).some(({ level }) => level === 9), "there is a snapshot");
        assert.equal(await restored(url, join(folder, "compacted.db")), [...states.values()].at(-1));
        const on = replica.connect(Database);
        on.exec("CREATE TABLE more(a, b, c)");
        on.exec("INSERT INTO more VALUES (1, 'after', x'00')");
        await replica.sync();
        const wanted = dump(on);
        on.close();
        await replica.close();
        assert.equal(await restored(url, join(folder, "more.db")), wanted);
      }),
  );
}

test(
  "litestream restores from S3 a transaction that we stored in parts",
  { skip, timeout: 120_000 },
  () =>
    withFolder(async (folder) => {
      const { url, open } = place(folder);
      await using replica = await open("log");
      const db = replica.connect();
      db.exec("CREATE TABLE t(a, b, c)");
      db.exec(
        `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 24)
       INSERT INTO t SELECT i, 'noise', randomblob(1000000) FROM n`,
      );
      assert.equal(await replica.sync(), 1n);
      db.exec("DELETE FROM t WHERE a % 3 = 0");
      assert.equal(await replica.sync(), 2n);
      const wanted = dump(db);
      db.close();
      const [first] = await listFiles(url, server!);
      assert.ok(first!.size > 24_000_000, `${first!.size} bytes`);
      assert.equal(await restored(url, join(folder, "parts.db")), wanted);
    }),
);

test("of two writers of a real S3 server the later one is told, and what is restored is the first one's", {
  skip,
}, () =>
  withFolder(async (folder) => {
    const { url, open } = place(folder);
    const [one, two] = [await open("one"), await open("two")];
    for (const [replica, who] of [[one, "one"], [two, "two"]] as const) {
      const db = replica.connect();
      db.exec("CREATE TABLE t(a, b, c)");
      db.exec(`INSERT INTO t VALUES (1, '${who}', '')`);
      db.close();
    }
    const outcomes = await Promise.allSettled([one.sync(), two.sync()]);
    assert.deepEqual(outcomes.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
    const winner = outcomes.findIndex(({ status }) => status === "fulfilled");
    const loser = outcomes.find((outcome) => outcome.status === "rejected");
    assert.equal(loser?.reason.name, "ConflictError");
    await Promise.allSettled([one.close(), two.close()]);
    const rows = await restored(url, join(folder, "out.db"), { ask: writers });
    assert.deepEqual(rows, [["one", "two"][winner]]);
  }));

test("a real daemon that stores beside us is noticed, also where it overwrites our TXID", {
  skip,
  timeout: 120_000,
}, () =>
  withFolder(async (folder) => {
    for (const isBefore of [true, false]) {
      const { url, open } = place(folder);
      const copy = join(folder, `daemon-${isBefore}.db`);
      let ours: Replica | undefined;
      await replicate({
        db: copy,
        url,
        env: server!.env,
        waitFor: [0],
        levels: ["1h"],
        snapshotInterval: "24h",
        run: async (sqlite, daemon) => {
          sqlite.exec("CREATE TABLE t(a, b, c); INSERT INTO t VALUES (1, 'daemon', '')");
          const txid = await daemon.sync();
          ours = await open(`log-${isBefore}`);
          assert.equal(ours.txid, txid);
          const db = ours.connect();
          db.exec("INSERT INTO t VALUES (2, 'ours', '')");
          db.close();
          if (!isBefore) assert.equal(await ours.sync(), txid + 1n);
          sqlite.exec("INSERT INTO t VALUES (3, 'daemon', '')");
          assert.equal(await daemon.sync(), txid + 1n, "without a condition");
        },
      });
      if (isBefore) await assert.rejects(ours!.sync(), { name: "ConflictError" });
      else await assert.rejects(ours!.refresh(), { name: /^(Replaced|Conflict)Error$/ });
      assert.throws(() => ours!.connect().exec("INSERT INTO t VALUES (4, 'ours', '')"));
      assert.match(String(ours!.lastError), /^(Replaced|Conflict)Error: /);
      await ours!.close().catch(() => {});
      const rows = await restored(url, join(folder, `out-${isBefore}.db`), { ask: writers });
      assert.deepEqual(rows, ["daemon", "daemon"]);
    }
  }));
