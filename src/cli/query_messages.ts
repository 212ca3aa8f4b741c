/**
 * What the command line's main thread and its query thread say to each other, as data.
 *
 * @module
 */
import type { SharedReplica } from "../shared_replica.ts";
import type { CellValue } from "./cell_text.ts";
import type { ParameterValues } from "./parameters.ts";
import type { RowFormat } from "./row_writer.ts";

/** Marks the data of a query thread among those of other workers. */
export const QUERY_MARK = "litestream-vfs query";

/** Whether a worker's data say that it is to be a query thread. */
export function isQueryThread(workerData: unknown): boolean {
  return typeof workerData === "object" && workerData !== null && QUERY_MARK in workerData;
}

/** What a query thread is started with. */
export interface QueryStart {
  readonly [QUERY_MARK]: true;
  /** One word: other than 0 while what runs is to end. */
  readonly stop: Int32Array<SharedArrayBuffer>;
}

/** How a connection is opened. */
export interface QueryConnect {
  readonly asOf?: string;
  readonly timeoutMs?: number;
  readonly maxRequests?: number;
  readonly maxBytes?: number;
  readonly readOnly: boolean;
}

/** What is asked of the query thread, one at a time; it answers each with `done`. */
export type QueryCall =
  | { readonly kind: "join"; readonly shared: SharedReplica }
  /** A connection in place of the one there is, which stays where this fails. */
  | { readonly kind: "connect"; readonly connect: QueryConnect }
  /** Statements whose rows come as `text`. */
  | {
    readonly kind: "run";
    readonly statements: readonly string[];
    readonly parameters: ParameterValues;
    readonly format: RowFormat;
  }
  /** One statement whose rows come as they are, all at once. */
  | { readonly kind: "rows"; readonly sql: string; readonly parameters: ParameterValues }
  | { readonly kind: "close" };

/** What the main thread sends: a call, or, after a `text`, that it has been written. */
export type ToQuery = QueryCall | { readonly kind: "written" };

/** What came of a call. */
export interface QueryResult {
  readonly rows: readonly (readonly CellValue[])[];
  readonly columns: readonly string[];
  /** Whether a transaction that somebody began is open. */
  readonly inTransaction: boolean;
}

/** Why a call failed. */
export interface QueryFault {
  /** The error as `encodeError()` writes it. */
  readonly error: string;
  /** Somebody has asked for its end. */
  readonly isInterrupted: boolean;
  readonly inTransaction: boolean;
}

/** What the query thread sends. */
export type FromQuery =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "done"; readonly result?: QueryResult; readonly fault?: QueryFault };
