/**
 * The opening of a replica: its newest state, or the last one that was seen where storage cannot be reached.
 *
 * @module
 */
import {
  BRIEFLY,
  fromDisk,
  isOutage,
  staleError,
  staleNotice,
  type StaleOpening,
  staleOpening,
  unwritableError,
} from "../cache/offline.ts";
import { DeadlineError, RestorePlanError, StorageError } from "../errors.ts";
import type { LeftCopy, WholeRecord } from "../hydrate/left_copy.ts";
import type { RequestOptions } from "../storage/object_store.ts";
import { explainEmpty, type Listing, listReplica } from "../view/listing.ts";
import { makeRestorePlan, type ReplicaFile } from "../view/restore_plan.ts";
import { type LiveParts, placeOfSource, planning } from "./live_parts.ts";
import { sleep } from "../sleep.ts";
import type { State } from "./states.ts";

/** Page size of a new database until its first page is written, in bytes. */
const NEW_PAGE_SIZE = 4096;

/** How long to wait before looking again for the first files of an empty replica. */
const EMPTY_RETRY_MS = 500;

/** What was opened. */
export interface Opened {
  readonly listing: Listing;
  /** Why it is not the newest state, where it may not be. */
  readonly stale?: StaleOpening;
  /** The local copy that it was made of. */
  readonly left?: LeftCopy;
}

/** Publishes the first state of a replica. */
export class Opening {
  readonly #parts: LiveParts;
  readonly #publish: (state: State) => void;

  constructor(parts: LiveParts, publish: (state: State) => void) {
    this.#parts = parts;
    this.#publish = publish;
  }

  get #name(): string {
    return this.#parts.source.store.name;
  }

  /**
   * Opens the newest state, or the last one that was seen where storage cannot be reached and that will do.
   */
  async run(request: RequestOptions, listing: Promise<Listing> | undefined): Promise<Opened> {
    const { offline, write, hydrate } = this.#parts.options;
    if (offline !== "serve-stale") return { listing: await this.#openFirst(request, {}, listing) };
    const last = await this.#parts.lastStates?.load();
    const left = hydrate?.path
      ? await leftRecord(hydrate.path, placeOfSource(this.#parts.source))
      : undefined;
    if (!last && !left) return { listing: await this.#openFirst(request) };
    try {
      return { listing: await this.#openBriefly(request) };
    } catch (error) {
      if (!isOutage(error)) throw error;
      if (write) throw unwritableError(this.#name, error);
      const isNewer = left && left.txid >= (last?.txid ?? 0n);
      const copied = isNewer ? await this.#openLeft(left, error, last === undefined, request) : undefined;
      return copied ?? await this.#openLast(staleOpening(last!, error), request);
    }
  }

  /** Asks once; an answer that another try would mend shows that storage can be reached, and it is asked as ever. */
  async #openBriefly(request: RequestOptions): Promise<Listing> {
    try {
      return await this.#openFirst(request, BRIEFLY);
    } catch (error) {
      if (!(error instanceof StorageError) || !error.retryable || isOutage(error)) throw error;
      return await this.#openFirst(request);
    }
  }

  /** Opens a local copy; undefined where it is of no use, and `isOnly` does not have that thrown. */
  async #openLeft(
    found: WholeRecord,
    cause: Error,
    isOnly: boolean,
    request: RequestOptions,
  ): Promise<Opened | undefined> {
    const { native, onNotice } = this.#parts.source;
    const { openLeftCopy, closedFile } = await import("../hydrate/left_copy.ts");
    const path = this.#parts.options.hydrate!.path!;
    let left: LeftCopy | undefined;
    try {
      left = await openLeftCopy(native, this.#parts.id, path, found, request);
      const { record, file } = left;
      const last = closedFile(record);
      const enter = (mapId: number) => file.enterAll(mapId, record.commit);
      const state = await this.#parts.states.ofCopy(record, [last], enter);
      this.#parts.pages.begin(state.viewId);
      this.#publish(state);
      const stale = staleOpening({ ...record, plan: [last.file] }, cause);
      onNotice(staleNotice(this.#name, stale));
      return { listing: { files: [...record.files], depth: 0 }, stale, left };
    } catch (error) {
      left?.file.close();
      request.signal?.throwIfAborted();
      if (!isOnly) return undefined;
      throw staleError(this.#name, staleOpening({ ...found, plan: [] }, cause), error as Error);
    }
  }

  async #openLast(
    stale: StaleOpening,
    request: RequestOptions,
  ): Promise<Opened> {
    const { plan, files } = stale.state;
    try {
      await this.#openPlan(plan, { files: [...files], depth: 0 }, fromDisk(request));
    } catch (error) {
      request.signal?.throwIfAborted();
      throw staleError(this.#name, stale, error as Error);
    } finally {
      this.#parts.meter.carry(this.#parts.id);
    }
    this.#parts.source.onNotice(staleNotice(this.#name, stale));
    return { listing: { files: [...files], depth: 0 }, stale };
  }

  async #openFirst(
    request: RequestOptions,
    listingOptions: RequestOptions = {},
    listing?: Promise<Listing>,
  ): Promise<Listing> {
    const { waitForReplicaMs } = this.#parts.options;
    const deadline = performance.now() + waitForReplicaMs;
    for (let begun = listing;; begun = undefined) {
      try {
        return await this.#openNewest(request, listingOptions, begun);
      } catch (error) {
        const isEmpty = error instanceof RestorePlanError && error.fault === "empty";
        if (isEmpty && this.#parts.options.write) return this.#openEmpty();
        if (!isEmpty || waitForReplicaMs === 0) throw error;
        if (performance.now() >= deadline) {
          const text = `Cannot open replica ${this.#name}: still empty after ${waitForReplicaMs} ms`;
          throw new DeadlineError(text, { cause: error });
        }
      } finally {
        this.#parts.meter.carry(this.#parts.id);
      }
      await sleep(Math.min(EMPTY_RETRY_MS, Math.max(1, deadline - performance.now())), request.signal);
    }
  }

  /** Begins a new database. */
  #openEmpty(): Listing {
    const state = this.#parts.states.empty(NEW_PAGE_SIZE);
    this.#parts.pages.begin(state.viewId);
    this.#publish(state);
    return { files: [], depth: 1 };
  }

  /** Plans, makes the newest state and publishes it; begins anew when files vanish in between. */
  async #openNewest(
    request: RequestOptions,
    listingOptions: RequestOptions,
    begun: Promise<Listing> | undefined,
  ): Promise<Listing> {
    const { store, layout } = this.#parts.source;
    return await planning(async (attempt) => {
      const listing = attempt === 1 && begun
        ? await begun
        : await listReplica(store, layout, { ...request, ...listingOptions });
      if (listing.files.length === 0) throw await explainEmpty(store, request);
      await this.#openPlan(makeRestorePlan(listing.files), listing, request);
      return listing;
    });
  }

  async #openPlan(plan: readonly ReplicaFile[], { depth }: Listing, request: RequestOptions): Promise<void> {
    const { counts } = this.#parts.source.store;
    const before = counts.get;
    await this.#parts.files.use(plan, request, async (files) => {
      const state = await this.#parts.states.make(files, this.#parts.states.stampOf(plan.at(-1)!.maxTxid));
      this.#parts.pages.begin(state.viewId);
      this.#publish(state);
      const isFromDisk = counts.get === before;
      const longest = isFromDisk ? 0 : files.reduce((most, { depth }) => Math.max(most, depth), 0);
      this.#parts.pages.opened(state.viewId, depth + longest);
    });
  }
}

async function leftRecord(path: string, place: string): Promise<WholeRecord | undefined> {
  return await (await import("../hydrate/left_copy.ts")).wholeRecord(path, place);
}
