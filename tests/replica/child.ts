/**
 * Processes of their own for `process_test.ts`: what a registration, an exit or a failed open does to everything else.
 *
 * `child.ts NAME URL [URL]`; tells what it found by its exit code and, on standard error, by words.
 *
 * @module
 */
import assert from "node:assert/strict";
import { copyFileSync, existsSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { Worker } from "node:worker_threads";
import {
  type DatabaseClass,
  entryPoint,
  loadablePath,
  openReplica,
  register,
  type Replica,
  type ReplicaDatabase,
  ShimError,
} from "../../mod.ts";
import { drivers, IS_BUN, rowsOf, tableSql, thrownBy, valueOf } from "./drivers.ts";

const [, , name = "", url = "", otherUrl = ""] = process.argv;
const READONLY_URI = 0x41;

/** Opens a URI as this driver lets one. */
function openUri(
  driver: { name: string; Database: DatabaseClass<ReplicaDatabase> },
  uri: string,
): ReplicaDatabase {
  return driver.name === "bun:sqlite" ? new driver.Database(uri, READONLY_URI) : new driver.Database(uri);
}

const uriOf = (url: string, more = "") =>
  `file:x.db?vfs=litestream&replica_url=${encodeURIComponent(url)}${more}`;

const SUM = "SELECT count(*) FROM t";

const children: Record<string, () => Promise<void>> = {
  async quiet() {
    await using replica = await openReplica(url);
    const db = replica.connect();
    db.exec("PRAGMA temp_store = FILE; PRAGMA cache_size = 2; PRAGMA temp.cache_size = 2");
    rowsOf(db, "SELECT x.id FROM t x JOIN t y ON x.a = y.a + 1 ORDER BY x.b, y.b, x.id LIMIT 100");
    db.exec("CREATE TEMP TABLE big AS SELECT a.b || b.b AS c FROM t a, t b LIMIT 5000");
    thrownBy(() => db.exec("DELETE FROM t"));
    await assert.rejects(openReplica(otherUrl));
    await using _registration = await register();
    for (const driver of drivers) openUri(driver, uriOf(url)).close();
    db.close();
  },

  /** Ends by process.exit() with everything open. */
  async exit() {
    const replica = await openReplica(url);
    const db = replica.connect();
    db.exec("PRAGMA temp_store = FILE");
    db.exec("CREATE TEMP TABLE big AS SELECT a.b || b.b AS c FROM t a, t b LIMIT 5000");
    process.exit(0);
  },

  /** Ends because nothing is left to do, with the replica open. */
  async idle() {
    const replica = await openReplica(url);
    valueOf(replica.connect(), SUM);
  },

  /** The same where Deno's workers have no method, or one more, that could be what keeps the process waiting for them. */
  async strangeWorkers() {
    const { Worker: Own } = globalThis as unknown as { Worker: { prototype: Record<symbol, unknown> } };
    Own.prototype[Symbol()] = (_isHeld: boolean) => assert.fail("called");
    const replica = await openReplica(url);
    valueOf(replica.connect(), SUM);
  },

  /** Variables that only `process.env` knows: put there by the program, or given to a thread of Node's. */
  async ownVariables() {
    const name = "LITESTREAM_REPLICA_URL";
    assert.equal(process.env[name], undefined);
    const source = `const { parentPort, workerData } = await import("node:worker_threads");
      const { openReplica } = await import(workerData);
      const replica = await openReplica();
      parentPort.postMessage(replica.txid);
      await replica.close();`;
    const thread = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
      workerData: new URL("../../mod.ts", import.meta.url).href,
      env: { ...process.env, [name]: url },
    });
    const ended = new Promise((resolve) => thread.once("exit", resolve));
    const txid = await new Promise((resolve, reject) =>
      thread.once("message", resolve).once("error", reject)
    );
    assert.equal(txid, 1n);
    await ended;
    await assert.rejects(openReplica(), /no URL given/);
    process.env = { ...process.env, [name]: url };
    await using replica = await openReplica();
    assert.equal(replica.txid, 1n);
  },

  /** A program that has put something else in the place of `process`. */
  async otherProcess() {
    const replaced = process;
    (globalThis as { process?: unknown }).process = { env: {} };
    try {
      await using replica = await openReplica(url);
      assert.equal(replica.txid, 1n);
    } finally {
      globalThis.process = replaced;
    }
  },

  /** Two at once, of which one wants a shim of its own, and another one has none. */
  async shimsAtOnce() {
    const copy = `${process.cwd()}/copy.so`;
    copyFileSync(await loadablePath(), copy);
    const nowhere = { shimPath: `${process.cwd()}/no.so` };
    const openings = [openReplica(url), openReplica(url, nowhere), openReplica(url, { shimPath: copy })];
    const [first, second, third] = await Promise.allSettled(openings) as PromiseSettledResult<Replica>[];
    const found = second!.status === "rejected" ? second!.reason : second!.value;
    assert.ok(found instanceof ShimError, String(found));
    for (const opening of [first!, third!]) {
      if (opening.status === "rejected") throw opening.reason;
      assert.equal(opening.value.txid, 1n);
    }
    rmSync(copy);
  },

  /** Ends although nobody answers what was asked while the shim was looked for. */
  async noShim() {
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    silent.unref();
    const { port } = silent.address() as AddressInfo;
    const place = { endpoint: `http://127.0.0.1:${port}`, credentials: "anonymous" } as const;
    const opening = openReplica("s3://bucket/db", { ...place, shimPath: "/no/such/shim.so" });
    await assert.rejects(opening, ShimError);
  },

  /** Given up in its first moment, and while storage is asked. */
  async givenUp() {
    for (const afterMs of [0, 1, 5, 20]) {
      const abort = new AbortController();
      const opening = openReplica(url, { signal: abort.signal });
      setTimeout(() => abort.abort(new Error("meant")), afterMs);
      await opening.then((replica) => replica.close(), ({ message }) => assert.equal(message, "meant"));
    }
    await using replica = await openReplica(url);
    assert.equal(valueOf(replica.connect(), SUM), 200);
  },

  async failedOpens() {
    await using _registration = await register();
    for (const driver of drivers) {
      const first = openUri(driver, uriOf(url));
      const rows = valueOf(first, SUM);
      for (let i = 0; i < 5; i++) {
        const error = thrownBy(() => valueOf(openUri(driver, uriOf(otherUrl)), SUM));
        assert.match(error.message, /no LTX files there/);
        assert.equal(valueOf(first, SUM), rows);
      }
      assert.match(
        thrownBy(() => valueOf(openUri(driver, uriOf("ftp://h/p")), SUM)).message,
        /Cannot parse replica URL/,
      );
      assert.match(
        thrownBy(() => valueOf(openUri(driver, uriOf(url, "&cache_size=x")), SUM)).message,
        /cache_size/,
      );
      assert.equal(valueOf(first, SUM), rows);
      const second = openUri(driver, uriOf(url));
      first.close();
      assert.equal(valueOf(second, SUM), rows);
      second.close();
    }
  },

  async ordinaryDatabases() {
    const options: ({ default: true } | undefined)[] = [undefined, { default: true }];
    for (const option of options) {
      await using _registration = await register(option);
      await using replica = await openReplica(url);
      for (const { name, Database } of drivers) {
        const connection = replica.connect(Database);
        for (const mode of ["delete", "wal", "persist"]) {
          const path = `${process.cwd()}/plain-${name.replace(":", "-")}-${mode}-${
            option ? "default" : "plain"
          }.db`;
          const db = new Database(path);
          assert.equal(valueOf(db, `PRAGMA journal_mode = ${mode}`), mode);
          db.exec(tableSql(500));
          db.exec("BEGIN; DELETE FROM t");
          const other = new Database(path);
          assert.equal(valueOf(other, SUM), 500);
          other.close();
          db.exec("ROLLBACK");
          assert.equal(valueOf(db, "PRAGMA integrity_check"), "ok");
          db.close();
          const again = new Database(path);
          assert.equal(valueOf(again, SUM), 500);
          again.close();
        }
        const empty = new Database("");
        empty.exec("CREATE TABLE t (a)");
        empty.close();
        connection.close();
      }
    }
    assert.deepEqual(
      readdirSync(".").filter((file) => /journal|wal$|shm/.test(file) && !file.includes("persist")),
      [],
    );
  },

  async uri() {
    await using _registration = await register();
    for (const driver of drivers) {
      const db = openUri(driver, uriOf(url, "&cache_size=2097152"));
      assert.equal(valueOf(db, SUM), 200);
      assert.equal(valueOf(db, "SELECT litestream_txid()"), "0000000000000001");
      assert.match(thrownBy(() => db.exec("DELETE FROM t")).message, /readonly/);
      const plain = openUri(driver, uriOf(url, "&immutable=1"));
      assert.equal(valueOf(plain, SUM), 200);
      plain.close();
      db.close();
    }
    if (!IS_BUN) {
      const db = new drivers[0]!.Database(":memory:");
      db.exec(`ATTACH '${uriOf(url)}' AS r`);
      assert.equal(valueOf(db, "SELECT count(*) FROM r.t"), 200);
      db.close();
    }
    assert.ok(!existsSync("x.db"));
  },

  /** A parameter of the replica's URL is misspelt. */
  async misspelt() {
    await using _registration = await register();
    for (const driver of drivers) {
      for (let i = 0; i < 2; i++) {
        const db = openUri(driver, uriOf(`${url}?endpont=h`));
        assert.equal(valueOf(db, SUM), 200);
        db.close();
      }
    }
  },

  /** Connections of one cache would be of one state's pages. */
  async sharedCache() {
    await using _registration = await register();
    for (const driver of drivers) {
      const open = () => valueOf(openUri(driver, uriOf(url, "&cache=shared")), SUM);
      for (let i = 0; i < 2; i++) thrownBy(open);
      const db = openUri(driver, uriOf(url, "&cache=private"));
      assert.equal(valueOf(db, SUM), 200);
      db.close();
    }
    if (IS_BUN) return;
    const db = new drivers[0]!.Database(":memory:");
    assert.match(
      thrownBy(() => db.exec(`ATTACH '${uriOf(url, "&cache=shared")}' AS r`)).message,
      /unable to open|cache=shared/,
    );
    db.close();
  },

  /** LITESTREAM_REPLICA_URL names the replica. */
  async environment() {
    await using _registration = await register();
    for (const driver of drivers) {
      const db = openUri(driver, "file:any.db?vfs=litestream");
      assert.equal(valueOf(db, SUM), 200);
      db.close();
    }
  },

  /** The variables are those of the registration, whichever core of the process serves it. */
  async changedEnvironment() {
    const open = () => openUri(drivers[0]!, "file:any.db?vfs=litestream");
    process.env.LITESTREAM_REPLICA_URL = otherUrl;
    const first = await register();
    thrownBy(open);
    await first.close();
    process.env.LITESTREAM_REPLICA_URL = url;
    await using _registration = await register();
    const db = open();
    assert.equal(valueOf(db, SUM), 200);
    db.close();
  },

  /** The same, with nothing but a name. */
  async default() {
    await using _registration = await register({ default: true });
    for (const { Database } of drivers) {
      const db = new Database("file:my.db?vfs=litestream");
      assert.equal(valueOf(db, SUM), 200);
      db.close();
    }
    assert.deepEqual(readdirSync("."), []);
  },

  /** A registration that ends takes neither replicas nor another registration with it. */
  async endOfRegistration() {
    await using replica = await openReplica(url);
    const [first, second] = [await register(), await register()];
    const db = replica.connect();
    await first.close();
    const byUri = openUri(drivers[0]!, uriOf(url));
    assert.equal(valueOf(byUri, SUM), 200);
    await second.close();
    thrownBy(() => valueOf(byUri, "SELECT sum(length(b)) FROM t"));
    byUri.close();
    assert.match(thrownBy(() => valueOf(openUri(drivers[0]!, uriOf(url)), SUM)).message, /register\(\)/);
    assert.equal(valueOf(db, "SELECT count(*) + 0 * sum(a) FROM t"), 200);
    db.close();
    await using _again = await register();
    const reopened = openUri(drivers[0]!, uriOf(url));
    assert.equal(valueOf(reopened, SUM), 200);
    reopened.close();
  },

  /** One thread's registration stays when another's, that came later, has ended. */
  async registrationsOfThreads() {
    await using _registration = await register();
    const source = `const { parentPort, workerData } = await import("node:worker_threads");
      const { register } = await import(workerData);
      const registration = await register();
      parentPort.postMessage("registered");
      await new Promise((resolve) => parentPort.once("message", resolve));
      await registration.close();
      parentPort.close();`;
    const thread = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
      workerData: new URL("../../mod.ts", import.meta.url).href,
    });
    const ended = new Promise((resolve) => thread.once("exit", resolve));
    await new Promise((resolve, reject) => thread.once("message", resolve).once("error", reject));
    const meanwhile = openUri(drivers[0]!, uriOf(url));
    assert.equal(valueOf(meanwhile, SUM), 200);
    thread.postMessage("end");
    await ended;
    assert.equal(valueOf(meanwhile, "SELECT count(*) + 0 * sum(length(b)) FROM t"), 200);
    meanwhile.close();
    const later = openUri(drivers[0]!, uriOf(url));
    assert.equal(valueOf(later, SUM), 200);
    later.close();
  },

  /** The bare recipe without the one call it needs. */
  async unregistered() {
    const path = await loadablePath();
    for (const driver of drivers) {
      const { Database } = driver;
      const Loading = Database as DatabaseClass<
        ReplicaDatabase & { loadExtension(path: string, entry: string): void }
      >;
      const loader = new Loading(
        ":memory:",
        ...(driver.name === "node:sqlite" ? [{ allowExtension: true }] : []),
      );
      loader.loadExtension(path, entryPoint);
      const error = thrownBy(() => valueOf(openUri(driver, uriOf(url)), SUM));
      assert.match(error.message, /expected a call of register\(\)/);
      loader.exec("CREATE TABLE works (a)");
      loader.close();
    }
  },
};

await children[name]!();
