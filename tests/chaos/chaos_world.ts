/**
 * Chaos as a whole: a bucket, a replica that goes on and on, a proxy, and lanes that use it; storms, and calms in which all
 * must recover.
 *
 * @module
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Random } from "../support/random.ts";
import { folderUrl, restore } from "../support/real.ts";
import type { Bucket } from "./bucket.ts";
import { ChaosProxy } from "./chaos_proxy.ts";
import { CopyLane } from "./copy_lane.ts";
import { canMeet, evenRates, FAULT_KINDS, type FaultKind, type FaultRates } from "./fault_schedule.ts";
import { FollowLane } from "./follow_lane.ts";
import type { ChaosFolderOptions } from "./chaos_storage.ts";
import type { Lane, LaneParts, LanePlace } from "./lane.ts";
import { folderShelf, ModelPrimary } from "./model_primary.ts";
import { OpenLane } from "./open_lane.ts";
import { type FaultCounts, type FaultSource, Outcomes } from "./promise_check.ts";
import { RudeFolder } from "./rude_folder.ts";
import { WriteLane } from "./write_lane.ts";

/** How many lanes of each kind there are. */
export interface LaneNumbers {
  readonly open: number;
  readonly follow: number;
  readonly copy: number;
  readonly write: number;
  /** Over a place of a user's own; open, follow and write in turn. */
  readonly own: number;
  /** Over a folder whose files are taken away and damaged; open and follow in turn. */
  readonly folder: number;
  /** Writers that take the lease, write now and then what is larger than a file made in memory. */
  readonly leased: number;
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
  readonly #proxy: ChaosProxy;
  readonly #options: ChaosOptions;
  readonly #folder: string;
  readonly #primary: ModelPrimary;
  readonly #rude: RudeFolder;
  readonly #lanes: Lane[] = [];
  #stepping: Promise<void> | undefined;
  #isOver = false;

  /** Makes one: calm, with nothing open. */
  static async make(options: ChaosOptions): Promise<ChaosWorld> {
    const { bucket, seed, lanes } = options;
    const folder = await mkdtemp(join(tmpdir(), "chaos-"));
    const shelves = [
      bucket.shelf("db"),
      folderShelf(join(folder, "own")),
      folderShelf(join(folder, "plain")),
    ];
    const primary = await ModelPrimary.make({ seed, shelves });
    const proxy = await ChaosProxy.start({
      target: bucket.endpoint,
      seed,
      rates: evenRates(0.3),
      lanes: Object.values(lanes).reduce((sum, count) => sum + count),
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
    this.#proxy = parts.proxy;
    this.#rude = new RudeFolder(join(parts.folder, "plain"), parts.options.seed);
  }

  /** Faults so far by kind. */
  counts(): Record<FaultKind, number> {
    return this.#proxy.counts();
  }

  get requests(): number {
    return this.#proxy.requests;
  }

  async #makeLanes(): Promise<void> {
    const { lanes, bucket, hasThreads } = this.#options;
    const read = (parts: LaneParts, index: number) =>
      index % 2 === 0 ? new OpenLane(parts, this.#primary) : new FollowLane(parts, this.#primary);
    const writer = (number: number, parts: Omit<LaneParts, "place">, isLeased: boolean) => {
      const path = `written-${number}`;
      const place = this.#ofBucket(number, path);
      return new WriteLane({ ...parts, place }, (out) => bucket.restore(path, out, parts.folder), {
        isLeased,
      });
    };
    const makers: ((number: number, parts: Omit<LaneParts, "place">) => Lane)[] = [
      ...repeated(
        lanes.open,
        (number, parts) => new OpenLane({ ...parts, place: this.#ofBucket(number, "db") }, this.#primary),
      ),
      ...repeated(lanes.follow, (number, parts, index) => {
        const more = index % 3 === 2 ? { hydrate: true } : {};
        return new FollowLane({ ...parts, place: this.#ofBucket(number, "db") }, this.#primary, more);
      }),
      ...repeated(
        lanes.copy,
        (number, parts) => new CopyLane({ ...parts, place: this.#ofBucket(number, "db") }, this.#primary),
      ),
      ...repeated(lanes.write, (number, parts) => writer(number, parts, false)),
      ...repeated(lanes.own, (number, parts, index) => {
        if (index % 3 < 2) {
          return read({ ...parts, place: this.#ofUser(number, join(this.#folder, "own")) }, index % 3);
        }
        const path = join(parts.folder, "written");
        return new WriteLane(
          { ...parts, place: this.#ofUser(number, path) },
          (out) => restore(folderUrl(path), out),
        );
      }),
      ...repeated(lanes.folder, (_, parts, index) => read({ ...parts, place: this.#ofFolder() }, index)),
      ...repeated(lanes.leased, (number, parts) => writer(number, parts, true)),
    ];
    for (const [number, make] of makers.entries()) {
      const folder = join(this.#folder, String(number));
      await mkdir(folder);
      const { seed } = this.#options;
      this.#lanes.push(make(number, {
        random: new Random(seed * 1000 + number),
        outcomes: this.outcomes,
        label: `seed ${seed}, lane ${number}`,
        folder,
        hasThread: hasThreads,
      }));
    }
  }

  /** What happens to a lane's requests, where the proxy's memory knows of it. */
  #faultsOf(counts: () => FaultCounts): FaultSource {
    const proxy = this.#proxy;
    return {
      counts,
      get givenMs() {
        return proxy.givenMs;
      },
    };
  }

  #ofBucket(number: number, path: string): LanePlace {
    const { bucket } = this.#options;
    const faults = this.#faultsOf(() => this.#proxy.counts(number));
    return { url: bucket.url(path, this.#proxy.origins[number]!), access: bucket.access, faults };
  }

  #ofUser(lane: number, folder: string): LanePlace {
    const { seed } = this.#options;
    const options: ChaosFolderOptions = { folder, seed, lane, buffer: this.#proxy.buffer };
    const module = new URL("./chaos_storage.ts", import.meta.url);
    const faults = this.#faultsOf(() => this.#proxy.counts(lane));
    return { url: undefined, access: { storage: { module, options, name: `chaos-${lane}` } }, faults };
  }

  #ofFolder(): LanePlace {
    const faults = this.#faultsOf(() => this.#rude.counts());
    return { url: folderUrl(join(this.#folder, "plain")), access: {}, faults };
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
    this.#proxy.storm(rates());
    if (this.#options.lanes.folder > 0) this.#rude.storm();
    const steering = setInterval(() => this.#proxy.storm(rates()), 500);
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
    this.#proxy.calm();
    await this.#rude.calm();
    await Promise.all(this.#lanes.map((lane) => lane.recover()));
  }

  /** Ends all of it. */
  async close(): Promise<void> {
    this.#proxy.calm();
    await Promise.all(this.#lanes.map((lane) => lane.close()));
    this.#isOver = true;
    await this.#stepping;
    this.#primary.close();
    await this.#proxy.close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

type Maker = (number: number, parts: Omit<LaneParts, "place">, index: number) => Lane;

function repeated(
  count: number,
  make: Maker,
): ((number: number, parts: Omit<LaneParts, "place">) => Lane)[] {
  return Array.from({ length: count }, (_, index) => (number, parts) => make(number, parts, index));
}
