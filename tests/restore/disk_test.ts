/** Disks that are full or cannot be written to: the place is named, what came is kept. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { noiseSql } from "../replica/drivers.ts";
import { Bucket, withTarget } from "./restoring.ts";

const noMount = mountFault();

/** Why no file system can be mounted here; false where one can. */
function mountFault(): string | false {
  if (process.platform !== "linux") return "Mounting a file system of a few MiB is of Linux";
  if (process.getuid?.() !== 0) return "Mounting a file system of a few MiB takes root";
  const { status, stderr } = spawnSync("sh", [
    "-c",
    'f=$(mktemp -d) && mount -t tmpfs -o size=64k tmpfs "$f" && umount "$f"; s=$?; rmdir "$f"; exit $s',
  ]);
  return status === 0 ? false : `Mounting a file system of a few MiB fails: ${stderr}`;
}

function command(name: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(name, args);
  assert.equal(status, 0, String(stderr));
}

/** With the place to restore to on a disk of its own. */
async function withDisk(size: string, act: (bucket: Bucket) => Promise<void>): Promise<void> {
  await using bucket = await Bucket.make();
  const { folder } = bucket.target;
  command("mount", "-t", "tmpfs", "-o", `size=${size}`, "tmpfs", folder);
  try {
    await act(bucket);
  } finally {
    command("sh", "-c", 'while umount -l "$1" 2>/dev/null; do :; done', "sh", folder);
  }
}

test(
  "a full disk is told of with the path, and the next call goes on",
  { skip: noMount },
  () =>
    withDisk("12m", async (bucket) => {
      const { target } = bucket;
      await using replica = await bucket.open();
      const full = {
        name: "LocalFileError",
        isTaken: false,
        message: /^Cannot restore to ".*out\.db": .*no space left on device.*; what has come is kept/i,
      };
      for (let i = 0; i < 2; i++) await assert.rejects(replica.restore(target.path), full);
      assert.ok(!existsSync(target.path));
      const came = bucket.checkedShare();
      assert.ok(came > 0.3, `${came} came`);
      command("mount", "-o", "remount,size=40m", target.folder);
      const read = await bucket.resume();
      assert.ok(Math.abs(read - (1 - came)) < 0.02, `read ${read} after ${came}`);
    }),
);

test(
  "a file takes no more than its own size on the disk, but for helpers",
  { skip: noMount },
  () =>
    withDisk("21m", async (bucket) => {
      assert.ok(bucket.folder.bytesAt(3).length > 20e6);
      await bucket.resume();
    }),
);

test(
  "a disk that can only be read is told of with the path",
  { skip: noMount },
  () =>
    withDisk("40m", async (bucket) => {
      const { target } = bucket;
      command("mount", "-o", "remount,ro", target.folder);
      await using replica = await bucket.open();
      const readOnly = { name: "LocalFileError", message: /^Cannot restore to ".*out\.db": .*read-only/i };
      await assert.rejects(replica.restore(target.path), readOnly);
      command("mount", "-o", "remount,rw", target.folder);
      await bucket.resume();
    }),
);

test("a folder that is not there is told of with the path", () =>
  withTarget(async (folder, target) => {
    folder.step(noiseSql(100));
    await using replica = await openReplica(folder.url);
    writeFileSync(join(target.folder, "file"), "");
    for (const name of ["none/out.db", "file/out.db"]) {
      const path = join(target.folder, name);
      await assert.rejects(replica.restore(path), (error: Error) => {
        assert.equal(error.name, "LocalFileError");
        assert.ok(error.message.startsWith(`Cannot restore to "${path}": `), error.message);
        return true;
      });
      assert.ok(!existsSync(path));
    }
    const path = join(target.folder, "none/out.db");
    mkdirSync(dirname(path));
    await replica.restore(path);
    assert.ok(existsSync(path));
  }));
