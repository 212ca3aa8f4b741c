/**
 * Chaos as a whole: a bucket, a replica that goes on and on, a proxy, and lanes that use it; storms, and calms in which all
 * must recover.
 *
 * @module
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Lz4 } from "../../src/ltx/lz4.ts";
import { nativeLz4 } from "../support/native_lz4.ts";
import { Random } from "../support/random.ts";
import type { Bucket } from "./bucket.ts";
import { ChaosProxy } from "./chaos_proxy.ts";
import { CopyLane } from "./copy_lane.ts";
import { canMeet, evenRates, FAULT_KINDS, type FaultKind, type FaultRates } from "./fault_schedule.ts";
import { FollowLane } from "./follow_lane.ts";
import type { Lane, LaneParts } from "./lane.ts";
import { ModelPrimary } from "./model_primary.ts";
import { OpenLane } from "./open_lane.ts";
import { Outcomes } from "./promise_check.ts";
import { type StoredFiles, StoreLane } from "./store_lane.ts";
import { WriteLane } from "./write_lane.ts";

/** How many lanes of each kind there are. */
export interface LaneNumbers {
  readonly open: number;
  readonly follow: number;
  readonly copy: number;
  readonly write: number;
  /** Of the store alone. */
  readonly store: number;
}

/** What is played. */
export interface ChaosOptions {
  readonly seed: number;
  readonly bucket: Bucket;
  readonly lanes: LaneNumbers;
  /** Pause between two transactions, in ms. */
  readonly stepMs: number;
  /** Whether each lane queries on a thread of its own; else all of them on this one. */
  readonly hasThreads: boolean;
}

const REQUESTS = ["list", "read", "put", "remove"] as const;

/**
 * Rates by which of every class of requests `share` at most goes wrong, kinds of which more are missing more often; `missing`
 * gives what of each is still wanted, from 0 to 1.
 */
export function wantedRates(share: number, missing: (kind: FaultKind) => number): FaultRates {
  const weights = new Map(FAULT_KINDS.map((kind) => [kind, Math.max(0.05, missing(kind))]));
  const sums = REQUESTS.map((requested) =>
    FAULT_KINDS.filter((kind) => canMeet(kind, requested)).reduce((sum, kind) => sum + weights.get(kind)!, 0)
  );
  const unit = share / Math.max(...sums);
  return Object.fromEntries([...weights].map(([kind, weight]) => [kind, unit * weight]));
}

/** The world. */
export class ChaosWorld {
  readonly outcomes = new Outcomes();
  readonly proxy: ChaosProxy;
  readonly #options: ChaosOptions;
  readonly #folder: string;
  readonly #primary: ModelPrimary;
  readonly #lanes: Lane[] = [];
  #stepping: Promise<void> | undefined;
  #isOver = false;

  /** Makes one: calm, with nothing open. */
  static async make(options: ChaosOptions): Promise<ChaosWorld> {
    const { bucket, seed, lanes } = options;
    const folder = await mkdtemp(join(tmpdir(), "chaos-"));
    const primary = await ModelPrimary.make({ seed, shelf: bucket.shelf("db") });
    const proxy = await ChaosProxy.start({
      target: bucket.endpoint,
      seed,
      rates: evenRates(0.3),
      lanes: lanes.open + lanes.follow + lanes.copy + lanes.store + lanes.write,
    });
    proxy.calm();
    const world = new ChaosWorld({ options, folder, primary, proxy });
    await world.#makeLanes();
    world.#stepping = world.#step();
    return world;
  }

  private constructor(
    parts: { options: ChaosOptions; folder: string; primary: ModelPrimary; proxy: ChaosProxy },
  ) {
    this.#options = parts.options;
    this.#folder = parts.folder;
    this.#primary = parts.primary;
    this.proxy = parts.proxy;
  }

  async #makeLanes(): Promise<void> {
    const { lanes, bucket } = this.#options;
    const stored = await this.#storeFiles();
    const makers: ((parts: LaneParts, path: string) => Lane)[] = [
      ...repeated(lanes.open, (parts) => new OpenLane(parts, this.#primary)),
      ...repeated(
        lanes.follow,
        (parts, number) => new FollowLane(parts, this.#primary, number % 3 === 2 ? { hydrate: true } : {}),
      ),
      ...repeated(lanes.copy, (parts) => new CopyLane(parts, this.#primary)),
      ...repeated(lanes.store, (parts, number, path) => {
        const trueUrl = bucket.url(path, bucket.endpoint);
        return new StoreLane(parts, { ...stored, trueUrl, putPrefix: `put-${number}/` });
      }),
      ...repeated(
        lanes.write,
        (parts, _, path) => new WriteLane(parts, (out) => bucket.restore(path, out, parts.folder)),
      ),
    ];
    for (const [number, make] of makers.entries()) {
      const path = pathOf(number, makers.length, lanes);
      const folder = join(this.#folder, String(number));
      await mkdir(folder);
      this.#lanes.push(make(this.#parts(number, path, folder), path));
    }
  }

  /** Files for lanes of the store: several sizes, and all they may be damaged in. */
  async #storeFiles(): Promise<{ files: StoredFiles; lz4: Lz4 }> {
    const { bucket } = this.#options;
    const files = new Map<string, Uint8Array>();
    for (let txid = 1; txid <= this.#primary.folder.txid; txid++) {
      files.set(`ltx/${txid}`, this.#primary.folder.encode(1, txid));
      files.set(`ltx/only-${txid}`, this.#primary.folder.encode(txid, txid));
    }
    const shelf = bucket.shelf("stored");
    for (const [key, bytes] of files) await shelf.put(key, bytes);
    return { files, lz4: await nativeLz4() };
  }

  #parts(number: number, path: string, folder: string): LaneParts {
    const { seed, bucket } = this.#options;
    const { proxy } = this;
    const faults = {
      counts: () => proxy.counts(number),
      get givenMs() {
        return proxy.givenMs;
      },
    };
    return {
      place: { url: bucket.url(path, proxy.origins[number]!), access: bucket.access, faults },
      random: new Random(seed * 1000 + number),
      outcomes: this.outcomes,
      label: `seed ${seed}, lane ${number}`,
      folder,
      hasThread: this.#options.hasThreads,
    };
  }

  /** The primary goes on, whatever happens. */
  async #step(): Promise<void> {
    while (!this.#isOver) {
      await this.#primary.step();
      await this.#primary.keepUp();
      await new Promise((resolve) => setTimeout(resolve, this.#options.stepMs));
    }
  }

  /** Has all lanes work under faults for a while; `rates` are asked for again and again. */
  async storm(forMs: number, rates: () => FaultRates): Promise<void> {
    const endMs = performance.now() + forMs;
    this.proxy.storm(rates());
    const steering = setInterval(() => this.proxy.storm(rates()), 500);
    try {
      await Promise.all(this.#lanes.map(async (lane) => {
        while (performance.now() < endMs) await lane.round();
      }));
    } finally {
      clearInterval(steering);
    }
  }

  /** Nothing goes wrong any more: everyone recovers. */
  async calm(): Promise<void> {
    this.proxy.calm();
    await Promise.all(this.#lanes.map((lane) => lane.recover()));
  }

  /** Ends all of it. */
  async close(): Promise<void> {
    this.proxy.calm();
    await Promise.all(this.#lanes.map((lane) => lane.close()));
    this.#isOver = true;
    await this.#stepping;
    this.#primary.close();
    await this.proxy.close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Where a lane's replica lies: all readers have the same one. */
function pathOf(number: number, count: number, { write, store }: LaneNumbers): string {
  if (number >= count - write) return `written-${number}`;
  return number >= count - write - store ? "stored" : "db";
}

function repeated(
  count: number,
  make: (parts: LaneParts, number: number, path: string) => Lane,
): ((parts: LaneParts, path: string) => Lane)[] {
  return Array.from({ length: count }, (_, number) => (parts, path) => make(parts, number, path));
}
