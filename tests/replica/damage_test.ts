/** R16: damaged files are told, never shown as data; what is whole can be read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LtxFormatError, openReplica } from "../../mod.ts";
import { decodeHeader } from "../../src/ltx/header.ts";
import { decodePageIndex, type PageIndex } from "../../src/ltx/page_index.ts";
import { Random } from "../support/random.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { extendedCode, noiseSql, rowsOf, tableSql, thrownBy, valueOf, withConnection } from "./drivers.ts";

const SQLITE_IOERR_DATA = 8202;
const SNAPSHOT_FILE = { level: 9, minTxid: 1, maxTxid: 1 };

function indexOf(bytes: Uint8Array): PageIndex {
  const index = decodePageIndex(bytes, { ...decodeHeader(bytes), fileSize: bytes.length });
  assert.ok("pgnos" in index);
  return index;
}

/** Opens and gives what that fails with. */
async function openFault(folder: ReplicaFolder): Promise<LtxFormatError> {
  try {
    await using _replica = await openReplica(folder.url);
  } catch (error) {
    assert.ok(error instanceof LtxFormatError, `threw ${error}`);
    assert.match(error.message, /^Cannot .*: .+/);
    return error;
  }
  assert.fail("opened");
}

/** A way to damage the frame at `offset` of `size` bytes. */
type FrameDamage = (bytes: Uint8Array, offset: number, size: number) => void;

const frameDamages: Record<string, FrameDamage> = {
  "another page's number": (bytes, offset) => void (bytes[offset + 3]! ^= 1),
  "unknown flags": (bytes, offset) => void (bytes[offset + 4]! = 0x80),
  "the other encoding's flag": (bytes, offset) => void (bytes[offset + 5]! ^= 1),
  "nothing but zeros": (bytes, offset, size) => void bytes.fill(0, offset, offset + size),
  "a size that contradicts the index": (bytes, offset) => void (bytes[offset + 9]! ^= 1),
  "a token that gives too few bytes": (bytes, offset) => void (bytes[offset + 10]! = 0x10),
};

for (const [name, damage] of Object.entries(frameDamages)) {
  test(`R16: a frame with ${name} fails as SQLITE_IOERR_DATA with words; other pages can be read`, () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(2000));
      folder.snapshot();
      let pgno = 0;
      folder.damage(SNAPSHOT_FILE, (bytes) => {
        const index = indexOf(bytes);
        const k = Math.floor(index.pgnos.length / 2);
        pgno = index.pgnos[k]!;
        damage(bytes, index.offsets[k]!, index.sizes[k]!);
      });
      await using replica = await openReplica(folder.url);
      withConnection(replica, undefined, (db) => {
        const error = thrownBy(() => rowsOf(db, "SELECT sum(length(hex(x))) FROM n"));
        assert.equal(extendedCode(error), SQLITE_IOERR_DATA, error.message);
        const { lastError } = replica;
        assert.ok(lastError instanceof LtxFormatError, String(lastError));
        assert.match(lastError.message, new RegExp(`\\b${pgno}\\b`));
        assert.match(lastError.key, /^ltx\/9\/.*\.ltx$/);
        assert.equal(valueOf(db, "PRAGMA litestream_error"), `LtxFormatError: ${lastError.message}`);
        let whole = 0;
        const damaged: unknown[] = [];
        for (const { id, x } of folder.rows("SELECT id, hex(x) AS x FROM n")) {
          try {
            assert.equal(valueOf(db, "SELECT hex(x) FROM n WHERE id = ?", id), x);
            whole++;
          } catch (error) {
            if (error instanceof assert.AssertionError) throw error;
            damaged.push(id);
          }
        }
        assert.ok(damaged.length <= 4, `rows ${damaged} of one page`);
        assert.equal(whole + damaged.length, 2000);
      });
    }));
}

test("R16: a damaged page among those that come with the opening is told to who reads it, and to nobody else", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(`CREATE TABLE first (x); INSERT INTO first VALUES (1); ${noiseSql(1500)}`);
    const { rootpage } = folder.rows("SELECT rootpage FROM sqlite_schema WHERE name = 'first'")[0]!;
    const nothing = new Uint8Array(5);
    folder.put(
      folder.pathOf(9, 1, 1),
      folder.encode(1, 1, (page, pgno) => pgno === rootpage ? nothing : page),
    );
    await using replica = await openReplica(folder.url);
    withConnection(replica, undefined, (db) => {
      assert.deepEqual(rowsOf(db, "SELECT id, hex(x) FROM n"), folder.rows("SELECT id, hex(x) FROM n"));
      assert.equal(replica.lastError, undefined);
      assert.equal(extendedCode(thrownBy(() => rowsOf(db, "SELECT * FROM first"))), SQLITE_IOERR_DATA);
      assert.match(replica.lastError!.message, new RegExp(`^Cannot decode page ${rootpage} of `));
    });
  }));

for (const size of [0, 1, 4095, 4097, 8192]) {
  test(`R16: a page of 4096 bytes that decompresses to ${size} fails as SQLITE_IOERR_DATA with words`, () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(1500));
      const wrong = Uint8Array.from({ length: size }, (_, i) => i);
      folder.put(folder.pathOf(9, 1, 1), folder.encode(1, 1, (page, pgno) => pgno === 200 ? wrong : page));
      await using replica = await openReplica(folder.url);
      withConnection(replica, undefined, (db) => {
        const error = thrownBy(() => rowsOf(db, "SELECT sum(length(hex(x))) FROM n"));
        assert.equal(extendedCode(error), SQLITE_IOERR_DATA, error.message);
        assert.match(replica.lastError!.message, /^Cannot decode page 200 of /);
      });
    }));
}

test("R16: a flipped bit anywhere in a page stored as LZ4 frame is found", () =>
  withReplicaFolder({ encoding: "frame" }, async (folder) => {
    folder.record(noiseSql(1500));
    folder.snapshot();
    folder.damage(SNAPSHOT_FILE, (bytes) => {
      const index = indexOf(bytes);
      const k = Math.floor(index.pgnos.length / 2);
      bytes[index.offsets[k]! + Math.floor(index.sizes[k]! / 2)]! ^= 4;
    });
    await using replica = await openReplica(folder.url);
    withConnection(replica, undefined, (db) => {
      const error = thrownBy(() => rowsOf(db, "SELECT sum(length(hex(x))) FROM n"));
      assert.equal(extendedCode(error), SQLITE_IOERR_DATA, error.message);
      assert.ok(replica.lastError instanceof LtxFormatError);
    });
  }));

test("R16: opening refuses a file whose header does not match its name", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(tableSql(100));
    folder.record("UPDATE t SET a = 1");
    folder.put(folder.pathOf(9, 1, 1), folder.encode(1, 2));
    const fault = await openFault(folder);
    assert.match(fault.message, /header names TXIDs 0000000000000001 to 0000000000000002/);
    assert.equal(fault.offset, 16);
  }));

test("R16: opening refuses files of two page sizes", () =>
  withReplicaFolder({ pageSize: 4096 }, (folder) =>
    withReplicaFolder({ pageSize: 1024 }, async (other) => {
      for (const each of [folder, other]) each.record("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
      folder.snapshot();
      other.record("INSERT INTO t VALUES (2)");
      folder.put(folder.pathOf(0, 2, 2), other.encode(2, 2));
      await assert.rejects(openReplica(folder.url), /1024|4096.*expected one page size/);
    })));

test("R16: opening refuses files that leave pages out, naming the first", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record("CREATE TABLE t (a)");
    folder.record(tableSql(500).replaceAll(" t ", " u ").replace("t_a", "u_a").replace("INTO t", "INTO u"));
    folder.record("UPDATE u SET a = 0 WHERE id = 500");
    folder.snapshot(1);
    // As if transaction 2 were another one: its file changes one page and claims the size of all.
    folder.put(
      folder.pathOf(0, 2, 2),
      new Uint8Array(folder.encode(3, 3)).map((byte, i) => i === 23 || i === 31 ? 2 : byte),
    );
    const fault = await openFault(folder);
    assert.match(fault.message, /.+/);
  }));

test("R16: opening refuses what is too short for an LTX file", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(tableSql(10));
    folder.snapshot();
    for (const size of [0, 1, 99, 100, 116]) {
      folder.damage(SNAPSHOT_FILE, (bytes) => bytes.slice(0, size));
      const fault = await openFault(folder);
      assert.match(fault.key, /\.ltx$/);
      folder.snapshot();
    }
  }));

for (const [name, rows] of [["small", 60], ["large", 1500]] as const) {
  test(
    `R16: opening a ${name} file that was cut anywhere fails with words`,
    { timeout: 60_000 },
    () =>
      withReplicaFolder({ pageSize: 1024 }, async (folder) => {
        folder.record(noiseSql(rows));
        folder.snapshot();
        const size = folder.sizeOf(9, 1, 1);
        const random = new Random(3);
        const lengths = [
          size - 1,
          size - 16,
          size - 24,
          size - 100,
          ...Array.from({ length: 20 }, () => random.next(size)),
        ];
        for (const length of lengths) {
          folder.damage(SNAPSHOT_FILE, (bytes) => bytes.slice(0, length));
          await openFault(folder);
          folder.snapshot();
        }
      }),
  );

  test(`R16: flips in header, index and trailer of a ${name} file fail the opening or change nothing`, {
    timeout: 60_000,
  }, () =>
    withReplicaFolder({ pageSize: 1024 }, async (folder) => {
      folder.record(noiseSql(rows));
      folder.snapshot();
      const size = folder.sizeOf(9, 1, 1);
      const whole = folder.encode(1, 1);
      const { indexOffset } = indexOf(whole);
      const wanted = folder.rows("SELECT hex(x) AS x FROM n");
      const random = new Random(5);
      const places = [
        ...Array.from({ length: 20 }, (_, i) => i * 5),
        ...Array.from({ length: 20 }, () => indexOffset + random.next(size - indexOffset)),
        ...Array.from({ length: 24 }, (_, i) => size - 1 - i),
      ];
      let refused = 0;
      for (const place of places) {
        folder.put(
          folder.pathOf(9, 1, 1),
          whole.map((byte, i) => i === place ? byte ^ (1 << random.next(8)) : byte),
        );
        try {
          await using replica = await openReplica(folder.url);
          withConnection(replica, undefined, (db) =>
            assert.deepEqual(rowsOf(db, "SELECT hex(x) AS x FROM n"), wanted));
        } catch (error) {
          if (error instanceof assert.AssertionError) {
            throw error;
          }
          refused++;
        }
      }
      assert.ok(refused > places.length / 2, `${refused} of ${places.length} refused`);
    }));
}

test(
  "R16: any flip in a file that is fetched whole fails the opening",
  { timeout: 60_000 },
  () =>
    withReplicaFolder({ pageSize: 1024 }, async (folder) => {
      folder.record(tableSql(100));
      folder.snapshot();
      const whole = folder.encode(1, 1);
      const random = new Random(9);
      for (let i = 0; i < 60; i++) {
        const place = 100 + random.next(whole.length - 100);
        folder.put(
          folder.pathOf(9, 1, 1),
          whole.map((byte, at) => at === place ? byte ^ (1 << random.next(8)) : byte),
        );
        await openFault(folder);
      }
    }),
);

test("R16: an object that is no LTX file is told as such", () =>
  withReplicaFolder({}, async (folder) => {
    folder.put(folder.pathOf(9, 1, 1), new TextEncoder().encode("hello ".repeat(100)));
    const fault = await openFault(folder);
    assert.match(fault.message, /ltx\/9\/0000000000000001-0000000000000001\.ltx/);
  }));
