/** Disks that are full or cannot be written to: each says so, nothing told is lost, and it goes on. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, rename, rm, rmdir, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import { type LogBase, readBase, writeBase } from "../../src/write/log_base.ts";
import { outcome } from "../soak/soak_support.ts";
import { type LocalDatabase, openLocal } from "../support/local_database.ts";
import { litestreamBinary, restore } from "../support/real.ts";

const noMount = mountFault();
const noLimit = process.platform === "win32" ? "Windows has no limits on a file's size" : false;

/** Why no file system can be mounted here; false where one can. */
function mountFault(): string | false {
  if (process.platform !== "linux") return "Mounting a file system of a few KiB is of Linux";
  if (process.getuid?.() !== 0) return "Mounting a file system of a few KiB takes root";
  const { status, stderr } = spawnSync("sh", [
    "-c",
    'f=$(mktemp -d) && mount -t tmpfs -o size=64k tmpfs "$f" && umount "$f"; s=$?; rmdir "$f"; exit $s',
  ]);
  return status === 0 ? false : `Mounting a file system of a few KiB fails: ${stderr}`;
}

function command(name: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(name, args);
  assert.equal(status, 0, String(stderr));
}

/** A replica in a folder, and its log in a file system of 512 KiB, unless said otherwise. */
class Place {
  readonly folder: string;
  readonly disk: string;
  readonly url: string;
  /** Numbers whose commits were told. */
  readonly told: number[] = [];
  #next = 1_000;

  constructor(folder: string) {
    this.folder = folder;
    this.disk = join(folder, "disk");
    this.url = `file://${folder}/replica`;
  }

  open(more: OpenOptions = {}): Promise<Replica> {
    const bufferPath = join(this.disk, "log");
    return openReplica(this.url, { write: true, bufferPath, syncIntervalMs: 0, pollIntervalMs: 0, ...more });
  }

  /** Commits a row of so many bytes. */
  insert(replica: Replica, size = 1_000): void {
    const i = this.#next++;
    const db = replica.connect();
    try {
      db.exec("CREATE TABLE IF NOT EXISTS t(i INTEGER PRIMARY KEY, body BLOB)");
      db.exec(`INSERT INTO t VALUES (${i}, randomblob(${size}))`);
      this.told.push(i);
    } finally {
      db.close();
    }
  }

  /** What was told is there, and nothing else. */
  check(db: LocalDatabase): void {
    assert.deepEqual(db.prepare("SELECT i FROM t ORDER BY i").all().map(({ i }) => i), this.told);
    assert.deepEqual({ ...db.prepare("PRAGMA integrity_check").get() }, { integrity_check: "ok" });
    db.close();
  }

  /** It goes on: writes, stores, closes; who opens it then has all, and so has Litestream. */
  async finish(replica: Replica): Promise<void> {
    this.insert(replica);
    await replica.sync();
    this.insert(replica);
    this.check(replica.connect());
    await replica.close();
    assert.deepEqual(await logsIn(this.disk), []);
    await using again = await this.open();
    this.check(again.connect());
    if (litestreamBinary() === undefined) return;
    const out = join(this.folder, "out.db");
    await restore(this.url, out);
    this.check(await openLocal(out));
  }

  /** Takes all the disk has left. */
  async fill(): Promise<void> {
    const wanted = Buffer.alloc(4 * 1024 * 1024);
    await assert.rejects(writeFile(join(this.disk, "filler"), wanted), { code: "ENOSPC" });
  }

  async clear(): Promise<void> {
    await rm(join(this.disk, "filler"));
  }
}

async function logsIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => /^log\.\d/.test(name));
}

async function withPlace(act: (place: Place) => Promise<void>): Promise<void> {
  const place = new Place(await mkdtemp(join(tmpdir(), "disk-test-")));
  try {
    await mkdir(place.disk);
    await act(place);
  } finally {
    await rm(place.folder, { recursive: true, force: true });
  }
}

/** Nothing can be written where the next base is made. */
async function blockBase({ disk }: Place): Promise<void> {
  await rm(join(disk, "log.base.tmp"), { force: true });
  await mkdir(join(disk, "log.base.tmp"));
}

/** With the log on a disk of its own. */
function withDisk(act: (place: Place) => Promise<void>): Promise<void> {
  return withPlace(async (place) => {
    command("mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place.disk);
    try {
      await act(place);
    } finally {
      command("sh", "-c", 'while umount -l "$1" 2>/dev/null; do :; done', "sh", place.disk);
    }
  });
}

/** Its error is the driver's; the words are the replica's. */
function assertFull(replica: Replica, act: () => void): void {
  assert.throws(act, /full/);
  assert.match(
    String(replica.lastError),
    /^WriteLogError: Cannot (append to|make|begin) write log ".*log": No space left on device/,
  );
}

test(
  "a full disk fails the commit alone, and it goes on once there is space",
  { skip: noMount },
  () =>
    withDisk(async (place) => {
      const replica = await place.open();
      place.insert(replica);
      await place.fill();
      for (let i = 0; i < 3; i++) assertFull(replica, () => place.insert(replica, 50_000));
      place.check(replica.connect());
      await place.clear();
      place.insert(replica, 50_000);
      place.check(replica.connect());
      await place.finish(replica);
    }),
);

test(
  "a log that fills its disk is stored, which makes space",
  { skip: noMount },
  () =>
    withDisk(async (place) => {
      const replica = await place.open();
      for (let round = 0; round < 3; round++) {
        assertFull(replica, () => {
          for (;;) place.insert(replica, 30_000);
        });
        place.check(replica.connect());
        await replica.sync();
      }
      await place.finish(replica);
    }),
);

test(
  "a log that fills its disk right after an opening, or a state of others, is stored",
  { skip: noMount },
  () =>
    withDisk(async (place) => {
      await using other = await place.open({
        bufferPath: join(place.folder, "other", "log"),
        compact: false,
      });
      for (let i = 0; i < 40; i++) {
        place.insert(other);
        await other.sync();
      }
      const replica = await place.open({ compact: false });
      for (let round = 0; round < 2; round++) {
        assertFull(replica, () => {
          for (;;) place.insert(replica, 500);
        });
        await replica.sync();
        place.check(replica.connect());
        await other.refresh();
        place.insert(other);
        await other.sync();
        await replica.refresh();
      }
      await place.finish(replica);
    }),
);

test(
  "a base that has no room is not put over the one before, in part",
  { skip: noMount },
  () =>
    withDisk(async (place) => {
      const path = join(place.disk, "log");
      const files = Array.from({ length: 200 }, (_, i) => ({
        key: `ltx/0/${i}`.padEnd(100, "x"),
        etag: "",
        size: 1,
        modifiedMs: 1,
        level: 0,
        minTxid: BigInt(i + 1),
        maxTxid: BigInt(i + 1),
      }));
      const before: LogBase = { txid: 1n, head: { versions: [1, 1], counter: 1 }, files: files.slice(0, 1) };
      await writeBase(path, before);
      await place.fill();
      await truncate(join(place.disk, "filler"), (await stat(join(place.disk, "filler"))).size - 8_192);
      const full = { name: "WriteLogError", message: /^Cannot write ".*log\.base": .*(ENOSPC|no space)/i };
      for (let i = 0; i < 2; i++) await assert.rejects(writeBase(path, { ...before, txid: 2n, files }), full);
      assert.deepEqual(await readBase(path), before);
      await place.clear();
      await writeBase(path, { ...before, txid: 2n, files });
      assert.deepEqual((await readBase(path))?.files, files);
    }),
);

test(
  "a transaction that spills into a full disk is given up",
  { skip: noMount },
  () =>
    withDisk(async (place) => {
      const replica = await place.open();
      place.insert(replica);
      const db = replica.connect();
      db.exec("PRAGMA cache_size = 2");
      db.exec("BEGIN");
      assertFull(replica, () => {
        for (let i = 5_000; i < 5_100; i++) db.exec(`INSERT INTO t VALUES (${i}, randomblob(30000))`);
      });
      try {
        db.exec("ROLLBACK");
      } catch {
        // SQLite has rolled it back by itself
      }
      db.close();
      place.check(replica.connect());
      await place.finish(replica);
    }),
);

/** What cannot be written to a full disk; where space is made for it, all is well. */
async function mayBeFull(work: Promise<unknown>): Promise<void> {
  const full = /^WriteLogError: Cannot write ".*log\.base": .*(ENOSPC|no space)/i;
  await work.catch((error) => assert.match(String(error), full));
}

test(
  "a disk that is full after an upload loses nothing, and it goes on",
  { skip: noMount },
  () =>
    withDisk(async (place) => {
      const replica = await place.open();
      place.insert(replica);
      await replica.sync();
      place.insert(replica);
      await place.fill();
      for (let i = 0; i < 2; i++) {
        await mayBeFull(replica.sync());
        place.check(replica.connect());
      }
      await place.clear();
      await place.finish(replica);
    }),
);

test(
  "a disk that is full while a log is recovered loses nothing, and it goes on",
  { skip: noMount },
  () =>
    withDisk(async (place) => {
      await leaveLog(place);
      await place.fill();
      for (let i = 0; i < 2; i++) await mayBeFull(place.open({ compact: false }).then(closed));
      await place.clear();
      await place.finish(await place.open());
    }),
);

async function closed(replica: Replica): Promise<void> {
  await replica.close();
}

/** What `.base` is written to cannot be made. */
const unwritable = { name: "WriteLogError", message: /^Cannot write ".*log\.base": .*(EISDIR|directory)/i };

test("a base that cannot be written after an upload says so, and the upload counts", () =>
  withPlace(async (place) => {
    const replica = await place.open();
    place.insert(replica);
    await replica.sync();
    await blockBase(place);
    for (let i = 0; i < 3; i++) {
      place.insert(replica);
      await assert.rejects(replica.sync(), unwritable);
      place.check(replica.connect());
    }
    await rmdir(join(place.disk, "log.base.tmp"));
    await replica.sync();
    await place.finish(replica);
  }));

test("a base that cannot be written when a log was recovered says so, and nothing is stored twice", () =>
  withPlace(async (place) => {
    await leaveLog(place);
    await blockBase(place);
    for (let i = 0; i < 2; i++) await assert.rejects(place.open(), unwritable);
    await rmdir(join(place.disk, "log.base.tmp"));
    await place.finish(await place.open());
  }));

test("a log of several TXIDs that were stored just before a crash is stored once", () =>
  withPlace(async (place) => {
    const replica = await place.open({ compact: false, requestTimeoutMs: 1_500 });
    place.insert(replica);
    await replica.sync();
    const [there, away] = [join(place.folder, "replica/ltx/0"), join(place.folder, "away")];
    await rename(there, away);
    await writeFile(there, ""); // no folder: nothing can be stored
    place.insert(replica);
    await assert.rejects(replica.sync());
    place.insert(replica); // under the next TXID
    const kept = join(place.folder, "kept");
    await cp(place.disk, kept, { recursive: true });
    await rm(there);
    await rename(away, there);
    await replica.close();
    await rm(place.disk, { recursive: true });
    await rename(kept, place.disk); // as if it had been killed right after the uploads
    const again = await place.open();
    assert.equal(again.txid, 3n);
    place.check(again.connect());
    await place.finish(again);
  }));

test("a file that may not grow fails the commit alone", { skip: noLimit }, () =>
  withPlace(async (place) => {
    const { how, printed } = await runChild(place, "trap '' XFSZ; ulimit -f 256;");
    assert.equal(how, "SIGKILL", printed);
    const failed = printed.match(/^failed .*$/gm) ?? [];
    assert.ok(failed.length > 1, printed);
    for (const words of failed) assert.match(words, /full.*WriteLogError: .*log": File too large/);
    assert.ok(printed.lastIndexOf("told") > printed.lastIndexOf("failed"), "it goes on");
    heard(place, printed);
    await place.finish(await place.open());
  }));

test("a log where there is no folder to be is refused with its path", () =>
  withPlace(async (place) => {
    await writeFile(join(place.folder, "file"), "");
    for (const folder of [join(place.folder, "file"), "/proc", "/proc/none"]) {
      await assert.rejects(place.open({ bufferPath: join(folder, "log") }), (error: Error) => {
        assert.equal(error.name, "WriteLogError");
        assert.ok(error.message.includes(`"${folder}`), error.message);
        return true;
      });
    }
  }));

const readOnly = { name: "WriteLogError", message: /"[^"]*disk.*read-only/i };

test(
  "a disk that can only be read is refused, until it can be written to",
  { skip: noMount },
  () =>
    withDisk(async (place) => {
      command("mount", "-o", "remount,ro", place.disk);
      await assert.rejects(place.open(), readOnly);
      command("mount", "-o", "remount,rw", place.disk);
      await place.finish(await place.open());
    }),
);

test(
  "a log on a disk that can only be read by now is refused, and stays",
  { skip: noMount },
  () =>
    withDisk(async (place) => {
      await leaveLog(place);
      const logs = await logsIn(place.disk);
      command("mount", "-o", "remount,ro", place.disk);
      await assert.rejects(place.open(), readOnly);
      assert.deepEqual(await logsIn(place.disk), logs);
      command("mount", "-o", "remount,rw", place.disk);
      await place.finish(await place.open());
    }),
);

/** A process that was killed: what it told is in the log alone. */
async function leaveLog(place: Place): Promise<void> {
  const { how, printed } = await runChild(place);
  assert.equal(how, "SIGKILL", printed);
  assert.ok((await logsIn(place.disk)).length > 0);
  heard(place, printed);
}

function heard(place: Place, printed: string): void {
  place.told.push(...[...printed.matchAll(/^told (\d+)$/gm)].map(([, number]) => Number(number)));
  assert.ok(place.told.length > 0, printed);
}

/** Runs the child; `before` is what the shell does first. */
function runChild(place: Place, before = ""): Promise<{ how: string; printed: string }> {
  const script = fileURLToPath(new URL("disk_child.ts", import.meta.url));
  const run = "Deno" in globalThis ? ["run", "-A", "--no-check"] : [];
  const size = before ? "20000" : "500";
  const line = [process.execPath, ...run, script, place.url, join(place.disk, "log"), size];
  return outcome(spawn("sh", ["-c", `${before} exec "$@"`, "sh", ...line]), 60_000);
}
