import assert from "node:assert/strict";
import { test } from "node:test";
import { loadNative } from "../../ffi/mod.ts";
import type { Native } from "../../ffi/native.ts";
import { LtxFormatError, ReplicaError, RestorePlanError } from "../../src/errors.ts";
import type { LtxHeaderFields } from "../../src/ltx/header.ts";
import { decodePageIndex } from "../../src/ltx/page_index.ts";
import { findShim } from "../../src/shim_path.ts";
import { nextTurn, openPlanFile, type PlanFile } from "../../src/view/plan_file.ts";
import { decodeViewInfo, VIEW_INFO_SIZE, viewInfo } from "../../src/view/view_info.ts";
import { locate, makeView, Places, type ViewSource } from "../../src/view/view_map.ts";
import { ServedFile } from "./served_file.ts";

const native = await loadNative(findShim());

async function open(served: ServedFile): Promise<PlanFile> {
  return await openPlanFile(native, served.store, { replicaId: 3, file: served.file });
}

/** Plan files that are closed after the act, and so is each view that it makes. */
async function withFiles(
  served: readonly ServedFile[],
  act: (
    files: PlanFile[],
    make: (source?: Partial<ViewSource>, by?: Native) => Promise<number>,
  ) => Promise<void>,
): Promise<void> {
  const files = await Promise.all(served.map(open));
  const views: number[] = [];
  const make = async (source: Partial<ViewSource> = {}, by = native) => {
    const view = await makeView(by, {
      replicaId: 3,
      name: "s3://b/db",
      files,
      base: 0,
      stamp: 24,
      ...source,
    });
    views.push(view);
    return view;
  };
  try {
    await act(files, make);
  } finally {
    for (const view of views) native.calls.ls_view_release(view);
    for (const { objectId } of files) native.calls.ls_object_free(objectId);
  }
}

const later = (txid: bigint, commit: number): Partial<LtxHeaderFields> => ({
  minTxid: txid,
  maxTxid: txid,
  commit,
  timestampMs: 1_700_000_000_000 + Number(txid),
});

/** Where the index of a file has a page. */
function placeOf(
  { bytes }: ServedFile,
  { header }: PlanFile,
  pgno: number,
): { offset: number; size: number; frame: number } {
  const index = decodePageIndex(bytes, { ...header, fileSize: bytes.length });
  assert.ok("pgnos" in index);
  const frame = index.pgnos.indexOf(pgno);
  return { offset: index.offsets[frame]!, size: index.sizes[frame]!, frame };
}

test("makeView() has each page's newest place, the last file's size, time and TXID", () => {
  const served = [
    ServedFile.of([1, 2, 3, 4, 5]),
    ServedFile.of([2, 6], later(2n, 6)),
    ServedFile.of([1, 3], later(3n, 4)),
  ];
  return withFiles(served, async (files, make) => {
    const view = await make();
    assert.deepEqual(viewInfo(native, view), {
      txid: 3n,
      commit: 4,
      pageSize: 512,
      timeMs: 1_700_000_000_003,
      stamp: 24,
    });
    const from = [2, 1, 2, 0];
    const places = new Places(native, view, [1, 2, 3, 4, 5, 6]);
    for (const [i, of] of from.entries()) {
      const place = placeOf(served[of]!, files[of]!, i + 1);
      assert.deepEqual(locate(native, view, i + 1), { objectId: files[of]!.objectId, frame: place.frame });
      assert.equal(places.objectId(i), files[of]!.objectId);
      assert.equal(places.frame(i), place.frame);
      assert.equal(places.size(i), place.size);
      assert.equal(places.offset(i), place.offset);
      assert.equal(places.isCached(i), false);
    }
    for (const i of [4, 5]) {
      assert.equal(locate(native, view, i + 1), undefined);
      assert.equal(places.objectId(i), 0);
    }
  });
});

test("makeView() goes on from a view; what was cut away is not there again when the database grows", () => {
  const served = [
    ServedFile.of([1, 2, 3, 4]),
    ServedFile.of([1], later(2n, 2)),
    ServedFile.of([3, 4], later(3n, 4)),
  ];
  return withFiles(served, async (files, make) => {
    const first = await make({ files: files.slice(0, 1), stamp: 8 });
    const grown = await make({ files: files.slice(1), base: first, stamp: 16 });
    assert.deepEqual([1, 2, 3, 4].map((pgno) => locate(native, grown, pgno)?.objectId), [
      files[1]!.objectId,
      files[0]!.objectId,
      files[2]!.objectId,
      files[2]!.objectId,
    ]);
    assert.deepEqual(
      [1, 2, 3, 4].map((pgno) => locate(native, first, pgno)?.objectId),
      Array(4).fill(files[0]!.objectId),
    );
    assert.deepEqual([viewInfo(native, first)!.stamp, viewInfo(native, grown)!.stamp], [8, 16]);
    // page 3 came after the database had shrunk, and 4 did not
    const hole = await openPlanFile(native, ...holed(3, 4n));
    await assert.rejects(make({ files: [files[1]!, hole], base: first }), LtxFormatError);
    native.calls.ls_object_free(hole.objectId);
  });
});

/** A file of page `pgno` alone that says the database has four pages. */
function holed(pgno: number, txid: bigint) {
  const served = ServedFile.of([pgno], later(txid, 4));
  return [served.store, { replicaId: 3, file: served.file }] as const;
}

test("makeView() lets the loop turn while it enters many frames", () => {
  const commit = 100_001;
  const pages = Array.from({ length: commit }, (_, i) => i + 1);
  const served = [ServedFile.of([1, 2, 3])];
  return withFiles(served, async (_, make) => {
    const asked: number[] = [];
    let isOver = false;
    const calls = {
      ...native.calls,
      ls_map_apply: (map: number, object: number, frame: number, most: number) => {
        asked.push(frame);
        const next = frame + most; // as if there were many
        native.calls.ls_map_apply(map, object, 0, most);
        return next < pages.length ? next : 0;
      },
    };
    let turns = 0;
    const turning = (async () => {
      for (; !isOver; turns++) await nextTurn();
    })();
    await make({}, { ...native, calls });
    isOver = true;
    await turning;
    assert.deepEqual(asked, [0, 100_000]);
    assert.ok(turns >= 1, "the loop was held");
  });
});

test("makeView() refuses files of several page sizes, and names two", () => {
  const served = [ServedFile.of([1, 2]), ServedFile.of([1], { ...later(2n, 2), pageSize: 1024 })];
  return withFiles(served, async (files, make) => {
    await assert.rejects(make(), (error) => {
      assert.ok(error instanceof RestorePlanError);
      assert.equal(error.fault, "gap");
      assert.match(
        error.message,
        /^Cannot open replica s3:\/\/b\/db: "0000\/0{15}1-.*" has pages of 512 bytes, "0000\/0{15}2-.*" of 1024, expected one page size$/,
      );
      return true;
    });
    const view = await make({ files: files.slice(0, 1) });
    await assert.rejects(make({ files: files.slice(1), base: view }), {
      name: "ReplicaError",
      message: /^Cannot map pages of "s3:\/\/b\/db": the shim answers -2/,
    });
  });
});

test("makeView() gives its map back when it fails: any number of failures leaves room", () => {
  const served = [ServedFile.of([1, 3], later(2n, 3))];
  return withFiles(served, async (files, make) => {
    for (let i = 0; i < 300; i++) await assert.rejects(make(), LtxFormatError); // page 2 is nowhere
    const closed = { ...files[0]!, objectId: 2 ** 30 };
    for (let i = 0; i < 300; i++) {
      await assert.rejects(make({ files: [closed] }), (error) => {
        assert.ok(error instanceof ReplicaError && !(error instanceof LtxFormatError));
        assert.match(error.message, /^Cannot map pages of "0000\/0{15}2-0{15}2\.ltx": /);
        return true;
      });
    }
  });
});

test("makeView() takes times before 1970 and parts of a ms for the times that C has", () =>
  withFiles([ServedFile.of([1])], async ([file], make) => {
    for (const [timestampMs, wanted] of [[-5, 0], [0, 0], [1.9, 1], [2 ** 45, 2 ** 45]] as const) {
      const view = await make({ files: [{ ...file!, header: { ...file!.header, timestampMs } }] });
      assert.equal(viewInfo(native, view)!.timeMs, wanted);
    }
  }));

test("locate(), Places and viewInfo() tell nothing of a view that nobody holds", () =>
  withFiles([ServedFile.of([1])], async () => {
    await Promise.resolve();
    assert.equal(viewInfo(native, 2 ** 30), undefined);
    assert.equal(locate(native, 2 ** 30, 1), undefined);
    assert.equal(new Places(native, 2 ** 30, [1]).objectId(0), 0);
  }));

test("decodeViewInfo() reads five words from the middle of a buffer, and Places offsets past 32 bits", () => {
  const buffer = new Uint8Array(VIEW_INFO_SIZE + 8);
  const view = new DataView(buffer.buffer, 8);
  [2n ** 63n + 1n, 70_000n, 4096n, 1_700_000_000_000n, 0xffff_fff8n, 9n].forEach((word, i) =>
    view.setBigUint64(i * 8, word, true)
  );
  assert.deepEqual(decodeViewInfo(buffer.subarray(8)), {
    txid: 2n ** 63n + 1n,
    commit: 70_000,
    pageSize: 4096,
    timeMs: 1_700_000_000_000,
    stamp: 0xffff_fff8,
  });
  let asked: unknown;
  const calls = {
    ...native.calls,
    ls_view_places: (id: number, pgnos: Uint8Array, count: number, out: Uint8Array) => {
      asked = [id, [...new Uint32Array(pgnos.buffer)], count, out.length];
      new Uint32Array(out.buffer).set([1, 2, 3, 1, 4, 5, 6, 7, 8, 0, 9, 0]);
      return count;
    },
  };
  const places = new Places({ ...native, calls }, 12, [5, 70_000]);
  assert.deepEqual(asked, [12, [5, 70_000], 2, 48]);
  assert.deepEqual([
    places.objectId(0),
    places.frame(0),
    places.size(0),
    places.isCached(0),
    places.offset(0),
  ], [1, 2, 3, true, 4 + 5 * 2 ** 32]);
  assert.deepEqual([
    places.objectId(1),
    places.frame(1),
    places.size(1),
    places.isCached(1),
    places.offset(1),
  ], [6, 7, 8, false, 9]);
});
