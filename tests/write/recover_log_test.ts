/** What recoverLog() stores of logs that are made up, and what it refuses. */
import assert from "node:assert/strict";
import { chown, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { ConflictError, ObjectExistsError, StorageError, WriteLogError } from "../../src/errors.ts";
import { formatTxid } from "../../src/ltx/txid.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";
import { type LogBase, readBase, writeBase } from "../../src/write/log_base.ts";
import { type Recovered, recoverLog, type RecoveryOptions } from "../../src/write/recovery.ts";
import { withFolder } from "../support/real.ts";
import { readLog } from "../../src/write/write_log.ts";
import { frameOffset, logBytes, type MadeFrame } from "./log_bytes.ts";

const OWN = new Uint8Array(24).fill(7);

function fileOf(level: number, minTxid: bigint, maxTxid: bigint): ReplicaFile {
  const key = `000${level}/${formatTxid(minTxid)}-${formatTxid(maxTxid)}.ltx`;
  return { key, etag: `"${key}"`, size: 700, modifiedMs: 1, level, minTxid, maxTxid };
}

/** One TXID of so many transactions. */
function transactions(txid: bigint, count = 1): MadeFrame[] {
  return Array.from({ length: count }, (_, i) => ({ pgno: 1 + i, commit: 9, txid, timeMs: 5 }));
}

/** A log on top of TXID 3, in a replica that has files up to there. */
class Place {
  readonly path: string;
  /** What the replica has. */
  listed: ReplicaFile[] = [fileOf(9, 1n, 3n), fileOf(0, 3n, 3n)];
  base: LogBase = { txid: 3n, head: { versions: [2, 2], counter: 40 }, files: [fileOf(9, 1n, 3n)] };
  readonly stored: Recovered[] = [];
  readonly notices: string[] = [];
  lists = 0;
  /** Called before something is stored. */
  onPut: (recovered: Recovered) => void = () => {};

  constructor(readonly folder: string) {
    this.path = join(folder, "log");
  }

  /** Writes lock, base and log files, each of which says where the one before ended. */
  async write(...logs: MadeFrame[][]): Promise<void> {
    await writeFile(`${this.path}.lock`, "");
    await writeBase(this.path, this.base);
    let crcBefore: bigint | undefined;
    for (const [i, frames] of logs.entries()) {
      const path = `${this.path}.${i + 1}`;
      await writeFile(path, logBytes(frames, { base: OWN, ...(crcBefore !== undefined && { crcBefore }) }));
      crcBefore = (await readLog(path))!.crc;
    }
  }

  recover(options: Partial<RecoveryOptions> = {}): Promise<boolean> {
    return recoverLog({
      path: this.path,
      name: "s3://bucket/db",
      base: OWN,
      isUnconditional: false,
      list: () => {
        this.lists++;
        return Promise.resolve([...this.listed]);
      },
      put: (recovered) => {
        this.onPut(recovered);
        this.stored.push(recovered);
        const { txid } = recovered.logged;
        const file = fileOf(0, txid, txid);
        if (!this.listed.some(({ key }) => key === file.key)) this.listed.push(file);
        return Promise.resolve(file);
      },
      onNotice: (text) => this.notices.push(text),
      ...options,
    });
  }

  /** TXIDs and counters that were stored. */
  get counters(): [bigint, number][] {
    return this.stored.map(({ logged, head }) => [logged.txid, head.counter]);
  }
}

function withPlace(act: (place: Place) => Promise<void>): Promise<void> {
  return withFolder((folder) => act(new Place(folder)));
}

/** What a log that is kept is refused with. */
function kept(found: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof ConflictError, `${error}`);
    assert.match(
      error.message,
      /^Cannot store write log ".*log" in s3:\/\/bucket\/db: .*; the log is kept, move it away to write again$/,
    );
    assert.match(error.message, found);
    return true;
  };
}

test("recoverLog() refuses nothing for one listing that others do not bear out", () =>
  withPlace(async (place) => {
    const begun = place.listed;
    const misnamed = [...begun, fileOf(1, 4n, 904n)];
    /** How often it lists where the listing of that number is another. */
    const listsWith = async (damaged: number, instead: ReplicaFile[]) => {
      place.listed = [...begun];
      place.stored.length = 0;
      await place.write(transactions(4n), transactions(5n));
      let lists = 0;
      const list = () => Promise.resolve(lists++ === damaged ? [...instead] : [...place.listed]);
      assert.equal(await place.recover({ list }), true, `listing ${damaged}`);
      assert.deepEqual(place.counters, [[4n, 41], [5n, 42]], `listing ${damaged}`);
      return lists;
    };
    const ordinary = await listsWith(-1, []);
    assert.equal(await listsWith(0, []), ordinary + 2, "of where the log belongs");
    assert.equal(await listsWith(0, [{ ...begun[0]!, etag: '"other"' }]), ordinary + 2);
    for (let damaged = 1; damaged < ordinary; damaged++) {
      assert.equal(await listsWith(damaged, misnamed), ordinary + 2, `listing ${damaged}`);
    }
  }));

test("recoverLog() stores each TXID that is not stored, and writes down how far it is", () =>
  withPlace(async (place) => {
    await place.write([...transactions(3n), ...transactions(4n, 2)], transactions(5n, 3), transactions(6n));
    const bases: (LogBase | undefined)[] = [];
    await place.recover({
      put: async (recovered) => {
        bases.push(await readBase(place.path));
        place.stored.push(recovered);
        const { txid } = recovered.logged;
        place.listed.push(fileOf(0, txid, txid));
        return fileOf(0, txid, txid);
      },
    });
    assert.deepEqual(place.counters, [[4n, 42], [5n, 45], [6n, 46]]);
    assert.deepEqual(bases.map((base) => [base!.txid, base!.head.counter]), [[3n, 40], [4n, 42], [5n, 45]]);
    assert.deepEqual(await readBase(place.path), {
      txid: 6n,
      head: { versions: [2, 2], counter: 46 },
      files: [fileOf(9, 1n, 3n), fileOf(0, 4n, 4n), fileOf(0, 5n, 5n), fileOf(0, 6n, 6n)],
    });
    assert.deepEqual(place.stored.map(({ log }) => log.path.slice(-6)), ["/log.1", "/log.2", "/log.3"]);
    assert.deepEqual(place.notices, []);
  }));

test("recoverLog() has nothing to do without a log, or with one that is stored", () =>
  withPlace(async (place) => {
    await place.write();
    await place.recover();
    assert.equal(place.lists, 0);
    await place.write(transactions(2n), transactions(3n));
    await place.recover();
    assert.deepEqual(place.stored, []);
    await writeFile(`${place.path}.3`, new Uint8Array(64)); // begun, and never written
    await place.recover();
    assert.deepEqual([place.stored, place.notices], [[], []]);
  }));

test("recoverLog() has nothing to do with a log that is stored, whatever the replica is by now", () =>
  withPlace(async (place) => {
    await place.write(transactions(2n), transactions(3n));
    for (const listed of [[], [fileOf(0, 4n, 9n)], [{ ...fileOf(9, 1n, 3n), etag: '"other"' }]]) {
      place.listed = listed;
      assert.equal(await place.recover({ base: new Uint8Array(24), isShared: listed.length === 0 }), true);
    }
    assert.deepEqual([place.stored, place.notices, place.lists], [[], [], 0]);
  }));

test("recoverLog() tells of what is behind the last commit", () =>
  withPlace(async (place) => {
    await place.write([...transactions(4n), { pgno: 8 }, { pgno: 9 }]);
    await place.recover();
    assert.deepEqual(place.counters, [[4n, 41]]);
    assert.equal(place.notices.length, 1);
    assert.match(
      place.notices[0]!,
      /^Write log ".*log\.1": 1104 bytes behind the last commit are left out, /,
    );
  }));

test("recoverLog() keeps a log that nothing tells the place of", () =>
  withPlace(async (place) => {
    await place.write(transactions(4n));
    await rm(`${place.path}.base`);
    await assert.rejects(place.recover(), kept(/nothing tells what it is on top of/));
    assert.deepEqual(place.stored, []);
  }));

test("recoverLog() keeps a new database's log that an earlier version began at one of several places", () =>
  withPlace(async (place) => {
    place.base = { txid: 0n, head: { versions: [1, 1], counter: 0 }, files: [] };
    place.listed = [];
    await place.write(transactions(1n));
    const other = new Uint8Array(24);
    await assert.rejects(place.recover({ base: other }), kept(/was to be stored elsewhere/));
    const earlier = { base: other, earlierBase: OWN };
    await assert.rejects(place.recover(earlier), kept(/an earlier version began it for a new database/));
    await assert.rejects(place.recover({ ...earlier, isShared: true }), kept(/an earlier version began it/));
    assert.deepEqual(place.stored, []);
    assert.equal(await place.recover({ isShared: true }), true);
    assert.deepEqual(place.counters, [[1n, 1]]);
  }));

test("recoverLog() leaves no shared log alone for one listing that others do not bear out", () =>
  withPlace(async (place) => {
    await place.write(transactions(4n));
    let lists = 0;
    const list = () => Promise.resolve(lists++ === 0 ? [fileOf(9, 1n, 8n)] : [...place.listed]);
    assert.equal(await place.recover({ list, isShared: true }), true);
    assert.deepEqual([place.counters, place.notices], [[[4n, 41]], []]);
  }));

test("recoverLog() leaves a shared log alone that is on top of other files", () =>
  withPlace(async (place) => {
    await place.write(transactions(4n));
    place.listed = [{ ...fileOf(9, 1n, 3n), etag: '"another"' }, fileOf(0, 4n, 4n)];
    assert.equal(await place.recover({ isShared: true }), false);
    assert.deepEqual([place.stored, place.notices.length], [[], 1]);
    assert.match(place.notices[0]!, /^Write log ".*log" of an earlier version is left: /);
  }));

test("recoverLog() keeps a log that lacks a TXID, after what comes before", () =>
  withPlace(async (place) => {
    await place.write(transactions(5n));
    await assert.rejects(place.recover(), kept(/it goes on with TXID 0{15}5 after 0{15}3/));
    await place.write(transactions(4n), transactions(6n));
    await assert.rejects(place.recover(), kept(/it goes on with TXID 0{15}6 after 0{15}4/));
    assert.deepEqual(place.counters, [[4n, 41]]);
    assert.equal((await readBase(place.path))!.txid, 4n);
  }));

test("recoverLog() keeps a log where others have gone on", () =>
  withPlace(async (place) => {
    await place.write(transactions(4n));
    place.listed.push(fileOf(1, 4n, 4n)); // no file of its own
    await assert.rejects(place.recover(), kept(/it has TXID 0{15}4, and 0{15}4 is the newest in storage/));
    place.listed.push(fileOf(0, 5n, 5n));
    await assert.rejects(place.recover(), kept(/it has TXID 0{15}4, and 0{15}5 is the newest in storage/));
    place.listed = [fileOf(9, 1n, 3n), fileOf(0, 3n, 4n), fileOf(0, 4n, 5n)];
    await assert.rejects(place.recover(), kept(/0{15}5 is the newest in storage/));
    assert.deepEqual(place.stored, []);
  }));

test("recoverLog() keeps a log whose TXID came late into a gap of another writer's history", () =>
  withPlace(async (place) => {
    await place.write(transactions(4n), transactions(5n));
    place.onPut = () => place.listed.push(fileOf(1, 4n, 9n), fileOf(0, 9n, 9n));
    const found = /another writer stored TXID 0{15}9 while TXID 0{15}4 was on its way/;
    await assert.rejects(place.recover(), kept(found));
    assert.equal((await readBase(place.path))!.txid, 3n);
    place.onPut = () => {};
    await assert.rejects(place.recover(), kept(/it ended in a conflict: another writer stored TXID 0{15}9/));
    assert.deepEqual(place.counters, [[4n, 41]]);
  }));

test("recoverLog() keeps a log where storage has gone back behind it", () =>
  withPlace(async (place) => {
    await place.write(transactions(4n));
    place.base = { ...place.base, files: [fileOf(0, 2n, 2n)] };
    await writeBase(place.path, place.base);
    place.listed = [fileOf(0, 2n, 2n)];
    await assert.rejects(place.recover(), kept(/it has TXID 0{15}4, and 0{15}2 is the newest in storage/));
    assert.deepEqual(place.stored, []);
  }));

test("recoverLog() has a TXID that is there under its own name compared by the store", () =>
  withPlace(async (place) => {
    await place.write(transactions(4n), transactions(5n));
    place.listed.push(fileOf(0, 4n, 4n));
    await place.recover();
    assert.deepEqual(place.counters, [[4n, 41], [5n, 42]]);
  }));

test("recoverLog() tells a rival's file from other failures of the store", () =>
  withPlace(async (place) => {
    await place.write(transactions(4n));
    const details = { key: "k", status: 412, retryable: false };
    const exists = new ObjectExistsError("Cannot put: it is there", details);
    place.onPut = () => {
      throw exists;
    };
    await assert.rejects(place.recover(), (error) => {
      kept(/another writer stored TXID 0{15}4/)(error);
      assert.equal((error as Error).cause, exists);
      return true;
    });
    const refused = new StorageError("Cannot put: status 403", { ...details, status: 403 });
    place.onPut = () => {
      throw refused;
    };
    await assert.rejects(place.recover(), (error) => error === refused);
    assert.equal((await readBase(place.path))!.txid, 3n);
    place.onPut = () => {};
    await place.recover();
    assert.deepEqual(place.counters, [[4n, 41]]);
  }));

test("recoverLog() keeps a log where none of the files is left that it is on top of", () =>
  withPlace(async (place) => {
    await place.write(transactions(4n));
    place.listed = [{ ...fileOf(9, 1n, 3n), etag: '"other"' }];
    await assert.rejects(place.recover(), kept(/the replica is another one by now/));
    place.listed = [];
    await assert.rejects(place.recover(), kept(/the replica is another one by now/));
    assert.deepEqual(place.stored, []);
  }));

test("recoverLog() goes on where its first TXID is stored and all before compacted, unless it would overwrite", () =>
  withPlace(async (place) => {
    await place.write(transactions(3n), transactions(4n), transactions(5n));
    place.listed = [fileOf(0, 4n, 4n)];
    await assert.rejects(place.recover({ isUnconditional: true }), kept(/the replica is another one by now/));
    assert.deepEqual(place.stored, []);
    for (const other of [fileOf(1, 4n, 4n), fileOf(0, 3n, 4n), fileOf(0, 4n, 5n)]) {
      place.listed = [other];
      await assert.rejects(place.recover(), kept(/the replica is another one by now/));
    }
    place.listed = [fileOf(0, 4n, 4n)];
    await place.recover();
    assert.deepEqual(place.counters, [[4n, 41], [5n, 42]]);
  }));

test("recoverLog() stores a new database's log in its own place alone", () =>
  withPlace(async (place) => {
    place.base = { txid: 0n, head: { versions: [1, 1], counter: 0 }, files: [] };
    place.listed = [];
    await place.write(transactions(1n));
    await assert.rejects(place.recover({ base: new Uint8Array(24).fill(8) }), kept(/it is a new database's/));
    assert.equal(place.lists, 0);
    await place.recover();
    assert.deepEqual(place.counters, [[1n, 1]]);
  }));

test("recoverLog() tells damage of a log, and stores nothing of the others", () =>
  withPlace(async (place) => {
    await place.write(transactions(4n), transactions(5n));
    await writeFile(`${place.path}.2`, logBytes(transactions(5n), { magic: "LSWX" }));
    await assert.rejects(place.recover(), { name: "WriteLogError", message: /begins with "LSWX"/ });
    assert.deepEqual(place.stored, []);
  }));

test("recoverLog() refuses a log without a lock beside it", () =>
  withPlace(async (place) => {
    await place.write(transactions(4n));
    await rm(`${place.path}.lock`);
    await assert.rejects(place.recover(), (error) => {
      assert.ok(error instanceof WriteLogError);
      assert.match(error.message, /^Cannot go on with write log ".*log": no lock, expected this writer's$/);
      assert.equal((error.cause as { code?: string }).code, "ENOENT");
      return true;
    });
  }));

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.error("skipped: files of other users, which only root can make");

test("recoverLog() refuses what is no plain file, or another user's", () =>
  withPlace(async (place) => {
    const refused = (name: string, what: RegExp) =>
      assert.rejects(place.recover(), (error) => {
        assert.ok(error instanceof WriteLogError);
        assert.match(
          error.message,
          new RegExp(`^Cannot go on with write log ".*log${name.replace(".", "\\.")}": `),
        );
        assert.match(error.message, what);
        assert.match(error.message, /, expected one of this writer's$/);
        return true;
      });
    for (const name of [".1", ".base"]) {
      await place.write(transactions(4n));
      await rename(place.path + name, join(place.folder, "elsewhere"));
      await symlink(join(place.folder, "elsewhere"), place.path + name);
      await refused(name, /: it is no plain file,/);
      await rm(place.path + name);
      if (!isRoot) continue;
      await place.write(transactions(4n));
      await chown(place.path + name, 4242, 4242);
      await refused(name, /: it is another user's,/);
      await rm(place.path + name);
    }
    assert.deepEqual(place.stored, []);
    await place.write(transactions(4n));
    await place.recover();
    assert.deepEqual(place.counters, [[4n, 41]]);
  }));

test("recoverLog() stores nothing on top of a file that has lost transactions which are not stored", () =>
  withPlace(async (place) => {
    for (const frames of [1, 2]) {
      await place.write(transactions(4n, 3), transactions(5n), transactions(6n));
      await truncate(`${place.path}.1`, frameOffset(frames));
      await assert.rejects(place.recover(), (error) => {
        assert.ok(error instanceof WriteLogError, `${error}`);
        assert.match(
          error.message,
          /log\.2": the file before it ends too early, expected all that was committed/,
        );
        return true;
      });
      assert.deepEqual(place.stored, []);
    }
    place.base = { ...place.base, txid: 4n };
    place.listed.push(fileOf(0, 4n, 4n));
    await place.write(transactions(4n, 3), transactions(5n), transactions(6n));
    await truncate(`${place.path}.1`, frameOffset(1));
    await place.recover();
    assert.deepEqual(place.stored.map(({ logged }) => logged.txid), [5n, 6n], "what it has lost is stored");
  }));
