/**
 * Chaos for stores alone, in one thread and without a network: many lanes over S3's protocol, and many over a place of a user's
 * own.
 *
 * @module
 */
import type { Storage } from "../../mod.ts";
import { AdaptedStore } from "../../src/storage/adapted_store.ts";
import { openStore } from "../../src/storage/open_store.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { RetryingStore } from "../../src/storage/retrying_store.ts";
import { nativeLz4 } from "../support/native_lz4.ts";
import { Random } from "../support/random.ts";
import type { HttpRequest } from "../support/request_reader.ts";
import { chaosFetch } from "./chaos_fetch.ts";
import { ChaosLane } from "./chaos_lane.ts";
import { ChaosMemory } from "./chaos_memory.ts";
import { ChaosStorage } from "./chaos_storage.ts";
import { FAULT_KINDS, type FaultKind, type FaultRates } from "./fault_schedule.ts";
import { ListingHistory } from "./listing_page.ts";
import { MemoryBucket } from "./memory_bucket.ts";
import { MemoryStorage } from "./memory_storage.ts";
import { ModelPrimary } from "./model_primary.ts";
import { Outcomes } from "./promise_check.ts";
import { STORE_TIMES, type StoredFiles, StoreLane, type StoreLaneOptions } from "./store_lane.ts";

const URL = "s3://bucket/db?endpoint=http://s3.test&region=us-east-1&forcePathStyle=true";
/** Of requests that nothing happens to, however busy the machine is. */
const PATIENT = { attemptTimeoutMs: 120_000, totalTimeoutMs: 240_000 } as const;

/** What is played. */
export interface StoreWorldOptions {
  readonly seed: number;
  /** Lanes over S3's protocol, and as many over a place of a user's own. */
  readonly lanes: number;
}

/** The lanes. */
export class StoreWorld {
  readonly outcomes = new Outcomes();
  readonly #memory: ChaosMemory;
  readonly #lanes: readonly StoreLane[];
  readonly #endTicks: () => void;

  /** Makes one: calm, with the same files in both places. */
  static async make({ seed, lanes }: StoreWorldOptions): Promise<StoreWorld> {
    const [bucket, storage] = [new MemoryBucket(), new MemoryStorage()];
    const files = await someFiles(seed);
    for (const [key, bytes] of files) {
      bucket.put(`db/${key}`, bytes);
      storage.set(key, bytes);
    }
    const memory = new ChaosMemory(2 * lanes);
    const lz4 = await nativeLz4();
    const common = (number: number) => ({ files, lz4, putPrefix: `put-${number}/` });
    const options = await Promise.all(
      Array.from(
        { length: 2 * lanes },
        (_, number) =>
          number < lanes
            ? overHttp({ bucket, memory, number, seed }, common(number))
            : ofUser({ storage, memory, number, seed }, common(number)),
      ),
    );
    const world = new StoreWorld(memory, seed, options);
    for (const lane of world.#lanes) await lane.begin();
    return world;
  }

  private constructor(memory: ChaosMemory, seed: number, options: readonly StoreLaneOptions[]) {
    this.#memory = memory;
    this.#endTicks = memory.tick();
    this.#lanes = options.map((what, number) => {
      const faults = {
        counts: () => memory.countsOf(number),
        get givenMs() {
          return memory.givenMs;
        },
      };
      const parts = {
        place: { url: undefined, access: {}, faults },
        random: new Random(seed * 1000 + number),
        outcomes: this.outcomes,
        label: `seed ${seed}, lane ${number} of the store`,
      };
      return new StoreLane(parts, what);
    });
  }

  /** Faults so far by kind. */
  counts(): Record<FaultKind, number> {
    const all = this.#lanes.map((_, number) => this.#memory.countsOf(number));
    return Object.fromEntries(
      FAULT_KINDS.map((kind) => [kind, all.reduce((sum, counts) => sum + counts[kind], 0)]),
    ) as Record<FaultKind, number>;
  }

  get requests(): number {
    return this.#memory.requests;
  }

  /** Has all lanes work under faults for a while. */
  async storm(forMs: number, rates: () => FaultRates): Promise<void> {
    const endMs = performance.now() + forMs;
    this.#memory.storm(rates());
    const steering = setInterval(() => this.#memory.storm(rates()), 500);
    try {
      await Promise.all(this.#lanes.map(async (lane) => {
        while (performance.now() < endMs) await lane.round();
      }));
    } finally {
      clearInterval(steering);
    }
  }

  /** Nothing goes wrong any more: what the stores have said is so. */
  async calm(): Promise<void> {
    this.#memory.calm();
    await Promise.all(this.#lanes.map((lane) => lane.recover()));
  }

  async close(): Promise<void> {
    for (const lane of this.#lanes) await lane.close();
    this.#endTicks();
  }
}

/** LTX files of several sizes. */
async function someFiles(seed: number): Promise<StoredFiles> {
  const primary = await ModelPrimary.make({ seed, shelves: [] });
  const files = new Map<string, Uint8Array>();
  for (let txid = 1; txid <= primary.folder.txid; txid++) {
    files.set(`ltx/${txid}`, primary.folder.encode(1, txid));
    files.set(`ltx/only-${txid}`, primary.folder.encode(txid, txid));
  }
  primary.close();
  return files;
}

interface LaneOf {
  readonly memory: ChaosMemory;
  readonly number: number;
  readonly seed: number;
}

type Common = Omit<StoreLaneOptions, "store" | "trueStore">;

async function overHttp(
  of: LaneOf & { readonly bucket: MemoryBucket },
  what: Common,
): Promise<StoreLaneOptions> {
  const ask = (request: HttpRequest) => Promise.resolve(of.bucket.answer(request));
  const open = (memory: ChaosMemory, times: object) => {
    const fetch = chaosFetch(new ChaosLane({ ...of, memory, history: new ListingHistory(), ask }));
    return openStore(parseReplicaUrl(URL), { ...times, credentials: "anonymous", fetch });
  };
  const calm = new ChaosMemory(of.memory.lanes);
  const [store, trueStore] = await Promise.all([open(of.memory, STORE_TIMES), open(calm, PATIENT)]);
  return { ...what, store, trueStore };
}

function ofUser(of: LaneOf & { readonly storage: MemoryStorage }, what: Common): StoreLaneOptions {
  const { storage, memory, number, seed } = of;
  const chaotic: Storage = new ChaosStorage(storage, { seed, lane: number, memory });
  const store = new RetryingStore(new AdaptedStore("own", chaotic), STORE_TIMES);
  return { ...what, store, trueStore: new RetryingStore(new AdaptedStore("own", storage), PATIENT) };
}
