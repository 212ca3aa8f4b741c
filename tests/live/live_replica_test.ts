import assert from "node:assert/strict";
import { test } from "node:test";
import type { Native } from "../../ffi/native.ts";
import { LtxFormatError, ObjectGoneError, ReplicaClosedError } from "../../src/errors.ts";
import { listReplica } from "../../src/view/listing.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";
import { viewInfo } from "../../src/view/view_info.ts";
import { locate } from "../../src/view/view_map.ts";
import { noiseSql, valueOf } from "../replica/drivers.ts";
import { census, recordValue, stepValue } from "../replica/following.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { type LivePlace, withLive } from "./live_place.ts";

async function filesOf({ store }: LivePlace): Promise<ReplicaFile[]> {
  const { files } = await listReplica(store, "folder");
  return files.sort((a, b) => a.maxTxid < b.maxTxid ? -1 : a.maxTxid > b.maxTxid ? 1 : b.level - a.level);
}

function liveTest(name: string, use: (folder: ReplicaFolder, place: LivePlace) => Promise<void>): void {
  test(name, () =>
    withReplicaFolder({}, async (folder) => {
      stepValue(folder, 3);
      await withLive(folder, {}, (place) => use(folder, place));
    }));
}

function value({ replica }: LivePlace): unknown {
  const db = replica.connect();
  try {
    return valueOf(db, "SELECT x FROM v");
  } finally {
    db.close();
  }
}

liveTest(
  "LiveReplica.advance() passes over files that lead nowhere, whatever it is given",
  async (folder, place) => {
    const { live, events } = place;
    stepValue(folder, 6);
    folder.write(1, 2, 5);
    const files = await filesOf(place);
    await live.advance(files.filter(({ maxTxid }) => maxTxid <= 3n));
    assert.equal(live.position, 3n);
    await live.advance(files.filter(({ minTxid, level }) => minTxid >= 5n && level === 0)); // a gap
    assert.equal(live.position, 3n);
    await live.advance(files);
    assert.deepEqual([live.position, value(place)], [6n, 6]);
    await live.advance(files);
    assert.equal(events.filter(({ type }) => type === "commit").length, 1);
  },
);

liveTest("LiveReplica.advance() calls at once are one after the other", async (folder, place) => {
  const { live, events } = place;
  stepValue(folder, 9);
  const files = (await filesOf(place)).filter(({ maxTxid }) => maxTxid > 3n);
  await Promise.all([...files.map((file) => live.advance([file])), live.advance(files)]);
  assert.deepEqual([live.position, value(place)], [9n, 9]);
  const told = events.map((event) => event.type === "commit" && Number(event.txid));
  assert.deepEqual(told, [4, 5, 6, 7, 8, 9]);
});

liveTest("LiveReplica: what fails changes nothing and keeps nothing", async (folder, place) => {
  const { live } = place;
  const before = await census();
  stepValue(folder, 6);
  const files = (await filesOf(place)).filter(({ maxTxid }) => maxTxid > 3n);
  folder.damage({ level: 0, minTxid: 5, maxTxid: 5 }, (bytes) => void bytes.fill(0, 0, 8));
  folder.delete(0, 6, 6);
  await assert.rejects(live.advance(files), ObjectGoneError); // rather than the damage: a new plan may do without both
  const [damaged] = (await filesOf(place)).filter(({ maxTxid }) => maxTxid === 5n);
  await assert.rejects(live.rebuild([...files.slice(0, 1), damaged!], true), LtxFormatError);
  await assert.rejects(live.rebuild(files, true), ObjectGoneError);
  assert.deepEqual([live.position, value(place)], [3n, 3]);
  assert.deepEqual(await census(), before);
  // The state is still known for what it was: its readers stay when it lies elsewhere.
  folder.write(1, 1, 3);
  const [whole] = (await filesOf(place)).filter(({ level }) => level === 1);
  const db = place.replica.connect();
  assert.equal(valueOf(db, "SELECT x FROM v"), 3);
  const mark = place.replica.stats();
  await live.rebase([whole!]);
  assert.equal(valueOf(db, "SELECT x FROM v"), 3);
  assert.ok(place.replica.stats(mark).hits <= 1);
  assert.deepEqual(live.files.map(({ file }) => file.key), [whole!.key]);
  db.close();
});

liveTest("LiveReplica.rebase() to another TXID does nothing", async (folder, place) => {
  recordValue(folder, 4);
  folder.write(1, 1, 2);
  const files = (await filesOf(place)).filter(({ level }) => level === 1);
  await place.live.rebase(files);
  assert.deepEqual([place.live.position, value(place)], [3n, 3]);
});

liveTest(
  "LiveReplica.rebuild() of another database makes its state new, though its TXID is known",
  async (folder, place) => {
    const { live, replica } = place;
    const db = replica.connect();
    assert.equal(valueOf(db, "SELECT x FROM v"), 3);
    await withReplicaFolder({}, async (other) => {
      other.record("CREATE TABLE v (x); INSERT INTO v VALUES ('other')");
      recordValue(other, 2);
      other.record("UPDATE v SET x = 'other'");
      other.snapshot(3);
      folder.replaceBy(other);
      await live.rebuild(await filesOf(place), true);
      assert.equal(live.position, 3n);
      assert.equal(valueOf(db, "SELECT x FROM v"), "other");
    });
    db.close();
  },
);

liveTest("LiveReplica.isRewritten() compares content, and says when it cannot", async (folder, place) => {
  const { live } = place;
  const before = await filesOf(place);
  const last = before.at(-1)!;
  folder.write(0, 3, 3);
  const again = (await filesOf(place)).at(-1)!;
  assert.notEqual(again.etag, last.etag);
  assert.equal(await live.isRewritten(last, again), true);
  assert.equal(await live.isRewritten({ ...last, etag: "unknown" }, again), undefined);
  folder.put(
    folder.pathOf(0, 3, 3),
    folder.encode(3, 3, (page) => page.map((byte, i) => i === 4000 ? byte ^ 1 : byte)),
  );
  await assert.rejects(live.isRewritten(last, (await filesOf(place)).at(-1)!), LtxFormatError);
});

liveTest(
  "LiveReplica: views and files are given up once others have taken their place",
  async (folder, place) => {
    const { live } = place;
    let before: number[] = [];
    for (let round = 0; round < 60; round++) {
      stepValue(folder, folder.txid + 1);
      await live.advance((await filesOf(place)).filter(({ level }) => level === 0));
      if (round === 20) before = await census();
    }
    assert.equal(live.position, BigInt(folder.txid));
    (await census()).forEach((count, i) => assert.ok(count <= before[i]! + 1, `${before}`));
    assert.ok(live.files.length < 10, `${live.files.length} files`);
  },
);

liveTest("LiveReplica that was closed refuses, and tells nothing more", async (folder, place) => {
  const { live, events } = place;
  stepValue(folder, 4);
  const files = await filesOf(place);
  const advancing = live.advance(files.slice(-1));
  await live.close();
  await assert.rejects(advancing);
  await assert.rejects(live.advance(files), ReplicaClosedError);
  await assert.rejects(live.rebuild(files, true), ReplicaClosedError);
  await assert.rejects(live.refresh(), ReplicaClosedError);
  await live.close();
  assert.deepEqual(events, []);
});

/** The handle of a replica's newest view. */
function newestView(native: Native, replicaId: number): number {
  const words = new BigUint64Array(6);
  assert.equal(native.calls.ls_replica_view(replicaId, new Uint8Array(words.buffer)), 0);
  return Number(words[5]);
}

test("LiveReplica: what a request brings is kept though the state that it was made for has gone meanwhile", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1500));
    folder.snapshot();
    await withLive(folder, { prefetch: "off" }, async ({ native, live, store }) => {
      const viewId = () => newestView(native, live.id);
      const answered = Promise.withResolvers<void>();
      const read = store.read.bind(store);
      const asked: string[] = [];
      store.read = async (file, range, options) => {
        asked.push(file.key);
        if (asked.length === 1) await answered.promise;
        return await read(file, range, options);
      };
      const serve = (pgno: number) => {
        const place = locate(native, viewId(), pgno)!;
        return live.serve({ ...place, pgno, viewId: viewId(), connection: 0, indexLeaf: 0 });
      };
      const [before, first] = [viewId(), serve(100)];
      folder.step("UPDATE n SET x = randomblob(900) WHERE id = 1");
      assert.equal(await live.refresh(), 2n);
      assert.equal(viewInfo(native, before), undefined);
      const second = serve(103); // is on its way
      answered.resolve();
      await Promise.all([first, second]);
      const bytes = new Uint8Array(4096);
      for (const pgno of [100, 103]) {
        assert.equal(native.calls.ls_view_page(viewId(), pgno, bytes, bytes.length), 0, `page ${pgno}`);
      }
      assert.equal(asked.filter((key) => key === asked[0]).length, 1);
    });
  }));
