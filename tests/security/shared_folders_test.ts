/** Folders where others may write: what is put there is theirs to read or to swap, unless it is looked at. */
import assert from "node:assert/strict";
import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { LocalFileError, openReplica, WriteLogError } from "../../mod.ts";
import { rowsOf, withConnection } from "../replica/drivers.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";

/** Another user, whoever that is. */
const NOBODY = 65_534;

const isRoot = process.getuid?.() === 0;
const skipUnlessRoot = isRoot ? false : "only root can give a file to another user";
if (!isRoot) console.log(`shared folders: ${skipUnlessRoot}`);

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);

/** All files and folders below a path, with their modes. */
function modesBelow(path: string): string[] {
  return readdirSync(path, { recursive: true, withFileTypes: true }).map((entry) => {
    const at = join(entry.parentPath, entry.name);
    return `${entry.isDirectory() ? "folder" : "file"} ${modeOf(at)}`;
  });
}

async function withSmallReplica(use: (folder: ReplicaFolder) => Promise<void>): Promise<void> {
  await withReplicaFolder({}, async (folder) => {
    folder.step("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    const before = process.umask(0o000); // the worst there is: what no mode is given for everybody may write to
    try {
      await use(folder);
    } finally {
      process.umask(before);
    }
  });
}

test("all that is kept on disk is its user's alone, whatever the umask", () =>
  withSmallReplica(async (folder) => {
    const kept = join(folder.home, "kept");
    mkdirSync(kept, { mode: 0o700 });
    {
      await using replica = await openReplica(folder.url, {
        cacheDir: join(kept, "cache"),
        hydrate: join(kept, "copies", "copy.db"),
      });
      withConnection(replica, undefined, (db) => rowsOf(db, "SELECT * FROM t"));
      await replica.hydrated();
      await replica.restore(join(kept, "restored.db"));
    }
    {
      await using writer = await openReplica(folder.url, {
        write: true,
        bufferPath: join(kept, "logs", "log"),
      });
      withConnection(writer, undefined, (db) => db.exec("INSERT INTO t VALUES (2)"));
      await writer.sync();
      withConnection(writer, undefined, (db) => db.exec("INSERT INTO t VALUES (3)"));
      const modes = new Set(modesBelow(kept));
      assert.deepEqual([...modes].sort(), ["file 600", "folder 700"]);
    }
    assert.ok(modesBelow(kept).length > 8);
  }));

test("cacheDir is no folder where everybody may write", () =>
  withSmallReplica(async (folder) => {
    for (const mode of [0o777, 0o1777, 0o702]) {
      const cacheDir = join(folder.home, `cache-${mode.toString(8)}`);
      mkdirSync(cacheDir);
      chmodSync(cacheDir, mode);
      await assert.rejects(openReplica(folder.url, { cacheDir }), (error) => {
        assert.ok(error instanceof LocalFileError, String(error));
        assert.match(error.message, /everybody may write there, expected a folder of this user's alone$/);
        return true;
      });
      assert.deepEqual(readdirSync(cacheDir), []);
    }
    await (await openReplica(folder.url, { cacheDir: join(folder.home, "cache-777", "own") })).close();
    assert.equal(modeOf(join(folder.home, "cache-777", "own")), "700");
  }));

test("a log that lies there is stored as this writer's only where it is this user's", {
  skip: skipUnlessRoot,
}, () =>
  withSmallReplica(async (folder) => {
    const bufferPath = join(folder.home, "log");
    const open = () =>
      openReplica(folder.url, { write: true, bufferPath, pollIntervalMs: 0, syncIntervalMs: 0 });
    for (const ending of ["1", "base"]) {
      const planted = `${bufferPath}.${ending}`;
      writeFileSync(planted, "");
      chownSync(planted, NOBODY, NOBODY);
      await assert.rejects(open(), (error) => {
        assert.ok(error instanceof WriteLogError, String(error));
        assert.match(error.message, /it is another user's, expected one of this writer's$/);
        return true;
      });
      assert.ok(lstatSync(planted).isFile(), "it is left as it is");
      rmSync(planted);
    }
    await (await open()).close();
  }));

test("a link in a log's or a copy's place leads nowhere", () =>
  withSmallReplica(async (folder) => {
    const victim = join(folder.home, "victim");
    const content = "what is not ours to touch\n".repeat(400);
    writeFileSync(victim, content);
    const unchanged = () => assert.equal(readFileSync(victim, "utf8"), content);
    const logs = ["log.lock", "log.1", "log.base", "log.base.tmp"];
    const copies = ["copy.db", "copy.db-sums", "copy.db-state"];
    const restores = ["whole.db.partial", "whole.db.partial-sums", "whole.db.partial-state"];
    for (const name of [...logs, ...copies, ...restores]) {
      symlinkSync(victim, join(folder.home, name));
      const act = async () => {
        if (logs.includes(name)) {
          const bufferPath = join(folder.home, "log");
          await using writer = await openReplica(folder.url, { write: true, bufferPath });
          withConnection(writer, undefined, (db) => db.exec("INSERT INTO t VALUES (9)"));
        } else {
          const hydrate = copies.includes(name) && join(folder.home, "copy.db");
          await using replica = await openReplica(folder.url, { hydrate, log: () => {} });
          if (hydrate) await replica.hydrated();
          else await replica.restore(join(folder.home, "whole.db"), { force: true });
        }
      };
      const error = await act().then(() => undefined, (error) => error);
      unchanged();
      // A record is written beside and renamed: where a link stands for it, the link is replaced.
      const isReplaced = name === "whole.db.partial-state";
      const isRefused = error instanceof LocalFileError || error instanceof WriteLogError;
      assert.equal(isReplaced ? error : isRefused, isReplaced ? undefined : true, `${name}: ${error}`);
      for (const left of readdirSync(folder.home)) {
        if (/^(log|copy|whole)/.test(left)) rmSync(join(folder.home, left));
      }
    }
  }));

test("restore() replaces a link in a file's place, not the file that it leads to", () =>
  withSmallReplica(async (folder) => {
    const victim = join(folder.home, "victim");
    writeFileSync(victim, "untouched");
    const path = join(folder.home, "restored.db");
    symlinkSync(victim, path);
    await using replica = await openReplica(folder.url);
    await assert.rejects(replica.restore(path), LocalFileError);
    await replica.restore(path, { force: true });
    assert.equal(readFileSync(victim, "utf8"), "untouched");
    assert.ok(lstatSync(path).isFile());
  }));

test("what lies at the names that connections are opened by is neither read nor changed", () =>
  withSmallReplica(async (folder) => {
    const names = join(tmpdir(), `.litestream-replica-${process.pid}`);
    mkdirSync(names);
    try {
      const planted: string[] = [];
      for (let connection = 1; connection < 400; connection++) {
        for (const ending of ["", "-journal", "-wal"]) planted.push(join(names, `${connection}.db${ending}`));
      }
      for (const path of planted) writeFileSync(path, "planted");
      await using replica = await openReplica(folder.url);
      for (let i = 0; i < 3; i++) {
        withConnection(replica, undefined, (db) => {
          assert.deepEqual(rowsOf(db, "SELECT a FROM t"), [{ a: 1 }]);
          assert.deepEqual(rowsOf(db, "PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
        });
      }
      for (const path of planted) assert.equal(readFileSync(path, "utf8"), "planted", path);
      assert.equal(readdirSync(names).length, planted.length);
    } finally {
      rmSync(names, { recursive: true });
    }
  }));
