/**
 * A place of a user's own, a folder, that goes wrong by a seed: what a {@link ChaosProxy} does to HTTP, done to the
 * interface that users write against.
 *
 * @module
 */
import type {
  Storage,
  StorageArguments,
  StorageList,
  StoragePut,
  StorageRead,
  StorageRequest,
  StorageTraits,
  StoredBytes,
  StoredNow,
  StoredObject,
} from "../../mod.ts";
import makeOwn from "../places/own_storage.ts";
import type { Random } from "../support/random.ts";
import { ChaosMemory } from "./chaos_memory.ts";
import { ChaosSchedule, type DrawnFault, type FaultKind, type RequestClass } from "./fault_schedule.ts";

/** What its option `options` is. */
export interface ChaosFolderOptions {
  readonly folder: string;
  readonly seed: number;
  readonly lane: number;
  /** Of the {@link ChaosMemory} that says whether it storms. */
  readonly buffer: SharedArrayBuffer;
}

/** What a {@link ChaosStorage} goes by. */
export interface ChaosStorageOptions {
  readonly seed: number;
  readonly lane: number;
  readonly memory: ChaosMemory;
}

const LATENCY_MS_MAX = 60;
const LATE_MS_MAX = 300;
const REMEMBERED_MAX = 20;

/** A failure of which nothing is known but its words. */
class Refused extends Error {
  /** Whether the same may succeed later. */
  readonly retryable: boolean;

  constructor(kind: FaultKind) {
    super(`the place says ${kind}`);
    this.retryable = !["403", "416", "clock skew"].includes(kind);
  }
}

/** Kinds that are words alone. */
const REFUSALS: readonly FaultKind[] = [
  "403",
  "416",
  "429",
  "500",
  "503",
  "clock skew",
  "reset before",
  "reset in headers",
  "reset in body",
];

/** Makes it. */
export default function makeStorage(given: StorageArguments): Storage {
  const { seed, lane, buffer } = given.options as ChaosFolderOptions;
  return new ChaosStorage(makeOwn(given), { seed, lane, memory: new ChaosMemory(buffer) });
}

/** Any storage, with faults before it. */
export class ChaosStorage implements Storage {
  readonly traits: StorageTraits;
  readonly #inner: Required<Pick<Storage, "put" | "remove">> & Storage;
  readonly #memory: ChaosMemory;
  readonly #lane: number;
  readonly #schedule: ChaosSchedule;
  readonly #listings: StoredObject[][] = [];

  constructor(inner: Storage, { seed, lane, memory }: ChaosStorageOptions) {
    this.#inner = inner as Required<Pick<Storage, "put" | "remove">> & Storage;
    this.traits = inner.traits;
    this.#memory = memory;
    this.#lane = lane;
    this.#schedule = new ChaosSchedule(seed, lane);
  }

  async *list(prefix: string, request: StorageList): AsyncGenerator<StoredObject[]> {
    const fault = await this.#begin("list", request);
    const objects: StoredObject[] = [];
    for await (const page of this.#inner.list(prefix, request)) objects.push(...page);
    yield fault ? this.#otherListing(fault, objects) : objects;
  }

  async read(
    key: string,
    range: { readonly offset: number; readonly size: number },
    request: StorageRead,
  ): Promise<StoredBytes | undefined> {
    const fault = await this.#begin("read", request);
    if (fault?.kind === "404" || fault?.kind === "deleted") return this.#met(fault.kind, undefined);
    // only who asks for a certain object can be told that it is another one
    const isKnown = request.etag !== undefined;
    const by = isKnown && fault?.kind === "other range" ? 1 + fault.dice.next(30) : 0;
    const found = await this.#inner.read(key, { ...range, offset: range.offset + by }, request);
    if (fault === undefined || found === undefined) return found;
    if (fault.kind === "drip") return this.#met("drip", await drip(found, fault.dice, request));
    if (!isKnown && ["412", "other range"].includes(fault.kind)) return found;
    return this.#otherBytes(fault, found, range.offset);
  }

  async put(key: string, bytes: Uint8Array, request: StoragePut): Promise<StoredNow | undefined> {
    const fault = await this.#begin("put", request);
    if (fault?.kind === "412") return this.#met("412", undefined);
    return await this.#write(fault, () => this.#inner.put(key, bytes, request));
  }

  async remove(keys: readonly string[], request: StorageRequest): Promise<void> {
    const fault = await this.#begin("remove", request);
    await this.#write(fault, () => this.#inner.remove(keys, request));
  }

  /** What a request meets, and of it all that comes before the request itself. */
  async #begin(requested: RequestClass, { signal }: StorageRequest): Promise<DrawnFault | undefined> {
    if (!this.#memory.isStorming) return undefined;
    const fault = this.#schedule.at(this.#memory.addRequest(), requested, this.#memory.rates);
    if (fault === undefined) return undefined;
    const { kind, dice } = fault;
    if (REFUSALS.includes(kind)) throw this.#met(kind, new Refused(kind));
    if (kind === "stall") await this.#met(kind, stall(dice, signal));
    if (kind === "latency" || kind === "reordered") {
      await this.#met(kind, pause(1 + dice.next(LATENCY_MS_MAX)));
    }
    return fault;
  }

  #met<T>(kind: FaultKind, value: T): T {
    this.#memory.add(this.#lane, kind);
    return value;
  }

  #otherListing({ kind, dice }: DrawnFault, objects: StoredObject[]): StoredObject[] {
    if (kind === "incomplete listing" && objects.length > 0) {
      const missing = dice.next(objects.length);
      return this.#met(kind, objects.filter((_, i) => i !== missing && dice.next(6) > 0));
    }
    if (kind === "stale listing" && this.#listings.length > 0) {
      return this.#met(kind, this.#listings[dice.next(this.#listings.length)]!);
    }
    if (kind === "flipped" && objects.length > 0) {
      const at = dice.next(objects.length);
      const changed = {
        ...objects[at]!,
        etag: `${objects[at]!.etag}0`,
        size: objects[at]!.size + dice.next(2),
      };
      return this.#met(kind, objects.with(at, changed));
    }
    this.#listings.push(objects);
    if (this.#listings.length > REMEMBERED_MAX) this.#listings.shift();
    return objects;
  }

  #otherBytes({ kind, dice }: DrawnFault, found: StoredBytes, offset: number): StoredBytes {
    const { bytes, etag, objectSize } = found;
    const isWhole = offset === 0 && bytes.length === objectSize && bytes.length > 1;
    switch (kind) {
      case "cut body":
        return this.#met(kind, { ...found, bytes: bytes.subarray(0, dice.next(bytes.length)) });
      case "padded body":
        return this.#met(kind, { ...found, bytes: Uint8Array.of(...bytes, 0) });
      case "range ignored":
        return this.#met(kind, { ...found, bytes: new Uint8Array(bytes.length + 1 + dice.next(100)) });
      case "wrong content-range":
        return this.#met(kind, { ...found, objectSize: [objectSize + 1, -1, NaN, 0.5][dice.next(4)]! });
      case "other range":
        return this.#met(kind, { ...found, etag: `${etag}?` }); // as of the object that these bytes are of
      case "412":
        return this.#met(kind, { ...found, etag: `${etag}0` });
      case "flipped":
        return isWhole ? this.#met(kind, { ...found, bytes: flipped(bytes, dice) }) : found;
      default:
        return found;
    }
  }

  async #write<T>(fault: DrawnFault | undefined, act: () => Promise<T>): Promise<T> {
    if (fault?.kind === "late write") {
      setTimeout(() => act().catch(() => {}), 1 + fault.dice.next(LATE_MS_MAX)); // its answer is nobody's
      throw this.#met(fault.kind, new Refused("500"));
    }
    const done = await act();
    if (fault?.kind === "unacknowledged") throw this.#met(fault.kind, new Refused("500"));
    return done;
  }
}

function flipped(bytes: Uint8Array, dice: Random): Uint8Array {
  const changed = bytes.slice();
  changed[dice.next(changed.length)]! ^= 1 << dice.next(8);
  return changed;
}

/** Bytes that come one after the other. */
async function drip(found: StoredBytes, dice: Random, request: StorageRequest): Promise<StoredBytes> {
  for (let size = 1; size < found.bytes.length; size += 1 + dice.next(found.bytes.length)) {
    await pause(2);
    request.onProgress(found.bytes.subarray(0, size), found.etag);
  }
  return found;
}

/** Nothing, until the request is given up, or, where the place does not mind that, for ever. */
function stall(dice: Random, signal: AbortSignal): Promise<never> {
  const minds = dice.next(2) === 0;
  return new Promise((_, reject) => {
    if (minds) signal.addEventListener("abort", () => reject(signal.reason));
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
