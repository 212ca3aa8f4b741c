/** Uploads that are slow, or whose storage fails in the midst of them: they are gone on with. */
import assert from "node:assert/strict";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { openReplica, type Replica } from "../../mod.ts";
import { valueOf, withConnection } from "../replica/drivers.ts";
import { withFolder } from "../support/real.ts";

/** More than a writer makes a file of in memory: what is stored is read from storage. */
const LARGE = 17_000_000;

/** A place with moods, and a writer's log. */
class Place {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async open(): Promise<Replica> {
    const moods = join(this.#folder, "moods");
    await mkdir(moods, { recursive: true });
    return await openReplica({
      storage: {
        module: new URL("unsteady_storage.ts", import.meta.url),
        options: { folder: join(this.#folder, "replica"), moods },
      },
      write: true,
      bufferPath: join(this.#folder, "log"),
      requestTimeoutMs: 1_000,
      syncIntervalMs: 0,
      pollIntervalMs: 0,
      compact: false,
      log: () => {},
    });
  }

  async set(mood: "down" | "late" | "lost" | "falling" | "absent" | "removed" | "misnamed"): Promise<void> {
    await writeFile(join(this.#folder, "moods", mood), "");
  }

  async heal(): Promise<void> {
    await rm(join(this.#folder, "moods", "down"));
  }
}

function withPlace(act: (place: Place) => Promise<void>): Promise<void> {
  return withFolder((folder) => act(new Place(folder)));
}

function run(replica: Replica, sql: string): void {
  withConnection(replica, undefined, (db) => db.exec(sql));
}

function count(replica: Replica): unknown {
  return withConnection(replica, undefined, (db) => valueOf(db, "SELECT count(*) FROM t"));
}

test("a new database's first upload may take longer than a writer stores on without a look", () =>
  withPlace(async (place) => {
    await using replica = await place.open();
    await place.set("late");
    run(replica, "CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    assert.equal(await replica.sync(), 1n);
    run(replica, "INSERT INTO t VALUES (2)");
    assert.equal(await replica.sync(), 2n);
  }));

test("a new database's first file is known again whose answer was lost long ago", () =>
  withPlace(async (place) => {
    await using replica = await place.open();
    await place.set("late");
    await place.set("lost");
    run(replica, "CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    await assert.rejects(replica.sync(), { name: "DeadlineError" });
    await place.heal();
    await place.set("late");
    assert.equal(await replica.sync(), 1n);
    run(replica, "INSERT INTO t VALUES (2)");
    assert.equal(await replica.sync(), 2n);
  }));

test(
  "an outage right after a large file was stored ends no writer",
  { timeout: 60_000 },
  () =>
    withPlace(async (place) => {
      const replica = await place.open();
      run(replica, "CREATE TABLE t(a)");
      await replica.sync();
      await place.set("falling");
      run(replica, `INSERT INTO t VALUES (zeroblob(${LARGE}))`);
      await assert.rejects(replica.sync(), { name: /^(Storage|Deadline)Error$/ });
      run(replica, "INSERT INTO t VALUES (2)");
      await assert.rejects(replica.sync(), { name: /^(Storage|Deadline)Error$/ });
      await place.heal();
      assert.equal(await replica.sync(), 3n);
      assert.equal(count(replica), 2);
      await replica.close();
      await using again = await place.open();
      assert.deepEqual([again.txid, count(again)], [3n, 2]);
    }),
);

test(
  "one answer that a large file just stored is gone ends no writer",
  { timeout: 60_000 },
  () =>
    withPlace(async (place) => {
      await using replica = await place.open();
      run(replica, "CREATE TABLE t(a)");
      await replica.sync();
      await place.set("absent");
      run(replica, `INSERT INTO t VALUES (zeroblob(${LARGE}))`);
      const unshown = /"ltx\/0\/\S+\.ltx" is listed, and a read finds it gone; it is tried again$/;
      await assert.rejects(replica.sync(), { name: "StorageError", message: unshown, retryable: true });
      run(replica, "INSERT INTO t VALUES (2)");
      assert.equal(await replica.sync(), 3n);
      assert.equal(count(replica), 2);
    }),
);

test(
  "a large file that is gone and not listed either ends the writer",
  { timeout: 60_000 },
  () =>
    withPlace(async (place) => {
      const replica = await place.open();
      run(replica, "CREATE TABLE t(a)");
      await replica.sync();
      await place.set("removed");
      run(replica, `INSERT INTO t VALUES (zeroblob(${LARGE}))`);
      const lost = { name: "WriteLogError", message: /what was stored cannot be shown: / };
      await assert.rejects(replica.sync(), lost);
      assert.throws(() => run(replica, "INSERT INTO t VALUES (2)"));
      await replica.close().catch(() => {});
    }),
);

test("one name that comes damaged ends no writer that looks after a slow upload", () =>
  withPlace(async (place) => {
    await using replica = await place.open();
    run(replica, "CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    await replica.sync();
    await place.set("late");
    await place.set("misnamed");
    run(replica, "INSERT INTO t VALUES (2)");
    assert.equal(await replica.sync(), 2n);
    run(replica, "INSERT INTO t VALUES (3)");
    assert.equal(await replica.sync(), 3n);
  }));
