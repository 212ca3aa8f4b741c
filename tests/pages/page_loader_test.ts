import assert from "node:assert/strict";
import { test } from "node:test";
import type { Native } from "../../ffi/native.ts";
import { LS } from "../../ffi/symbols.ts";
import { LtxFormatError, ReplicaError, StorageError } from "../../src/errors.ts";
import { PageCache } from "../../src/pages/page_cache.ts";
import { PageLoader } from "../../src/pages/page_loader.ts";
import type {
  ByteRange,
  ObjectIdentity,
  ObjectStore,
  ReadResult,
  RequestOptions,
} from "../../src/storage/object_store.ts";
import type { PlanFile } from "../../src/view/plan_file.ts";

const FRAME_SIZE = 1000;
const FRAME_COUNT = 200;

/** One object of 200 frames in a pool; frame k is page k+1. */
class FakePool {
  readonly runs = new Map<number, { first: number; count: number }>();
  readonly damaged = new Set<number>();
  readonly old = new Set<number>();
  #last = 0;

  has(frame: number): boolean {
    return [...this.runs.values()].some(({ first, count }) => frame >= first && frame < first + count);
  }

  readonly native = {
    calls: {
      ls_object_frames: (_object: number, _view: number, first: number, max: number, out: Uint8Array) => {
        const words = new Uint32Array(out.buffer);
        const count = Math.max(0, Math.min(max, FRAME_COUNT - first));
        for (let i = 0; i < count; i++) {
          words.set([
            first + i + 1,
            FRAME_SIZE,
            Number(this.has(first + i)),
            Number(!this.old.has(first + i)),
          ], i * 4);
        }
        return count;
      },
      ls_object_offset: (_object: number, frame: number, out: Uint8Array) => {
        new DataView(out.buffer).setBigUint64(0, BigInt(100 + frame * FRAME_SIZE), true);
        return 0;
      },
      ls_run_load: (_object: number, first: number, count: number, _bytes: Uint8Array, size: number) => {
        if (size !== count * FRAME_SIZE) return LS.MISUSE;
        for (let frame = first; frame < first + count; frame++) {
          if (this.has(frame)) return LS.MISUSE;
          if (this.damaged.has(frame)) return LS.FORMAT;
        }
        this.runs.set(++this.#last, { first, count });
        return this.#last;
      },
      ls_run_free: (run: number) => this.runs.delete(run) ? 0 : LS.MISUSE,
      ls_run_touched: () => 0,
      ls_replica_add: () => 0,
      ls_fault: (out: Uint8Array) => new TextEncoder().encodeInto("odd bytes", out).written,
    },
  } as unknown as Native;
}

/** A store whose reads are answered by the test, in any order. */
class HeldStore {
  readonly reads: { range: ByteRange; answer(error?: Error): void }[] = [];

  readonly store = {
    read: (_of: ObjectIdentity, range: ByteRange, { signal }: RequestOptions = {}) =>
      new Promise<ReadResult>((resolve, reject) => {
        signal?.addEventListener("abort", () => reject(signal.reason));
        this.reads.push({
          range,
          answer: (error) =>
            error ? reject(error) : resolve({ bytes: new Uint8Array(range.size), etag: "e", objectSize: 0 }),
        });
      }),
  } as unknown as ObjectStore;

  /** First frame and count of each read. */
  get frames(): number[][] {
    return this.reads.map(({ range }) => [(range.offset - 100) / FRAME_SIZE, range.size / FRAME_SIZE]);
  }
}

function setUp(): { pool: FakePool; held: HeldStore; loader: PageLoader; file: PlanFile } {
  const pool = new FakePool();
  const held = new HeldStore();
  const loader = new PageLoader(pool.native, held.store, new PageCache(pool.native, 10_000_000), 1);
  const file = {
    file: { key: "ltx/9/x.ltx" },
    header: { pageSize: 4096 },
    objectId: 5,
    fetched: { offset: 100, bytes: new Uint8Array(0) },
    closed: false,
  } as unknown as PlanFile;
  return { pool, held, loader, file };
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

test("PageLoader fetches a neighbourhood, and those who need pages of it share the flight", async () => {
  const { pool, held, loader, file } = setUp();
  const loads = [50, 51, 60, 50].map((frame) => loader.load(file, frame, { viewId: 0, depth: 2 }));
  assert.deepEqual(held.frames, [[50, 16]]);
  held.reads[0]!.answer();
  assert.deepEqual(await Promise.all(loads), [3, 3, 3, 3]);
  assert.ok(pool.has(65) && !pool.has(66));
});

test("PageLoader plans around flights and cached pages, and loads nothing twice", async () => {
  const { pool, held, loader, file } = setUp();
  const loads = [50, 45, 70].map((frame) => loader.load(file, frame, { viewId: 0, depth: 0 }));
  assert.deepEqual(held.frames, [[50, 16], [34, 16], [70, 16]]);
  held.reads.forEach(({ answer }) => answer());
  await Promise.all(loads);
  assert.equal(await loader.load(file, 55, { viewId: 0, depth: 7 }), 7);
  const between = loader.load(file, 67, { viewId: 0, depth: 0 });
  assert.deepEqual(held.frames[3], [66, 4]);
  held.reads[3]!.answer();
  await between;
  assert.equal([...pool.runs.values()].reduce((sum, { count }) => sum + count, 0), 52);
});

test("PageLoader leaves out frames that hold older versions", () => {
  const { pool, held, loader, file } = setUp();
  pool.old.add(53);
  void loader.load(file, 51, { viewId: 0, depth: 0 });
  assert.deepEqual(held.frames[0], [51 - 14, 16]);
  pool.old.add(100);
  void loader.load(file, 100, { viewId: 0, depth: 0 });
  assert.equal(held.frames[1]![0]! + held.frames[1]![1]! > 100, true);
});

test("PageLoader counts a chain by the flight a reader joined", async () => {
  const { held, loader, file } = setUp();
  const first = loader.load(file, 10, { viewId: 0, depth: 0 });
  const behind = loader.load(file, 12, { viewId: 0, depth: 5 });
  held.reads[0]!.answer();
  assert.deepEqual([await first, await behind], [1, 5]);
});

test("PageLoader loads a page alone when a neighbour is damaged, once for all who wait", async () => {
  const { pool, held, loader, file } = setUp();
  pool.damaged.add(52);
  const loads = [50, 50, 51, 50].map((frame) => loader.load(file, frame, { viewId: 0, depth: 0 }));
  held.reads[0]!.answer();
  await turn();
  assert.deepEqual(held.frames.slice(1), [[50, 1], [51, 1]]);
  held.reads.slice(1).forEach(({ answer }) => answer());
  assert.deepEqual(await Promise.all(loads), [2, 2, 2, 2]);
});

test("PageLoader tells a damaged page by its number", async () => {
  const { pool, held, loader, file } = setUp();
  pool.damaged.add(52);
  const load = loader.load(file, 52, { viewId: 0, depth: 0 });
  held.reads[0]!.answer();
  await turn();
  held.reads[1]!.answer();
  await assert.rejects(load, (error) => {
    assert.ok(error instanceof LtxFormatError);
    assert.equal(error.message, 'Cannot decode page 53 of "ltx/9/x.ltx": odd bytes');
    assert.equal(error.key, "ltx/9/x.ltx");
    return true;
  });
});

test("PageLoader does not keep a failure: the next load asks again", async () => {
  const { pool, held, loader, file } = setUp();
  const fault = new StorageError("Cannot read: down", { key: "k", status: 503, retryable: true });
  const loads = [
    loader.load(file, 50, { viewId: 0, depth: 0 }),
    loader.load(file, 51, { viewId: 0, depth: 0 }),
  ];
  held.reads[0]!.answer(fault);
  for (const load of loads) await assert.rejects(load, fault);
  const again = loader.load(file, 50, { viewId: 0, depth: 0 });
  held.reads[1]!.answer();
  await again;
  assert.ok(pool.has(50));
});

test("PageLoader drops bytes of a file that was given up meanwhile", async () => {
  const { pool, held, loader, file } = setUp();
  const load = loader.load(file, 50, { viewId: 0, depth: 0 });
  file.closed = true;
  held.reads[0]!.answer();
  await load;
  assert.equal(pool.runs.size, 0);
});

test("PageLoader.close() ends what is under way with its reason", async () => {
  const { held, loader, file } = setUp();
  const load = loader.load(file, 50, { viewId: 0, depth: 0 });
  const reason = new ReplicaError("Cannot read: closed");
  loader.close(reason);
  await assert.rejects(load, reason);
  assert.equal(held.reads.length, 1);
});

test("PageLoader.preload() takes over whole frames that are current and not in the pool", () => {
  const { pool, loader, file } = setUp();
  pool.old.add(2);
  file.fetched = { offset: 100, bytes: new Uint8Array(70 * FRAME_SIZE + 999) };
  const size = loader.preload(file, 1_000_000);
  assert.equal(size, 69 * 4096);
  assert.ok(pool.has(0) && !pool.has(2) && pool.has(69) && !pool.has(70));
  assert.equal(loader.preload(file, 1_000_000), 0);
});

test("PageLoader.preload() ends near its bound", () => {
  const { loader, file } = setUp();
  file.fetched = { offset: 100, bytes: new Uint8Array(200 * FRAME_SIZE) };
  const size = loader.preload(file, 10 * 4096);
  assert.ok(size >= 10 * 4096 && size <= 64 * 4096, `${size} bytes`);
});
