/**
 * One file of frames in a pool, and a store whose reads the test answers: what pages are loaded with.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { LS } from "../../ffi/symbols.ts";
import { COUNTER } from "../../src/pages/counters.ts";
import { FLAG, PageCache } from "../../src/pages/page_cache.ts";
import { type LoadedListener, PageIntake } from "../../src/pages/page_intake.ts";
import { PageLoader } from "../../src/pages/page_loader.ts";
import type {
  ByteRange,
  ObjectIdentity,
  ObjectStore,
  ReadResult,
  RequestOptions,
} from "../../src/storage/object_store.ts";
import type { PlanFile } from "../../src/view/plan_file.ts";

/** Bytes of each frame as stored, and of the file before the first one. */
export const FRAME_SIZE = 1000;
export const FRAMES_START = 100;

/** The handle of the file, and of its view. */
const OBJECT_ID = 5;
export const VIEW_ID = 7;

/** One object of some frames in a pool; frame k is page k+1. */
export class FakePool {
  readonly runs = new Map<number, { first: number; count: number }>();
  readonly damaged = new Set<number>();
  /** Frames that hold older versions. */
  readonly old = new Set<number>();
  /** Frames whose readers are to be told. */
  readonly marked = new Set<number>();
  /** Frames that were loaded before anybody asked for them. */
  readonly ahead = new Set<number>();
  /** Bound on the requests of each connection; 0 is none. */
  requestsMax = 0;
  readonly #requests = new Map<number, number>();
  readonly #frameCount: number;
  #last = 0;

  constructor(frameCount: number) {
    this.#frameCount = frameCount;
  }

  has(frame: number): boolean {
    return [...this.runs.values()].some(({ first, count }) => frame >= first && frame < first + count);
  }

  /** First frame and count of each run, in the order they came. */
  get ranges(): number[][] {
    return [...this.runs.values()].map(({ first, count }) => [first, count]);
  }

  readonly native = {
    calls: {
      ls_object_frames: (_object: number, _view: number, first: number, max: number, out: Uint8Array) => {
        const words = new Uint32Array(out.buffer);
        const count = Math.max(0, Math.min(max, this.#frameCount - first));
        for (let i = 0; i < count; i++) {
          const frame = first + i;
          const state = [frame + 1, FRAME_SIZE, Number(this.has(frame)), Number(!this.old.has(frame))];
          words.set(state, i * 4);
        }
        return count;
      },
      ls_object_offset: (_object: number, frame: number, out: Uint8Array) => {
        new DataView(out.buffer).setBigUint64(0, BigInt(FRAMES_START + frame * FRAME_SIZE), true);
        return 0;
      },
      ls_object_flag: (_object: number, frame: number, flag: number) => {
        if (!this.has(frame)) return 0;
        this.#flag(frame, flag);
        return 1;
      },
      ls_view_places: (_view: number, asked: Uint8Array, count: number, out: Uint8Array) => {
        const words = new Uint32Array(out.buffer);
        const pgnos = new Uint32Array(asked.buffer);
        for (const [i, pgno] of pgnos.entries()) {
          if (pgno < 1 || pgno > this.#frameCount) continue;
          const frame = pgno - 1;
          const offset = FRAMES_START + frame * FRAME_SIZE;
          words.set([OBJECT_ID, frame, FRAME_SIZE, Number(this.has(frame)), offset, 0], i * 6);
        }
        return count;
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
      ls_run_flag: (_run: number, first: number, count: number, flag: number) => {
        for (let frame = first; frame < first + count; frame++) this.#flag(frame, flag);
        return 0;
      },
      ls_run_free: (run: number) => this.runs.delete(run) ? 0 : LS.MISUSE,
      ls_run_touched: () => 0,
      ls_run_count: () => 0,
      ls_replica_add: () => 0,
      ls_connection_add: (_replica: number, connection: number, counter: number, amount: number) => {
        if (counter !== COUNTER.getRequests) return 0;
        this.#requests.set(connection, (this.#requests.get(connection) ?? 0) + amount);
        return 0;
      },
      ls_connection_spent: (_replica: number, connection: number, out: Uint8Array) => {
        const requests = this.#requests.get(connection) ?? 0;
        new BigUint64Array(out.buffer).set([BigInt(requests), BigInt(this.requestsMax)]);
        return 0;
      },
      ls_fault: (out: Uint8Array) => new TextEncoder().encodeInto("odd bytes", out).written,
    },
  } as unknown as Native;

  #flag(frame: number, flag: number): void {
    if (flag & FLAG.mark) this.marked.add(frame);
    if (flag & FLAG.ahead) this.ahead.add(frame);
  }
}

/** A read that waits for its answer. */
interface HeldRead {
  readonly range: ByteRange;
  /** Whether it was asked for past the disk cache. */
  readonly isFresh: boolean;
  /** Tells that so many frames of it have come. */
  bring(frameCount: number): void;
  /** Ends it, with all of its bytes or with an error. */
  answer(error?: Error): void;
}

/** A store whose reads are answered by the test, in any order. */
export class HeldStore {
  readonly reads: HeldRead[] = [];

  readonly store = {
    read: (_of: ObjectIdentity, range: ByteRange, { signal, onProgress, isFresh }: RequestOptions = {}) =>
      new Promise<ReadResult>((resolve, reject) => {
        signal?.addEventListener("abort", () => reject(signal.reason));
        const bytes = new Uint8Array(range.size);
        this.reads.push({
          range,
          isFresh: isFresh === true,
          bring: (frameCount) => onProgress?.(bytes.subarray(0, frameCount * FRAME_SIZE)),
          answer: (error) => error ? reject(error) : resolve({ bytes, etag: "e", objectSize: 0 }),
        });
      }),
  } as unknown as ObjectStore;

  /** First frame and count of each read. */
  get frames(): number[][] {
    return this.reads.map(({ range: { offset, size } }) => [
      (offset - FRAMES_START) / FRAME_SIZE,
      size / FRAME_SIZE,
    ]);
  }
}

/** A loader with all that it works with. */
export interface LoadingPlace {
  readonly pool: FakePool;
  readonly held: HeldStore;
  readonly intake: PageIntake;
  readonly loader: PageLoader;
  readonly file: PlanFile;
  /** The file by its handle, as loaders ask for it. */
  readonly fileOf: (objectId: number) => PlanFile | undefined;
}

/** A file of `frameCount` frames of which nothing is in memory. */
export function loadingPlace(frameCount = 200, onLoaded?: LoadedListener): LoadingPlace {
  const pool = new FakePool(frameCount);
  const held = new HeldStore();
  const intake = new PageIntake(pool.native, new PageCache(pool.native, 100_000_000), 1, onLoaded);
  const loader = new PageLoader({ native: pool.native, store: held.store, intake, replicaId: 1 });
  const file = {
    file: { key: "ltx/9/x.ltx" },
    header: { pageSize: 4096 },
    objectId: OBJECT_ID,
    fetched: { offset: FRAMES_START, bytes: new Uint8Array(0) },
    closed: false,
  } as unknown as PlanFile;
  const fileOf = (objectId: number) => objectId === OBJECT_ID ? file : undefined;
  return { pool, held, intake, loader, file, fileOf };
}

/** Lets all that waits for answers go on. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
