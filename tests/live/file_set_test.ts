import assert from "node:assert/strict";
import { test } from "node:test";
import { loadNative } from "../../ffi/mod.ts";
import { ObjectGoneError } from "../../src/errors.ts";
import { FileSet } from "../../src/live/file_set.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { findShim } from "../../src/shim_path.ts";
import type { ObjectIdentity, ObjectStore, ReadResult } from "../../src/storage/object_store.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";
import { sampleFile } from "../support/ltx_files.ts";

const COUNT = 400;

/** A store of one file under many names, which counts who waits; `isGone` tells which are not there. */
class WaitingStore implements ObjectStore {
  readonly name = "waiting";
  readonly traits = { conditionalPut: true, conditionalReplace: true, cheapList: true, listsInOrder: true };
  readonly counts = { list: 0, get: 0, bytes: 0, retries: 0 };
  most = 0;
  #waiting = 0;

  constructor(
    readonly bytesOf: (of: ObjectIdentity) => Uint8Array,
    readonly isGone: (index: number) => boolean = () => false,
  ) {}

  list(): never {
    throw new Error("nothing to list here");
  }

  async read(of: ObjectIdentity): Promise<ReadResult> {
    const index = this.counts.get++;
    this.most = Math.max(this.most, ++this.#waiting);
    await new Promise((resolve) => setTimeout(resolve, 0));
    this.#waiting--;
    if (this.isGone(index)) throw new ObjectGoneError("gone", { key: of.key, status: 404, retryable: false });
    return { bytes: this.bytesOf(of).slice(), etag: of.etag, objectSize: of.size };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

const names = new Map<string, Uint8Array>();

/** Files of one transaction each. */
function plan(count: number): ReplicaFile[] {
  return Array.from({ length: count }, (_, i) => {
    const txids = { minTxid: BigInt(i + 2), maxTxid: BigInt(i + 2) };
    const key = `0000/${formatLtxFileName(txids)}`;
    const bytes = names.get(key) ?? sampleFile(txids, { pgnos: [2] });
    names.set(key, bytes);
    return { key, etag: "e", size: bytes.length, modifiedMs: 0, level: 0, ...txids };
  });
}

async function fileSet(store: ObjectStore): Promise<FileSet> {
  const native = await loadNative(findShim());
  return new FileSet({ native, store, replicaId: 1, heldBytesMax: 2 ** 20, onRelease: () => {} });
}

test("FileSet.use() of many files has few of them opened at once, and gives all in order", async () => {
  const store = new WaitingStore(({ key }) => names.get(key)!);
  const files = await fileSet(store);
  const wanted = plan(COUNT);
  const keys = await files.use(wanted, {}, (opened) => Promise.resolve(opened.map(({ file }) => file.key)));
  assert.deepEqual(keys, wanted.map(({ key }) => key));
  assert.ok(store.most <= 128, `${store.most} at once`);
  assert.equal(store.counts.get, COUNT);
  assert.equal([...files.all()].length, 0); // no view names them
  files.close();
});

test("FileSet.use() begins no more openings once a file turned out to be gone", async () => {
  const store = new WaitingStore(({ key }) => names.get(key)!, (index) => index === 3);
  const files = await fileSet(store);
  await assert.rejects(files.use(plan(COUNT), {}, () => Promise.resolve()), ObjectGoneError);
  assert.ok(store.counts.get < COUNT / 2, `${store.counts.get} were begun`);
  files.close();
});
