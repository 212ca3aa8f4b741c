import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readFile, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { WriteLogError } from "../../src/errors.ts";
import { keepRoom, lastStoredMs, type LogBase, readBase, writeBase } from "../../src/write/log_base.ts";
import { withFolder } from "../support/real.ts";

const base: LogBase = {
  txid: 0xffff_ffff_ffff_fff0n,
  head: { versions: [2, 2], counter: 0xffff_ffff },
  files: [
    {
      key: "0009/a.ltx",
      etag: '"a"',
      size: 5_000_000_000,
      modifiedMs: 1_700_000_000_123,
      level: 9,
      minTxid: 1n,
      maxTxid: 2n ** 60n,
    },
    {
      key: "0000/b.ltx",
      etag: "",
      size: 1,
      modifiedMs: 0.5,
      level: 0,
      minTxid: 2n ** 60n + 1n,
      maxTxid: 2n ** 60n + 1n,
    },
  ],
};

test("readBase() gives what writeBase() wrote; TXIDs of 64 bits stay whole", () =>
  withFolder(async (folder) => {
    const path = join(folder, "log");
    assert.equal(await readBase(path), undefined);
    await writeBase(path, base);
    assert.deepEqual(await readBase(path), base);
    const other = { ...base, txid: 3n, files: [] };
    await writeBase(path, other);
    assert.deepEqual(await readBase(path), other);
    assert.equal(existsSync(`${path}.base.tmp`), false);
    assert.equal((await stat(`${path}.base`)).mode & 0o777, 0o600);
  }));

test("writeBase() uses the room that keepRoom() kept, and leaves nothing of it", () =>
  withFolder(async (folder) => {
    const path = join(folder, "log");
    await keepRoom(path); // there is no base to keep room for
    assert.equal(existsSync(`${path}.base.tmp`), false);
    await writeBase(path, base);
    const { size } = await stat(`${path}.base`);
    await keepRoom(path);
    const room = await stat(`${path}.base.tmp`);
    assert.equal(room.size, 2 * size + 4096);
    assert.equal(room.mode & 0o777, 0o600);
    await writeBase(path, { ...base, files: [] });
    const text = await readFile(`${path}.base`, "utf8");
    assert.deepEqual(JSON.parse(text).files, []);
    assert.equal((await stat(`${path}.base`)).ino, room.ino);
  }));

test("writeBase() follows no link that lies in the place of its room", () =>
  withFolder(async (folder) => {
    const path = join(folder, "log");
    await writeFile(join(folder, "other"), "somebody's");
    await symlink(join(folder, "other"), `${path}.base.tmp`);
    await assert.rejects(writeBase(path, base), (error) => {
      assert.ok(error instanceof WriteLogError);
      assert.match(error.message, /^Cannot write ".*log\.base": /);
      assert.equal((error.cause as { code?: string }).code, "ELOOP");
      return true;
    });
    assert.equal(await readFile(join(folder, "other"), "utf8"), "somebody's");
    assert.equal(existsSync(`${path}.base`), false);
  }));

test("readBase() tells a base that is damaged from one that cannot be read", () =>
  withFolder(async (folder) => {
    const path = join(folder, "log");
    for (
      const text of [
        "",
        "{",
        "null",
        '{"txid":"x","files":[]}',
        '{"txid":"1"}',
        '{"txid":"1","files":[{"minTxid":1.5}]}',
      ]
    ) {
      await writeFile(`${path}.base`, text);
      await assert.rejects(readBase(path), (error) => {
        assert.ok(error instanceof WriteLogError);
        assert.match(error.message, /^Cannot read ".*log\.base": it is damaged$/);
        assert.ok(error.cause instanceof Error);
        return true;
      });
    }
    await mkdir(join(folder, "other.base"));
    await assert.rejects(readBase(join(folder, "other")), (error) => {
      assert.ok(error instanceof WriteLogError);
      assert.match(error.message, /^Cannot read ".*other\.base": (?!it is damaged)/);
      assert.equal((error.cause as { code?: string }).code, "EISDIR");
      return true;
    });
  }));

test("lastStoredMs() is the base's time; never where there is none, and just now where nobody can know", () =>
  withFolder(async (folder) => {
    const path = join(folder, "log");
    assert.equal(await lastStoredMs(path), -Infinity);
    await writeBase(path, base);
    await utimes(`${path}.base`, 1_700_000_000, 1_600_000_000);
    assert.equal(await lastStoredMs(path), 1_600_000_000_000);
    assert.equal(await lastStoredMs(join(`${path}.base`, "log")), Infinity);
  }));
