/** What a copy meets in a hostile place: outages at the worst moment, strange files at its paths, other processes. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { CachedPlace } from "../cache/cached_place.ts";
import { assertSame, drivers, rowsOf, withConnection } from "../replica/drivers.ts";
import { stepValue, until } from "../replica/following.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";

const TIMEOUT = { timeout: 60_000 } as const;

const { Database } = drivers[0]!;

const ROWS = "SELECT x, length(pad) FROM v, w";

test(
  "A copy that is lost while storage is away is left as soon as that is back",
  TIMEOUT,
  () =>
    CachedPlace.with(async (place) => {
      const { folder } = place;
      const path = join(folder.home, "copy.db");
      stepValue(folder, 1);
      folder.step("CREATE TABLE w (pad); INSERT INTO w VALUES (randomblob(30000))");
      place.push();
      const options = { cacheDir: undefined, hydrate: path, pollIntervalMs: 20, requestTimeoutMs: 4_000 };
      await place.with(options, async (replica, rows) => {
        await replica.hydrated();
        truncateSync(path, 4096);
        await place.gate.set("shut");
        await assert.rejects(rows("SELECT * FROM w"));
        folder.step("INSERT INTO v VALUES (2)");
        place.push();
        await place.gate.set("open");
        await replica.waitFor(3n);
        await until("the copy is given up", () => replica.hydration?.phase === "under-way");
        assert.deepEqual(await rows("SELECT * FROM w"), folder.rows("SELECT * FROM w"));
        await replica.hydrated();
      });
    }),
);

test(
  "The last state that a disk cache keeps is a whole one where all is read from a copy",
  TIMEOUT,
  () =>
    CachedPlace.with(async (place) => {
      const { folder } = place;
      stepValue(folder, 1);
      folder.step("CREATE TABLE w (pad); INSERT INTO w VALUES (randomblob(30000))");
      folder.step("UPDATE v SET x = 3");
      place.push();
      await place.with({ hydrate: join(folder.home, "copy.db") }, async (replica, rows) => {
        await rows(ROWS);
        await replica.hydrated();
        stepValue(folder, 5);
        place.push();
        await replica.refresh();
        await until("it is whole again", () => replica.hydration?.txid === 5n);
      });
      await place.gate.set("shut");
      await place.with({ offline: "serve-stale" }, async (replica, rows) => {
        assert.equal(replica.txid, 5n);
        assert.deepEqual(await rows(ROWS), folder.rows(ROWS));
      });
    }),
);

/** A database in WAL mode, whose page 1 is not written by each transaction. */
function inWal(sql: string): (source: ReplicaFolder["source"]) => void {
  return (source) => {
    source.exec(sql);
    source.all("PRAGMA wal_checkpoint(TRUNCATE)");
  };
}

test(
  "What a writer stores has the database's own header, also where page 1 is read from a copy",
  TIMEOUT,
  () =>
    withReplicaFolder({ setup: "PRAGMA journal_mode = WAL" }, async (folder) => {
      folder.step(inWal("CREATE TABLE v (x); INSERT INTO v VALUES (1)"));
      const options = {
        write: true,
        bufferPath: join(folder.home, "log"),
        hydrate: join(folder.home, "copy.db"),
        pollIntervalMs: 0,
        compact: false,
      };
      const replica = await openReplica(folder.url, options);
      try {
        await replica.hydrated();
        folder.step(inWal("UPDATE v SET x = 2"));
        await replica.refresh();
        await until("it is whole again", () => replica.hydration?.txid === 2n);
        withConnection(replica, Database, (db) => db.exec("CREATE TABLE w (y)"));
        await replica.sync();
        const path = join(folder.home, "restored.db");
        await replica.restore(path);
        assert.deepEqual([...readFileSync(path).subarray(18, 20)], [2, 2]);
      } finally {
        await replica.close();
      }
    }),
);

test("A copy is not taken over for a database that took its replica's place", TIMEOUT, async () => {
  for (const txids of [5, 9]) {
    await withReplicaFolder({}, (folder) =>
      withReplicaFolder({}, async (other) => {
        const path = join(folder.home, "copy.db");
        stepValue(folder, 5);
        other.step("CREATE TABLE pad (x); INSERT INTO pad VALUES (randomblob(10000))");
        other.step("CREATE TABLE v (x); INSERT INTO v VALUES ('other')");
        while (other.txid < txids) other.step("UPDATE v SET x = x || '.'");
        const replica = await openReplica(folder.url, { hydrate: path, pollIntervalMs: 0 });
        await replica.hydrated();
        folder.replaceBy(other);
        await replica.refresh().catch(() => {});
        await replica.close();
        const next = await openReplica(folder.url, { hydrate: path, pollIntervalMs: 0 });
        try {
          await next.hydrated();
          withConnection(next, Database, (db) => {
            assert.deepEqual(rowsOf(db, "PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
            assert.deepEqual(rowsOf(db, "SELECT * FROM pad, v"), other.rows("SELECT * FROM pad, v"));
          });
        } finally {
          await next.close();
        }
      }));
  }
});

/** What is not ours beside a copy's path; each gives the file that must stay as it is. */
const STRANGE: Record<string, (path: string) => string> = {
  "another file where its checksums would be": (path) => {
    writeFileSync(`${path}-sums`, "precious");
    return `${path}-sums`;
  },
  "another file where its record would be": (path) => {
    writeFileSync(`${path}-state`, "precious");
    return `${path}-state`;
  },
  "another file where the mark of what was checked would be": (path) => {
    writeFileSync(`${path}-check`, "precious");
    return `${path}-check`;
  },
  "a link where its checksums would be": (path) => {
    writeFileSync(`${path}.other`, "precious");
    symlinkSync(`${path}.other`, `${path}-sums`);
    return `${path}.other`;
  },
  "a link where it would be": (path) => {
    writeFileSync(`${path}.other`, "precious");
    symlinkSync(`${path}.other`, path);
    writeFileSync(`${path}-sums`, "");
    return `${path}.other`;
  },
  "a WAL that would be applied to it": (path) => {
    writeFileSync(`${path}-wal`, "precious");
    return `${path}-wal`;
  },
  "a journal that would be rolled back into it": (path) => {
    writeFileSync(`${path}-journal`, "precious");
    return `${path}-journal`;
  },
};

for (const [name, make] of Object.entries(STRANGE)) {
  test(`No copy is made beside ${name}`, TIMEOUT, () =>
    withReplicaFolder({}, async (folder) => {
      stepValue(folder, 3);
      const path = join(folder.home, "copy.db");
      const precious = make(path);
      const said: string[] = [];
      const log = ({ message }: { message: string }) => void said.push(message);
      const replica = await openReplica(folder.url, { hydrate: path, pollIntervalMs: 0, log });
      try {
        await assert.rejects(replica.hydrated(), /given up/);
        await until("it is told of", () => said.some((text) => text.includes("Cannot keep a local copy at")));
        withConnection(
          replica,
          Database,
          (db) => assert.deepEqual(rowsOf(db, "SELECT x FROM v"), [{ x: 3 }]),
        );
      } finally {
        await replica.close();
      }
      assert.equal(readFileSync(precious, "utf8"), "precious");
    }));
}

test(
  "A link at a path that is only written is not followed",
  TIMEOUT,
  () =>
    withReplicaFolder({}, async (folder) => {
      stepValue(folder, 3);
      const [copy, restored] = [join(folder.home, "copy.db"), join(folder.home, "restored.db")];
      const other = join(folder.home, "other");
      writeFileSync(other, "precious");
      for (
        const path of [`${copy}-state.tmp`, `${restored}.partial-check`, `${restored}.partial-state.tmp`]
      ) {
        symlinkSync(other, path);
      }
      const replica = await openReplica(folder.url, { hydrate: copy, pollIntervalMs: 0 });
      await replica.hydrated();
      await replica.restore(restored);
      await replica.close();
      assert.equal(readFileSync(other, "utf8"), "precious");
      assert.ok(existsSync(restored) && existsSync(`${copy}-state`));
    }),
);

test(
  "A copy that another process has changed since its record was read is not taken for the old one",
  TIMEOUT,
  () =>
    CachedPlace.with(async (place) => {
      const { folder, s3, gate } = place;
      stepValue(folder, 1);
      folder.step("CREATE TABLE w (pad); INSERT INTO w VALUES (randomblob(30000))");
      folder.step("CREATE TABLE z (pad); INSERT INTO z VALUES (randomblob(30000))");
      place.push();
      const options = {
        cacheDir: undefined,
        hydrate: join(folder.home, "copy.db"),
        offline: "serve-stale",
      } as const;
      await place.with(options, (replica) => replica.hydrated());
      let hasAsked = false;
      s3.options.faults.pick = ({ key }) => {
        if (key !== "" || hasAsked) return undefined;
        hasAsked = true;
        return { kind: "silence" };
      };
      const opening = place.open(options);
      const refused = assert.rejects(opening, /has changed it just now/);
      await until("it looks, and is not answered", () => hasAsked);
      folder.step("UPDATE w SET pad = 4");
      folder.step("UPDATE z SET pad = 5");
      place.push();
      await place.with(options, (replica) => replica.hydrated());
      await gate.set("shut");
      await refused;
    }),
);

/** Options of a test that waits for an answer that never comes, unless it is ended. */
const PATIENT = { cacheDir: undefined, requestTimeoutMs: 600_000 } as const;

test(
  "close() ends the wait for files that lead from a copy to the newest state",
  TIMEOUT,
  () =>
    CachedPlace.with(async (place) => {
      const { folder, s3 } = place;
      const options = { ...PATIENT, hydrate: join(folder.home, "copy.db") };
      stepValue(folder, 2);
      place.push();
      await place.with(options, (replica) => replica.hydrated());
      stepValue(folder, 3);
      folder.snapshot();
      place.push();
      const asked = Promise.withResolvers<void>();
      s3.options.faults.pick = ({ key }) => {
        if (!key.startsWith("db/0000/")) return undefined;
        asked.resolve();
        return { kind: "silence" };
      };
      const replica = await place.open(options);
      await asked.promise;
      await replica.close();
    }),
);

test(
  "close() ends the wait for a listing where a file of a copy is gone",
  TIMEOUT,
  () =>
    CachedPlace.with(async (place) => {
      const { folder, s3 } = place;
      stepValue(folder, 1);
      folder.step("CREATE TABLE w (pad); INSERT INTO w VALUES (randomblob(600000))");
      place.push();
      const asked = Promise.withResolvers<void>();
      let isGone = false;
      s3.options.faults.pick = ({ key }) => {
        if (key === "" && isGone) {
          asked.resolve();
          return { kind: "silence" };
        }
        const [, first, last] = /(\d+)-(\d+)/.exec(s3.log.at(-1)!.range) ?? [];
        isGone ||= Number(last) - Number(first) > 300_000; // as only the copy asks for
        return isGone ? { kind: "status", status: 404, code: "NoSuchKey" } : undefined;
      };
      const replica = await place.open({ ...PATIENT, hydrate: join(folder.home, "copy.db") });
      await asked.promise;
      await replica.close();
    }),
);

test(
  "A copy that is cut, then written to, gives no page of zeros",
  TIMEOUT,
  () =>
    withReplicaFolder({}, async (folder) => {
      stepValue(folder, 1);
      folder.step("CREATE TABLE w (pad); INSERT INTO w VALUES (randomblob(300000))");
      const path = join(folder.home, "copy.db");
      const replica = await openReplica(folder.url, { hydrate: path, pollIntervalMs: 0 });
      try {
        await replica.hydrated();
        truncateSync(path, 0);
        folder.step("UPDATE v SET x = 3");
        await replica.refresh();
        await until("it is whole again", () => replica.hydration?.txid === 3n);
        withConnection(replica, Database, (db) => assertSame(db, folder));
        assert.equal(readFileSync(path).length, folder.bytesAt(3).length);
      } finally {
        await replica.close();
      }
    }),
);
