/** What openPlanFile() asks for, what it finds, and what it refuses. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadNative } from "../../ffi/mod.ts";
import type { Native, NativeCalls } from "../../ffi/native.ts";
import { LtxFormatError, ReplicaError } from "../../src/errors.ts";
import { completeHeader, encodeHeader, type LtxHeaderFields } from "../../src/ltx/header.ts";
import { encodePageIndex } from "../../src/ltx/page_index.ts";
import { encodeTrailer } from "../../src/ltx/trailer.ts";
import { findShim } from "../../src/shim_path.ts";
import {
  checkShim,
  openPlanFile,
  type PlanFile,
  type PlanFileSource,
  WHOLE_FILE_SIZE_MAX,
} from "../../src/view/plan_file.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";
import { contiguousIndex, resealFile, snapshotFields, snapshotPgnos } from "../support/ltx_files.ts";
import { ServedFile } from "./served_file.ts";

const native = await loadNative(findShim());

async function open(
  served: ServedFile,
  source: Partial<PlanFileSource> = {},
  by: Native = native,
): Promise<PlanFile> {
  const opened = await openPlanFile(by, served.store, { replicaId: 1, file: served.file, ...source });
  native.calls.ls_object_free(opened.objectId);
  return opened;
}

/** Handles that the shim has given out: one that is lost would be missing among them. */
function nextObject(): number {
  const id = native.calls.ls_object_new(1, 512, 1, 0, 1000n);
  native.calls.ls_object_free(id);
  return id;
}

/** The shim, some of its functions in place of its own. */
function withCalls(calls: Partial<NativeCalls>): Native {
  return { ...native, calls: { ...native.calls, ...calls } };
}

function refused(message: RegExp, offset?: number) {
  return (error: unknown) => {
    assert.ok(error instanceof LtxFormatError, `${error}`);
    assert.match(error.message, message);
    assert.match(error.message, /^Cannot .*: .+/);
    if (offset !== undefined) assert.equal(error.offset, offset);
    return true;
  };
}

/** A large file whose frames are zeros, which are never looked at. */
function largeFile(size: number, fields: Partial<LtxHeaderFields> = {}): ServedFile {
  const frameSize = 4000;
  const at = { commit: 0, ...fields };
  for (let commit = Math.floor(size / 4006); at.commit === 0; commit--) {
    const index = encodePageIndex(contiguousIndex(snapshotPgnos(commit, 4096), frameSize));
    if (100 + commit * frameSize + 6 + index.length + 16 <= size) at.commit = commit;
  }
  // the last frame takes what is left over
  const pgnos = snapshotPgnos(at.commit, 4096);
  const index = contiguousIndex(pgnos, frameSize);
  const rest = () => size - (100 + at.commit * frameSize + 6 + encodePageIndex(index).length + 16);
  index.sizes[at.commit - 1]! += rest();
  const all = { ...snapshotFields(4096, at.commit), ...at };
  const encoded = encodePageIndex(index);
  const bytes = new Uint8Array(size);
  bytes.set(encodeHeader(completeHeader(all)));
  const trailer = encodeTrailer({ postApplyChecksum: 0n, fileChecksum: 2n ** 63n + 5n }, {
    noChecksum: true,
  });
  bytes.set(trailer, size - 16);
  bytes.set(encoded, size - 16 - encoded.length);
  return new ServedFile(bytes, all);
}

test("openPlanFile() reads a small file whole in one request, and gives all of its frames", async () => {
  for (const pgnos of [[1], [1, 2, 3, 4, 5, 6]]) {
    const served = ServedFile.of(pgnos);
    const opened = await open(served);
    const { bytes } = served;
    assert.deepEqual(served.reads, [{ offset: 0, size: bytes.length }]);
    assert.equal(opened.fetched.offset, 100);
    assert.deepEqual(opened.fetched.bytes, bytes.subarray(100));
    assert.equal(opened.depth, 1);
    assert.equal(opened.closed, false);
    assert.equal(opened.file, served.file);
    assert.equal(opened.header.commit, pgnos.length);
    assert.equal(opened.checksum, new DataView(bytes.buffer).getBigUint64(bytes.length - 8));
  }
});

test("openPlanFile() reads nothing of a file that is here already, and no head that is", async () => {
  const served = ServedFile.of([1, 2, 3]);
  const opened = await open(served, { head: served.bytes });
  assert.deepEqual(served.reads, []);
  assert.deepEqual(opened.fetched.bytes, served.bytes.subarray(100));
  const again = await open(served, { head: served.bytes.subarray(0, 200) });
  assert.deepEqual(served.reads, [{ offset: 0, size: served.bytes.length }]);
  assert.deepEqual(again.fetched.bytes, served.bytes.subarray(100));
  const large = largeFile(300_000);
  const known = large.bytes.subarray(0, 5000);
  assert.deepEqual((await open(large, { head: known })).fetched.bytes, known.subarray(100));
  assert.deepEqual(large.reads, [{ offset: 300_000 - 32_768, size: 32_768 }]);
});

test("openPlanFile() reads head and tail of a file of more than 256 KiB; of a base what comes after the header", async () => {
  assert.equal(WHOLE_FILE_SIZE_MAX, 262_144);
  const small = largeFile(262_144);
  // its frames are none, which is found out where they are all there; what breaks the format is read a second time
  await assert.rejects(open(small), LtxFormatError);
  assert.deepEqual(small.reads, [{ offset: 0, size: 262_144 }, { offset: 0, size: 262_144 }]);
  for (
    const [size, tail] of [[262_145, 32_768], [6_553_600, 32_768], [6_553_601, 32_769], [
      7_000_000,
      35_000,
    ]] as const
  ) {
    for (const base of [false, true]) {
      const served = largeFile(size);
      const opened = await open(served, { base });
      const head = base ? 16_384 : 100;
      assert.deepEqual(served.reads, [{ offset: 0, size: head }, { offset: size - tail, size: tail }]);
      assert.equal(opened.fetched.bytes.length, head - 100);
      assert.equal(opened.depth, 1);
      assert.equal(opened.checksum, 2n ** 63n + 5n);
    }
  }
});

test("openPlanFile() refuses what is too short to be a file, without a request", async () => {
  for (const size of [0, 130]) {
    const served = new ServedFile(new Uint8Array(size), snapshotFields(512, 1));
    const message = new RegExp(
      `^Cannot open LTX file "0000/.*": it has ${size} bytes, expected at least 131$`,
    );
    await assert.rejects(open(served), refused(message));
    assert.deepEqual(served.reads, []);
  }
  const empty = ServedFile.of([], { minTxid: 2n, maxTxid: 2n, commit: 1 });
  assert.equal(empty.bytes.length, 131);
  assert.equal((await open(empty)).header.commit, 1);
});

test("openPlanFile() refuses a file whose header names other TXIDs than its name", async () => {
  const { bytes } = ServedFile.of([1, 2], { minTxid: 3n, maxTxid: 5n, commit: 2 });
  const fields = { ...snapshotFields(512, 2), minTxid: 3n, maxTxid: 5n };
  await open(new ServedFile(bytes, fields));
  for (
    const named of [{ minTxid: 2n }, { maxTxid: 6n }, { minTxid: 4n, maxTxid: 5n }, {
      minTxid: 3n,
      maxTxid: 4n,
    }]
  ) {
    const message = /its header names TXIDs 0{15}3 to 0{15}5, expected those of its name$/;
    await assert.rejects(open(new ServedFile(bytes, fields, named)), refused(message, 16));
  }
});

test("openPlanFile() refuses an index whose size cannot be, and says where", async () => {
  const { bytes } = ServedFile.of([1, 2, 3]);
  const sizeMax = Math.min(bytes.length - 100 - 6 - 24, 3 * 16 + 1); // room in the file, and for entries of all pages
  for (const size of [0n, BigInt(sizeMax + 1), 2n ** 63n]) {
    const changed = bytes.slice();
    new DataView(changed.buffer).setBigUint64(bytes.length - 24, size);
    const message = new RegExp(
      `^Cannot read page index of ".*": its size is ${size} bytes, expected 1 to ${sizeMax}$`,
    );
    await assert.rejects(
      open(new ServedFile(changed, snapshotFields(512, 3))),
      refused(message, bytes.length - 24),
    );
  }
  for (const size of [1n, BigInt(sizeMax)]) { // they can be, and are wrong
    const changed = bytes.slice();
    new DataView(changed.buffer).setBigUint64(bytes.length - 24, size);
    await assert.rejects(
      open(new ServedFile(changed, snapshotFields(512, 3))),
      refused(/^(?!.*its size is)/),
    );
  }
});

test("openPlanFile() refuses an index for which there is no memory", async () => {
  const size = 2 ** 45; // as who wrote the listing may say
  const served = new ServedFile(new Uint8Array(0), snapshotFields(512, 1), { size } as Partial<ReplicaFile>);
  const message =
    /^Cannot read page index of ".*": \d+ bytes for it, expected as many as there is memory for$/;
  await assert.rejects(open(served, { head: new Uint8Array(100) }), refused(message));
});

test("openPlanFile() verifies what it has whole, and leaves no handle behind when it fails", async () => {
  const { bytes } = ServedFile.of([1, 2, 3]);
  const fields = snapshotFields(512, 3);
  const before = nextObject();
  for (const at of [105, 130, bytes.length - 30, bytes.length - 12, bytes.length - 1]) {
    const changed = bytes.slice();
    changed[at]! ^= 0x10;
    await assert.rejects(open(new ServedFile(changed, fields)), LtxFormatError, `byte ${at}`);
  }
  const noPages = bytes.slice(); // all checksums hold, and the index is another's
  noPages[bytes.length - 24 - 2]!++;
  await assert.rejects(open(new ServedFile(noPages, fields)), LtxFormatError);
  assert.equal(nextObject(), before);
  const other = withCalls({ ls_file_verify: () => 0 });
  await assert.rejects(
    open(new ServedFile(noPages, fields), {}, other),
    refused(/^Cannot read page index of "0000/),
  );
  assert.equal(nextObject(), before);
  await open(new ServedFile(resealFile(bytes), fields));
  const large = largeFile(300_000, {});
  large.bytes[large.bytes.length - 24 - 2]!++;
  await assert.rejects(open(large), refused(/^Cannot read page index of "0000/));
  assert.equal(nextObject(), before);
});

test("openPlanFile() does not verify a file of which it has the ends alone", async () => {
  let verified = 0;
  const counting = withCalls({ ls_file_verify: () => (verified++, 0) });
  await open(largeFile(300_000), { base: true }, counting);
  assert.equal(verified, 0);
  await open(ServedFile.of([1]), {}, counting);
  assert.equal(verified, 1);
});

test("openPlanFile() tells the shim what file it is", async () => {
  for (const minTxid of [1n, 2n]) {
    let told: unknown[] = [];
    const asked = withCalls({
      ls_object_new: (...args) => {
        told = args;
        return native.calls.ls_object_new(...args);
      },
    });
    const served = ServedFile.of([1, 2, 3, 4], { minTxid, maxTxid: 2n, pageSize: 1024 });
    await open(served, { replicaId: 77 }, asked);
    assert.deepEqual(told, [77, 1024, 4, minTxid === 1n ? 1 : 0, BigInt(served.bytes.length)]);
  }
  const full = withCalls({ ls_object_new: () => -6 });
  await assert.rejects(open(ServedFile.of([1]), {}, full), {
    name: "ReplicaError",
    message: /^Cannot open LTX file "0000\/.*": the shim answers -6, expected a value from 0 on$/,
  });
});

test("openPlanFile() asks for an index that is longer than the tail, just what lacks of it", async () => {
  const served = ServedFile.of([1, 2]);
  const commit = 400_000; // with 7 bytes an entry or so, a quarter of the file is index
  const pgnos = snapshotPgnos(commit, 4096);
  const index = encodePageIndex(contiguousIndex(pgnos, 20));
  const size = 100 + pgnos.length * 20 + 6 + index.length + 16;
  const bytes = new Uint8Array(size);
  const fields = snapshotFields(4096, commit);
  bytes.set(encodeHeader(completeHeader(fields)));
  bytes.set(index, size - 16 - index.length);
  bytes.set(served.bytes.subarray(-16), size - 16);
  const large = new ServedFile(bytes, fields);
  const opened = await openPlanFile(native, large.store, { replicaId: 1, file: large.file });
  assert.equal(native.calls.ls_object_count(opened.objectId), pgnos.length);
  native.calls.ls_object_free(opened.objectId);
  assert.equal(opened.depth, 2);
  const tail = Math.ceil(size / 200);
  const start = size - 16 - index.length;
  assert.deepEqual(large.reads, [
    { offset: 0, size: 100 },
    { offset: size - tail, size: tail },
    { offset: start, size: size - tail - start },
  ]);
});

test("checkShim() gives what is no error, and words for what is", () => {
  for (const result of [0, 1, 2 ** 31 - 1]) assert.equal(checkShim(native, result, "do", "k"), result);
  const none = withCalls({
    ls_fault: (buffer) => (buffer.set(new TextEncoder().encode("of bytes")), 8),
  });
  assert.throws(() => checkShim(none, -3, "read page index of", "k"), (error) => {
    assert.ok(error instanceof LtxFormatError);
    assert.equal(error.message, 'Cannot read page index of "k": of bytes');
    assert.equal(error.key, "k");
    return true;
  });
  for (const result of [-1, -2, -4]) {
    assert.throws(() => checkShim(none, result, "map pages of", "k"), (error) => {
      assert.ok(error instanceof ReplicaError && !(error instanceof LtxFormatError));
      assert.equal(
        error.message,
        `Cannot map pages of "k": the shim answers ${result}, expected a value from 0 on`,
      );
      return true;
    });
  }
});
