/** What a killed process left in a folder goes when a writer opens it, and nothing else. */
import assert from "node:assert/strict";
import { mkdir, readdir, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { UnfinishedFile } from "../../src/storage/new_file.ts";
import { removeLeftUploads } from "../../src/storage/left_uploads.ts";
import { withFolder } from "../support/real.ts";

const UUID = "0f9e8d7c-0000-4abc-8def-0123456789ab";
const LTX = "0000000000000001-0000000000000002.ltx";
const LEFT = `${LTX}.${UUID}.tmp`;
const OTHERS = [
  LTX,
  `${LTX}.tmp`,
  `${LTX}.${UUID}`,
  `${LTX}.${UUID.toUpperCase()}.tmp`,
  `0000000000000002-0000000000000001.ltx.${UUID}.tmp`,
  `x${LEFT}`,
  `notes.${UUID}.tmp`,
  `${LEFT}~`,
];

/** Makes a file that was written so many hours ago, and accessed. */
async function leave(path: string, hours: number, accessedHours = hours): Promise<void> {
  await writeFile(path, "");
  const before = (hours: number) => Date.now() / 1000 - hours * 3600;
  await utimes(path, before(accessedHours), before(hours));
}

function withLevel(act: (replica: string, level: string) => Promise<void>): Promise<void> {
  return withFolder(async (folder) => {
    const replica = join(folder, "replica");
    const level = join(replica, "ltx", "1");
    await mkdir(level, { recursive: true });
    await act(replica, level);
  });
}

test("removeLeftUploads() removes what nobody has written to for a day, by its exact name", () =>
  withLevel(async (replica, level) => {
    for (const name of [LEFT, ...OTHERS]) await leave(join(level, name), 25);
    await leave(join(replica, LEFT), 25);
    await removeLeftUploads(replica);
    assert.deepEqual((await readdir(level)).sort(), [...OTHERS].sort());
    assert.deepEqual((await readdir(replica)).sort(), [LEFT, "ltx"].sort());
  }));

test("removeLeftUploads() leaves what is being made, whatever time it is given, and what is no file", () =>
  withLevel(async (replica, level) => {
    await leave(join(level, LEFT), 23);
    await leave(join(level, LEFT.replace("2.ltx", "3.ltx")), 1_000, 0);
    const made = await UnfinishedFile.begin(join(level, LTX.replace("2.ltx", "4.ltx")));
    await mkdir(join(level, LEFT.replace("2.ltx", "5.ltx")));
    await symlink(join(level, LEFT), join(level, LEFT.replace("2.ltx", "6.ltx")));
    const before = await readdir(level);
    assert.equal(before.length, 5);
    await removeLeftUploads(replica);
    assert.deepEqual(await readdir(level), before);
    await made.drop();
  }));

test("removeLeftUploads() knows what an UnfinishedFile names its own", () =>
  withLevel(async (replica, level) => {
    const file = await UnfinishedFile.begin(join(level, LTX));
    const [name] = await readdir(level) as [string];
    await leave(join(level, name), 25);
    await removeLeftUploads(replica);
    assert.deepEqual(await readdir(level), []);
    await file.drop();
  }));

test("a writer that opens a folder removes what was left there; a reader does not", () =>
  withLevel(async (replica, level) => {
    const options = { bufferPath: join(replica, "..", "log"), compact: false };
    const open = (write: boolean) => openReplica(`file://${replica}`, { ...options, write });
    const first = await open(true);
    const db = first.connect();
    db.exec("CREATE TABLE t(a)");
    db.close();
    await first.close();
    await leave(join(level, LEFT), 25);
    await (await open(false)).close();
    assert.deepEqual(await readdir(level), [LEFT]);
    await (await open(true)).close();
    assert.deepEqual(await readdir(level), []);
  }));
