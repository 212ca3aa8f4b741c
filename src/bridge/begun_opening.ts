/**
 * beginOpening(): the part of an opening that needs no shim, so that storage is asked while that is still looked for.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { Deadline, MS_MAX } from "../deadline.ts";
import type { Environment } from "../environment.ts";
import { DeadlineError } from "../errors.ts";
import type { FollowEvent } from "../follow/follow_event.ts";
import { type FirstLook, lookFirst } from "../live/first_look.ts";
import type { RequestSpan } from "../observe/span.ts";
import type { ObservedKinds, SpanBatch, SpanOutbox } from "../observe/span_outbox.ts";
import type { ReplicaConfig } from "../replica_config.ts";
import type { WritableStore } from "../storage/object_store.ts";
import { openConfiguredStore, type StoreHooks } from "./configured_store.ts";

/** Who hears of what happens to a replica. */
export interface ReplicaHooks extends StoreHooks {
  /** Hears what its follower tells. */
  onEvent?(event: FollowEvent): void;
  /** What is told of requests and transactions, and to whom. */
  readonly observed?: ObservedKinds;
  postSpans?(batch: SpanBatch): void;
}

/** What an opening begins with. */
export interface OpeningOptions {
  /** The process's variables. */
  readonly environment: Environment;
  /** The shim, once it is there: nothing is stored before, and a disk cache needs it at once. */
  readonly native: Promise<Native>;
  readonly signal: AbortSignal | undefined;
  readonly hooks: ReplicaHooks;
}

/** A replica of which storage has been asked already. */
export interface BegunOpening {
  readonly config: ReplicaConfig;
  readonly hooks: ReplicaHooks;
  readonly store: WritableStore;
  /** What tells its place from all others. */
  readonly place: string;
  readonly look: FirstLook;
  /** Where spans go; undefined where nobody observes. */
  readonly outbox: SpanOutbox | undefined;
  /** Aborts when it has taken too long, or nobody wants it any more. */
  readonly signal: AbortSignal;
  /** Does a part of it that bounds its own time: the opening's stands still. */
  uncounted<T>(act: () => Promise<T>): Promise<T>;
  /** To be called when it is open, or has failed. */
  settle(): void;
}

/**
 * Opens the store, and has the replica listed.
 *
 * @throws {StorageError} the store cannot be asked, or the runtime cannot do what is asked
 */
export async function beginOpening(
  config: ReplicaConfig,
  { environment, native, signal, hooks }: OpeningOptions,
): Promise<BegunOpening> {
  const waitMs = Math.min(config.openTimeoutMs + config.waitForReplicaMs, MS_MAX);
  const deadline = new Deadline(Math.max(0, waitMs - (config.openSpentMs ?? 0)), signal, () => {
    return new DeadlineError(`Cannot open replica ${config.location.name}: not done after ${waitMs} ms`);
  });
  const { signal: either } = deadline;
  const outbox = await outboxOf(hooks);
  const observe = hooks.observed?.requests ? (span: RequestSpan) => outbox?.request(span) : undefined;
  const settle = () => deadline.clear();
  const uncounted = <T>(act: () => Promise<T>) => deadline.uncounted(act);
  try {
    const hooksOfStore = { ...hooks, observe };
    const { store, place } = await openConfiguredStore(config, environment, native, either, hooksOfStore);
    const look = lookFirst(store, config.location.layout, { ...config, signal: either, mayStore: native });
    return { config, hooks, store, place, look, outbox, signal: either, uncounted, settle };
  } catch (error) {
    settle();
    outbox?.flush(); // before the answer that it failed
    throw error;
  }
}

/** Ends an opening that nobody goes on with. */
export async function giveUp({ settle, store, outbox }: BegunOpening): Promise<void> {
  settle();
  await store.close().catch(() => {}); // why it is given up says more
  outbox?.flush();
}

async function outboxOf({ observed, postSpans }: ReplicaHooks): Promise<SpanOutbox | undefined> {
  if (observed === undefined || postSpans === undefined) return undefined;
  const { SpanOutbox } = await import("../observe/span_outbox.ts");
  return new SpanOutbox(observed, postSpans);
}
