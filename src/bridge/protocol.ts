/**
 * What the user's thread and its core say to each other, as data.
 *
 * @module
 */
import type { WasmShim } from "../../ffi/wasm.ts";
import type { ErrorEvent, FollowEvent, HydrationEvent } from "../follow/follow_event.ts";
import type { LogEntry } from "../log.ts";
import type { Environment } from "../environment.ts";
import type { ReplicaConfig } from "../replica_config.ts";
import type { ObservedKinds, SpanBatch } from "../observe/span_outbox.ts";
import type { RestoreProgress } from "../restore/progress.ts";

/** The shim that a core serves by. */
export interface CoreShim {
  /** Its absolute path. */
  readonly shimPath: string;
  /** Of one in WASM. */
  readonly wasm?: WasmShim | undefined;
}

/** What has a core's worker serve. */
export interface CoreStart extends CoreShim {
  /** The process's variables for replicas that are opened by URI; undefined: the worker reads what it may by itself. */
  readonly environment: Environment | undefined;
}

/** A call; the core answers each with one {@link Answer} of the same `id`. */
export type Call =
  & { readonly id: number }
  & (
    | {
      readonly kind: "open";
      readonly config: ReplicaConfig;
      /** The process's variables as they are now: the worker's own are of its start. */
      /** Undefined: the worker reads what it may by itself. */
      readonly environment: Environment | undefined;
      /** Whether nothing is stored, and nothing opened, before a call `confirm` of this one. */
      readonly isEarly: boolean;
      /** Whether somebody pushes newer keys, and hears when they are needed. */
      readonly renewsCredentials: boolean;
      /** What is told of requests and transactions; absent: nothing. */
      readonly observed?: ObservedKinds;
    }
    | { readonly kind: "confirm"; readonly of: number }
    | { readonly kind: "cancel"; readonly of: number; readonly reason: string }
    | {
      readonly kind: "credentials";
      /** The call that opened, or is still opening, the replica whose keys these are. */
      readonly of: number;
      readonly credentials: ReplicaConfig["credentials"];
    }
    | { readonly kind: "refresh" | "sync" | "close" | "levels"; readonly replicaId: number }
    | { readonly kind: "wait"; readonly replicaId: number; readonly txid: bigint }
    | {
      readonly kind: "points";
      readonly replicaId: number;
      readonly options: { readonly exact?: boolean; readonly fromMs?: number; readonly toMs?: number };
    }
    | {
      readonly kind: "diff";
      readonly replicaId: number;
      readonly from: string;
      readonly to: string;
      readonly tables: readonly string[] | undefined;
    }
    /** Tells its progress, too. */
    | {
      readonly kind: "restore";
      readonly replicaId: number;
      readonly asOf: string;
      /** Absolute. */
      readonly path: string;
      readonly force: boolean;
    }
    /** The next changes of the "diff" call `of`; `null` when there are no more. */
    | { readonly kind: "diff-next" | "diff-end"; readonly of: number }
    /** The environment as it is now stands for what is opened by URI from now on. */
    | { readonly kind: "register"; readonly environment: Environment | undefined }
    | { readonly kind: "unregister" }
    | { readonly kind: "stop" }
  );

/** A call without its number. */
export type CallOf = Call extends infer T ? T extends Call ? Omit<T, "id"> : never : never;

/** The core's answer, or, with `id` 0, its word that it is ready. */
export interface Answer {
  readonly id: number;
  /** What was asked for: a replica's handle, a TXID, …; the core's own handle when it tells that it is ready. */
  readonly value: unknown;
  /** Text of an error; undefined when the call succeeded. */
  readonly error?: string;
  /** With its word that it is ready: what is to be freed of a shim in WASM once it has ended. */
  readonly stack?: number | undefined;
}

/** What the core says unasked; an {@link Answer} has another `id`. */
export type Notice =
  & {
    readonly id: typeof NOTICE_ID;
    /** The call it is about: one that opened, or is still opening, a replica, or one that restores; 0 where it is about none. */
    readonly of: number;
  }
  & (
    | { readonly kind: "log"; readonly entry: LogEntry }
    /** The keys that were pushed have expired, or the server refuses them. */
    | { readonly kind: "expired" }
    | { readonly kind: "event"; readonly event: PlainFollowEvent }
    | { readonly kind: "progress"; readonly progress: RestoreProgress }
    | { readonly kind: "spans"; readonly batch: SpanBatch }
  );

/** A {@link FollowEvent} as data: an error is text. */
export type PlainFollowEvent =
  | Exclude<FollowEvent, ErrorEvent | HydrationEvent>
  | { readonly type: "error"; readonly error: string }
  | (Omit<HydrationEvent, "error"> & { readonly error?: string });

/** In place of a call's number. */
export const NOTICE_ID = -1;

/** Words of one request as the shim gives it; `LsRequest` in `ffi/shim.h`. */
export const REQUEST_WORDS = 10;

/** Kinds of requests; `LS_REQUEST_…` in `ffi/shim.h`. */
export const REQUEST = { page: 1, open: 2, closed: 3, moment: 4, nudge: 5, mark: 6, sync: 7 } as const;

/** A request of a reader, or of a connection that opens. */
export interface ShimRequest {
  readonly kind: number;
  readonly slot: number;
  readonly generation: number;
  readonly replicaId: number;
  readonly viewId: number;
  readonly pgno: number;
  readonly objectId: number;
  readonly frame: number;
  readonly connection: number;
  readonly indexLeaf: number;
}

/** Reads request number `index` out of the words that the shim filled. */
export function decodeRequest(words: Uint32Array, index: number): ShimRequest {
  const at = (offset: number) => words[index * REQUEST_WORDS + offset]!;
  return {
    kind: at(0),
    slot: at(1),
    generation: at(2),
    replicaId: at(3),
    viewId: at(4),
    pgno: at(5),
    objectId: at(6),
    frame: at(7),
    connection: at(8),
    indexLeaf: at(9),
  };
}

/** Reads the text of an opening request: the database's name, then keys and values. */
export function decodeParameters(text: string): Map<string, string> {
  const [, ...parts] = text.split("\0");
  const parameters = new Map<string, string>();
  for (let i = 0; i + 1 < parts.length; i += 2) parameters.set(parts[i]!, parts[i + 1]!);
  return parameters;
}
