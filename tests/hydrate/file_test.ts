/** The file itself: whose it is, what happens to it while it is open, disks that refuse it, what is left. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { LocalFileError, type Replica, type ReplicaEvent } from "../../mod.ts";
import { assertSame, noiseSql, rowsOf, valueOf, withConnection } from "../replica/drivers.ts";
import { stepValue, until } from "../replica/following.ts";
import { SNAPSHOT } from "../support/replica_folder.ts";
import { openPlain } from "../support/sqlite.ts";
import {
  bytesSent,
  Child,
  HELD_BYTES,
  type Place,
  readerOf,
  shorten,
  smallSql,
  SUM,
  withPlace,
  withServedPlace,
} from "./hydrating.ts";

const TIMEOUT = { timeout: 120_000 } as const;

/** Asserts that a replica with this copy reads all, though it never becomes whole. */
async function assertGivenUp(place: Place, reason: RegExp): Promise<void> {
  const said: string[] = [];
  await using replica = await place.open({ log: ({ message }) => said.push(message) });
  const told: ReplicaEvent[] = [];
  replica.on("hydration", (event) => told.push(event));
  await assert.rejects(replica.hydrated(), (found) => {
    assert.ok(found instanceof LocalFileError && found.cause instanceof LocalFileError, String(found));
    assert.match(found.message, /it was given up: /);
    for (const { message } of [found, found.cause]) assert.match(message, reason);
    return true;
  });
  assert.equal(replica.hydration?.phase, "failed");
  await until("the event", () => told.length > 0);
  const { error } = told.at(-1) as Extract<ReplicaEvent, { type: "hydration" }>;
  assert.ok(error instanceof LocalFileError);
  assert.match(error.message, reason);
  withConnection(replica, undefined, (db) => {
    assertSame(db, place.folder);
    assert.equal(valueOf(db, "PRAGMA litestream_hydration_progress"), "0.0");
  });
  await until("it is told of", () => said.some((text) => reason.test(text)));
}

for (
  const [name, make] of Object.entries({
    "another program's database": async (path: string) => {
      const db = await openPlain(path);
      db.exec("CREATE TABLE own(x); INSERT INTO own VALUES (1)");
      db.close();
    },
    "an empty file": (path: string) => writeFileSync(path, ""),
    "a folder": (path: string) => mkdirSync(path),
  })
) {
  test(`What is no copy is left as it is: ${name}`, TIMEOUT, () =>
    withPlace({}, async (place) => {
      stepValue(place.folder, 3);
      mkdirSync(dirname(place.path), { recursive: true });
      await make(place.path);
      const before = statSync(place.path).isFile() ? readFileSync(place.path) : undefined;
      await assertGivenUp(place, /there is another file/);
      assert.deepEqual(readdirSync(dirname(place.path)), ["local.db"]);
      if (before) assert.deepEqual(readFileSync(place.path), before);
    }));
}

test(
  "A folder that cannot be made, or written to, is told of, and reading goes on",
  TIMEOUT,
  () =>
    withPlace({}, async (place) => {
      stepValue(place.folder, 3);
      writeFileSync(join(place.folder.home, "copy"), "no folder");
      await assertGivenUp(place, /Cannot keep/);
    }),
);

test(
  "A second process reads from storage, and takes the copy over when the first has ended",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(500));
      await using first = new Child(place, { sql: SUM });
      await first.line("whole 1");
      const replica = await place.open();
      try {
        withConnection(replica, undefined, (db) => assertSame(db, folder));
        assert.deepEqual([replica.hydration?.phase, replica.hydration?.pages], ["under-way", 0]);
        stepValue(folder, 3);
        await replica.refresh();
        withConnection(replica, undefined, (db) => assertSame(db, folder));
        await first.line("whole 3");
        await first.kill();
        await replica.hydrated();
        const mark = replica.mark();
        withConnection(replica, undefined, (db) => assertSame(db, folder));
        assert.ok(replica.stats(mark).localReads > 0);
      } finally {
        await replica.close();
      }
      await place.assertCopy();
    }),
);

test(
  "A second replica of the process takes the copy over when the first is closed",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      place.folder.step(smallSql(200));
      const first = await place.openWhole();
      const second = await place.open();
      await first.close();
      await second.hydrated();
      await second.close();
      await place.assertCopy();
    }),
);

test(
  "A copy that is ahead of what its next owner has seen is taken over once that has looked",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder, s3 } = place;
      folder.record(noiseSql(2_000));
      folder.snapshot();
      place.upload();
      const size = folder.sizeOf(SNAPSHOT, 1, 1);
      const first = await place.openWhole();
      const said: string[] = [];
      await using second = await place.open({ log: ({ message }) => said.push(message) });
      await until("it waits", () => said.some((text) => text.includes("another process or replica has it")));
      folder.step("UPDATE n SET x = randomblob(900) WHERE id = 7");
      place.upload();
      await first.refresh();
      await until("the copy has it", () => first.hydration?.txid === 2n);
      s3.log.length = 0;
      await first.close();
      await second.hydrated();
      assert.equal(second.hydration?.txid, 2n);
      assert.ok(bytesSent(s3) < size / 2, `${bytesSent(s3)} bytes of ${size}`);
      await second.close();
      await place.assertCopy();
    }),
);

/** Deletes a folder that its owner may just be writing a record to, as whoever gives the command once more. */
function deleteFolder(path: string): void {
  for (let i = 0;; i++) {
    try {
      return rmSync(path, { recursive: true });
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOTEMPTY" || i === 100) throw error;
    }
  }
}

/** What outsiders do to the file while it is open. */
const OUTSIDERS: Record<string, (path: string) => void> = {
  deleted: (path) => rmSync(path),
  "deleted with its checksums": (path) => {
    rmSync(path);
    rmSync(`${path}-sums`);
  },
  "deleted with its folder": (path) => deleteFolder(dirname(path)),
  "cut to nothing": (path) => truncateSync(path, 0),
  "cut in the middle": (path) => truncateSync(path, 100_123),
  "replaced by another file": (path) => {
    writeFileSync(`${path}.new`, "another file");
    renameSync(`${path}.new`, path);
  },
};

for (const [name, harm] of Object.entries(OUTSIDERS)) {
  const steps = ["read", "told of a transaction, and read", "brought up to date, and read"];
  for (const next of steps) {
    test(
      `A copy that is ${name} while it is open, then ${next}, gives no wrong page`,
      TIMEOUT,
      () =>
        withPlace({ pageSize: 512 }, async (place) => {
          const { folder } = place;
          folder.step(smallSql(600));
          const replica = await place.openWhole();
          try {
            harm(place.path);
            if (next !== "read") {
              folder.step("UPDATE v SET x = 2; UPDATE k SET x = randomblob(400) WHERE id > 580");
              await replica.refresh();
            }
            if (next.startsWith("brought")) {
              await until("it is done", () => {
                const { phase, txid } = replica.hydration!;
                return phase === "failed" || txid === 2n;
              });
            }
            for (let i = 0; i < 3; i++) withConnection(replica, undefined, (db) => assertSame(db, folder));
          } finally {
            await replica.close();
          }
          if (name.startsWith("replaced")) {
            assert.equal(readFileSync(place.path, "utf8"), "another file");
            return;
          }
          await place.make();
          await place.assertCopy();
        }),
    );
  }
}

test(
  "A copy that is cut while several threads read it is made anew, once",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(2_000));
      const wanted = shorten(folder.rows(SUM));
      const said: string[] = [];
      const replica = await place.openWhole({ log: ({ message }) => said.push(message) });
      const readers = await Promise.all([1, 2, 3, 4].map(() => readerOf(replica)));
      truncateSync(place.path, 0);
      for (const rows of await Promise.all(readers.map((reader) => reader.ask(SUM)))) {
        assert.deepEqual(shorten(rows), wanted);
      }
      await replica.hydrated();
      assert.equal(said.filter((text) => text.includes("made anew")).length, 1, said.join("\n"));
      const mark = replica.mark();
      withConnection(replica, undefined, (db) => assertSame(db, folder));
      assert.ok(replica.stats(mark).localReads > 0);
      for (const reader of readers) await reader[Symbol.asyncDispose]();
      await replica.close();
      await place.assertCopy();
    }),
);

test(
  "A state before the newest one is read from storage when the copy is cut under it",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(600));
      const wanted = shorten(folder.rows(SUM));
      const replica = await place.openWhole();
      const [old, now] = [replica.connect(), replica.connect()];
      old.exec("BEGIN");
      assert.equal(valueOf(old, "SELECT x FROM v"), 1);
      stepValue(folder, 2);
      await replica.refresh();
      truncateSync(place.path, 0);
      assert.deepEqual(shorten(rowsOf(old, SUM)), wanted);
      assert.deepEqual(shorten(rowsOf(now, SUM)), shorten(folder.rows(SUM)));
      old.exec("COMMIT");
      await replica.hydrated();
      for (const db of [old, now]) {
        assertSame(db, folder);
        db.close();
      }
      await replica.close();
      await place.assertCopy();
    }),
);

function mountFault(): string | false {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return "Mounting takes Linux, and root";
  const folder = mkdtempSync(join(tmpdir(), "mount-"));
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]);
  if (status === 0) spawnSync("umount", [folder]);
  rmdirSync(folder);
  return status === 0 ? false : "Mounting a file system fails";
}

/** Gives the copy a file system of its own of so many MiB; `grow` makes it larger. */
async function withDisk(place: Place, size: number, use: (grow: () => void) => Promise<void>): Promise<void> {
  const path = dirname(place.path);
  mkdirSync(path);
  spawnSync("mount", ["-t", "tmpfs", "-o", `size=${size}m`, "tmpfs", path]);
  try {
    await use(() => spawnSync("mount", ["-o", "remount,size=16m", path]));
  } finally {
    spawnSync("umount", ["-l", path]);
  }
}

test("A full disk: reading goes on, and the copy is whole once there is room", {
  ...TIMEOUT,
  skip: mountFault(),
}, () =>
  withPlace({}, (place) =>
    withDisk(place, 1, async (grow) => {
      const { folder } = place;
      folder.step(noiseSql(2_000));
      const replica = await place.open();
      await until("it is given up", () => replica.hydration?.phase === "failed");
      withConnection(replica, undefined, (db) => assertSame(db, folder));
      await replica.close();
      grow();
      await place.make();
      await place.assertCopy();
    })));

test("A disk that fills up while the copy is kept up: reading goes on, what is there stays right", {
  ...TIMEOUT,
  skip: mountFault(),
}, () =>
  withPlace({}, (place) =>
    withDisk(place, 3, async (grow) => {
      const { folder } = place;
      folder.step(noiseSql(2_000));
      const replica = await place.openWhole();
      try {
        const db = replica.connect();
        db.exec("BEGIN");
        const sql = "SELECT count(*) AS n, group_concat(hex(x)) AS s FROM n";
        const wanted = rowsOf(db, sql);
        folder.step("UPDATE n SET x = randomblob(900); INSERT INTO n(x) SELECT randomblob(900) FROM n");
        await replica.refresh();
        assert.deepEqual(rowsOf(db, sql), wanted);
        db.exec("COMMIT");
        await until("it is given up", () => replica.hydration?.phase === "failed");
        assertSame(db, folder);
        db.close();
      } finally {
        await replica.close();
      }
      grow();
      await place.make();
      await place.assertCopy();
    })));

test(
  "A damaged file of the replica is found, nothing of it is read on, and nothing of it stays",
  TIMEOUT,
  () =>
    withPlace({}, async (place) => {
      const { folder } = place;
      folder.record(noiseSql(2_000));
      folder.snapshot();
      const whole = folder.sizeOf(9, 1, 1);
      // One byte of a blob: the frame is in order, and so is the page.
      folder.damage({ level: 9, minTxid: 1, maxTxid: 1 }, (bytes) => {
        bytes[Math.floor(whole * 0.95)]! ^= 1;
      });
      const replica = await place.open();
      await assert.rejects(replica.hydrated(), LocalFileError);
      assert.equal(replica.hydration?.pages, 0);
      await replica.close();
      assert.ok(!existsSync(`${place.path}-state`));
      folder.snapshot();
      await place.make();
      await place.assertCopy();
    }),
);

for (
  const [how, times, at] of [
    ["1×", 1, () => 5_000],
    ["3× in other ways", 3, (count: number) => 5_000 * count],
    ["3× in the same way", 3, () => 5_000],
  ] as const
) {
  test(
    `What was damaged on its way is told of, nothing of it stays, and the copy is made anew, ${how}`,
    TIMEOUT,
    () =>
      withServedPlace({}, async (place) => {
        const { folder, s3 } = place;
        folder.record(noiseSql(2_000));
        folder.snapshot();
        place.upload();
        let damaged = 0;
        s3.options.faults.pick = () => {
          const [, first, last] = /(\d+)-(\d+)/.exec(s3.log.at(-1)!.range) ?? [];
          const isCopied = Number(last) - Number(first) > HELD_BYTES;
          return isCopied && damaged++ < times ? { kind: "flipped", at: at(damaged) } : undefined;
        };
        const said: string[] = [];
        const replica = await place.openWhole({ log: ({ message }) => said.push(message) });
        assert.ok(damaged > times, `${damaged} parts`);
        assert.ok(said.some((text) => /The local copy is made anew: Cannot/.test(text)), said.join("\n"));
        await using reader = await readerOf(replica);
        const mark = replica.mark();
        assert.deepEqual(await reader.ask("SELECT count(*) AS n FROM n"), [{ n: 2_000 }]);
        assert.ok(replica.stats(mark).localReads > 0);
        await replica.close();
        await place.assertCopy();
      }),
  );
}

test(
  "What the copy is told by: PRAGMAs, property, event, threads",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(300));
      const replica: Replica = await place.open();
      const events: ReplicaEvent[] = [];
      replica.on("hydration", (event) => events.push(event));
      await replica.hydrated();
      const pagesTotal = folder.commitAt(1);
      const whole = { phase: "whole", path: place.path, pages: pagesTotal, pagesTotal, txid: 1n };
      assert.deepEqual(replica.hydration, whole);
      withConnection(replica, undefined, (db) => {
        assert.equal(valueOf(db, "PRAGMA litestream_hydration_progress"), "100.0");
        assert.equal(valueOf(db, "PRAGMA litestream_hydration_file"), place.path);
      });
      const isWhole = (event: ReplicaEvent) => event.type === "hydration" && event.isWhole;
      await until("it is told", () => events.some(isWhole));
      const last = events.at(-1) as Extract<ReplicaEvent, { type: "hydration" }>;
      assert.deepEqual(last, { type: "hydration", pages: pagesTotal, pagesTotal, isWhole: true });
      await replica.close();
      assert.equal(replica.hydration, undefined);
    }),
);

test(
  "The file is a plain database after the end: another program changes it, and that is not taken over",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(300));
      await place.make();
      const db = await openPlain(place.path);
      assert.deepEqual(shorten(db.all(SUM)), shorten(folder.rows(SUM)));
      db.exec(
        "UPDATE k SET x = randomblob(9) WHERE id % 3 = 0; INSERT INTO k SELECT NULL, x FROM k; DELETE FROM v",
      );
      db.close();
      await place.make();
      await place.assertCopy();
      assert.equal(statSync(place.path).mode & 0o077, 0, "others may not read it");
    }),
);

test(
  "A file that is no whole copy is no database",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(300));
      await place.make();
      const handle = openSync(place.path, "r+");
      writeSync(handle, new Uint8Array(512), 0, 512, 0);
      folder.step("UPDATE v SET x = 2");
      await place.make();
      await place.assertCopy();
    }),
);
