import assert from "node:assert/strict";
import { test } from "node:test";
import { loadNative } from "../../ffi/mod.ts";
import { StorageError } from "../../src/errors.ts";
import { CHECKSUM_FLAG } from "../../src/ltx/checksum.ts";
import { completeHeader, encodeHeader, HEADER_SIZE } from "../../src/ltx/header.ts";
import { encodePageIndex } from "../../src/ltx/page_index.ts";
import { encodeTrailer } from "../../src/ltx/trailer.ts";
import { findShim } from "../../src/shim_path.ts";
import type { ByteRange, ObjectStore } from "../../src/storage/object_store.ts";
import { nextTurn, openPlanFile } from "../../src/view/plan_file.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";
import { contiguousIndex, snapshotPgnos } from "../support/ltx_files.ts";

const PAGE_SIZE = 4096;
/** What the shim counts objects of; no replica need be open. */
const REPLICA_ID = 1;

/** A snapshot whose frames are nowhere: reads of them give zeros. */
class HollowSnapshot {
  readonly file: ReplicaFile;
  readonly reads: ByteRange[] = [];
  readonly frameCount: number;
  readonly #head: Uint8Array;
  readonly #end: Uint8Array;
  /** Called with each range before it is read. */
  onRead: (range: ByteRange) => void = () => {};

  constructor(commit: number, readonly frameSize: number) {
    const txids = { minTxid: 1n, maxTxid: 1n };
    const fields = { pageSize: PAGE_SIZE, commit, ...txids, timestampMs: 1_700_000_000_000 };
    this.#head = encodeHeader(completeHeader(fields));
    const pgnos = snapshotPgnos(commit, PAGE_SIZE);
    this.frameCount = pgnos.length;
    const index = encodePageIndex(contiguousIndex(pgnos, frameSize));
    const trailer = encodeTrailer({ postApplyChecksum: 0n, fileChecksum: CHECKSUM_FLAG }, {
      noChecksum: true,
    });
    this.#end = new Uint8Array(6 + index.length + trailer.length);
    this.#end.set(index, 6);
    this.#end.set(trailer, 6 + index.length);
    const size = this.offsetOf(this.frameCount) + this.#end.length;
    this.file = { key: "0009/x.ltx", etag: "e", size, modifiedMs: 0, level: 9, ...txids };
  }

  /** Where a frame begins; the one behind the last is the end of all. */
  offsetOf(frame: number): number {
    return HEADER_SIZE + frame * this.frameSize;
  }

  get store(): Pick<ObjectStore, "read"> {
    return {
      read: async (_, range) => {
        this.reads.push(range);
        await Promise.resolve();
        this.onRead(range);
        return { bytes: this.#bytes(range), etag: "e", objectSize: this.file.size };
      },
    };
  }

  #bytes({ offset, size }: ByteRange): Uint8Array {
    const bytes = new Uint8Array(size);
    for (const [at, part] of [[0, this.#head], [this.file.size - this.#end.length, this.#end]] as const) {
      const from = Math.max(offset, at);
      const to = Math.min(offset + size, at + part.length);
      if (from < to) bytes.set(part.subarray(from - at, to - at), from - offset);
    }
    return bytes;
  }
}

/** Opens it, and checks that the shim knows where its frames are. */
async function open(snapshot: HollowSnapshot): Promise<number> {
  const native = await loadNative(findShim());
  const { file, store } = snapshot;
  const opened = await openPlanFile(native, store as ObjectStore, { replicaId: REPLICA_ID, file });
  const { calls } = native;
  assert.equal(calls.ls_object_count(opened.objectId), snapshot.frameCount);
  for (const frame of [0, 1, snapshot.frameCount >> 1, snapshot.frameCount - 1, snapshot.frameCount]) {
    const offset = new BigUint64Array(1);
    calls.ls_object_offset(opened.objectId, frame, new Uint8Array(offset.buffer));
    assert.equal(Number(offset[0]), snapshot.offsetOf(frame));
  }
  calls.ls_object_free(opened.objectId);
  return opened.depth;
}

/** No byte of the file is asked for twice. */
function assertApart(reads: readonly ByteRange[]): void {
  const sorted = reads.toSorted((a, b) => a.offset - b.offset);
  for (const [i, { offset }] of sorted.entries()) {
    const before = sorted[i - 1];
    assert.ok(before === undefined || before.offset + before.size <= offset, `${offset} is read twice`);
  }
}

test("openPlanFile() puts a long index together from pieces of the file's tail", async () => {
  const snapshot = new HollowSnapshot(600_000, 4_000);
  assert.equal(await open(snapshot), 1);
  assertApart(snapshot.reads);
  assert.ok(snapshot.reads.length > 3, "the tail came as one piece");
});

for (
  const [commit, frameSize, about] of [
    [600_000, 1_600, "a tail in pieces"],
    [500_000, 100, "a tail in one piece that is all index"],
    [1_100_000, 1_000, "a tail with less room than lacks"],
    [20_000, 100, "a short index"],
  ] as const
) {
  test(`openPlanFile() asks for what is before the tail: ${about}`, async () => {
    const snapshot = new HollowSnapshot(commit, frameSize);
    assert.equal(await open(snapshot), 2);
    assertApart(snapshot.reads);
  });
}

test("openPlanFile() asks for no further piece when one fails", async () => {
  const whole = new HollowSnapshot(1_300_000, 4_000);
  await open(whole);
  const snapshot = new HollowSnapshot(1_300_000, 4_000);
  let failures = 0;
  snapshot.onRead = ({ size }) => {
    if (size === HEADER_SIZE || failures++ > 0) return;
    throw new StorageError("Cannot read: no", { key: "", status: 500, retryable: false });
  };
  await assert.rejects(open(snapshot), StorageError);
  // The pieces that were under way are copied to their end, a slice a turn.
  for (let turn = 0; turn < 20; turn++) await nextTurn();
  assert.ok(snapshot.reads.length < whole.reads.length, `${snapshot.reads.length} of ${whole.reads.length}`);
});
