/**
 * lookFirst(): what an opening asks storage before all else, on its way while the rest of the core is being loaded.
 *
 * @module
 */
import { type ConditionProbe, probeConditions } from "../storage/condition_probe.ts";
import type { LayoutName, WritableStore } from "../storage/object_store.ts";
import { type Listing, listReplica } from "../view/listing.ts";

/** What decides on that. */
export interface FirstLookOptions {
  /** As the replica is opened. */
  readonly offline?: "error" | "serve-stale" | undefined;
  readonly write?: { readonly isUnconditional: boolean } | undefined;
}

/** Answers on their way; whoever awaits one is told of its failure. */
export interface FirstLook {
  /** When it began, by the wall clock. */
  readonly listedMs: number;
  /** Undefined where it depends on what is on disk how the replica is listed. */
  readonly listing: Promise<Listing> | undefined;
  /** Once the listing is on its way: a thread that is busy sends nothing. */
  readonly sent: Promise<unknown>;
  /** Undefined where it is all the same. */
  readonly probing: Promise<ConditionProbe> | undefined;
  /** Ends the probe, and the removal of its object. */
  stop(reason: Error): void;
}

/** How it is looked. */
export interface LookOptions extends FirstLookOptions {
  /** Ends the listing. */
  readonly signal?: AbortSignal | undefined;
  /** Nothing is stored before this: the replica may not be opened at all. */
  readonly mayStore?: Promise<unknown>;
}

/** Begins to list the replica, and to probe a store that is written to. */
export function lookFirst(
  store: WritableStore,
  layout: LayoutName,
  { offline, write, signal, mayStore = Promise.resolve() }: LookOptions,
): FirstLook {
  const abort = new AbortController();
  const listedMs = Date.now();
  const isProbed = write !== undefined && !write.isUnconditional;
  const probe = () => probeConditions(store, { signal: abort.signal, purpose: "open" });
  const probing = isProbed ? mayStore.then(probe) : undefined;
  let onSent = () => {};
  const isSent = new Promise<void>((resolve) => onSent = resolve);
  const listing = offline === "serve-stale"
    ? undefined
    : listReplica(store, layout, { signal, onSent, purpose: "open" });
  for (const answer of [probing, listing]) answer?.catch(() => {});
  const sent = Promise.race([isSent, listing]).catch(() => {}); // not every store tells
  return { listedMs, listing, sent, probing, stop: (reason) => abort.abort(reason) };
}
