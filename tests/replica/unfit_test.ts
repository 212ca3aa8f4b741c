/** Files that can be read and yet do not follow on what is there: something else leads past them, as at an opening. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LtxFormatError, openReplica, type Replica } from "../../mod.ts";
import { encodeFile } from "../../src/ltx/encoder.ts";
import { lz4 } from "../support/lz4.ts";
import { ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { rowsOf, withConnection } from "./drivers.ts";
import { ASKED, stepValue } from "./following.ts";

/** What a replica shows. */
function shown(replica: Replica): unknown {
  return withConnection(replica, undefined, (db) => rowsOf(db, "SELECT x FROM v"));
}

/** Refreshes in vain, and checks that the file of TXID 4 is named and the state stays. */
async function assertUnfit(replica: Replica, message: RegExp): Promise<void> {
  await assert.rejects(replica.refresh(), (error: Error) => {
    assert.ok(error instanceof LtxFormatError, String(error));
    assert.match(error.key, /0000000000000004-0000000000000004\.ltx$/);
    return message.test(error.message);
  });
  assert.equal(replica.txid, 3n);
  assert.deepEqual(shown(replica), [{ x: 3 }]);
}

test("A file that lacks pages keeps no snapshot from being followed", () =>
  withReplicaFolder({}, async (folder) => {
    stepValue(folder, 3);
    folder.snapshot(3);
    await using replica = await openReplica(folder.url, ASKED);
    folder.record("CREATE TABLE more (a); UPDATE v SET x = 4");
    const { pageSize } = folder;
    const pages = [1, 2].map((pgno) => ({
      pgno,
      page: folder.bytesAt(4).subarray((pgno - 1) * pageSize, pgno * pageSize),
    }));
    const header = {
      pageSize,
      commit: folder.commitAt(4),
      minTxid: 4n,
      maxTxid: 4n,
      timestampMs: Date.now(),
    };
    folder.put(folder.pathOf(0, 4, 4), encodeFile(header, pages, { lz4, encoding: "block" }));
    await assertUnfit(replica, /: page 3 of 3 is in no file$/);
    folder.step("UPDATE v SET x = 5");
    await assertUnfit(replica, /: page 3 of 3 is in no file$/);
    folder.snapshot(5);
    folder.step("UPDATE v SET x = 6");
    assert.equal(await replica.refresh(), 6n);
    assert.deepEqual(shown(replica), [{ x: 6 }]);
  }));

test("A file of another page size keeps no snapshot of that size from being followed", () =>
  withReplicaFolder({}, async (folder) => {
    const other = await ReplicaFolder.make({ pageSize: 1024 });
    try {
      stepValue(folder, 3);
      folder.snapshot(3);
      stepValue(other, 6);
      await using replica = await openReplica(folder.url, ASKED);
      assert.deepEqual(shown(replica), [{ x: 3 }]);
      folder.put(folder.pathOf(0, 4, 4), other.encode(4, 4));
      await assertUnfit(replica, /: its pages have 1024 bytes, expected 4096 as those before it$/);
      folder.put(folder.pathOf(9, 1, 4), other.encode(1, 4));
      for (const txid of [5, 6]) folder.put(folder.pathOf(0, txid, txid), other.encode(txid, txid));
      assert.equal(await replica.refresh(), 6n);
      assert.deepEqual(replica.size.pageSize, 1024);
      assert.deepEqual(shown(replica), [{ x: 6 }]);
    } finally {
      other.close();
    }
  }));

test("A damaged file that was deleted is told of no more", () =>
  withReplicaFolder({}, async (folder) => {
    stepValue(folder, 3);
    await using replica = await openReplica(folder.url, ASKED);
    folder.step("UPDATE v SET x = 4");
    folder.damage({ level: 0, minTxid: 4, maxTxid: 4 }, (bytes) => void (bytes[bytes.length >> 1]! ^= 8));
    await assert.rejects(replica.refresh(), LtxFormatError);
    folder.delete(0, 4, 4);
    assert.equal(await replica.refresh(), 3n);
    assert.ok(replica.lagMs < 5_000);
    assert.deepEqual(shown(replica), [{ x: 3 }]);
  }));
