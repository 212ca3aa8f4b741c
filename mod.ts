/**
 * Query Litestream replicas where they lie, from Deno and Bun.
 *
 * {@link openReplica} opens a replica wherever Litestream writes one; its databases are those of the SQLite driver in use,
 * read-only. {@link joinReplica} shares it with another thread; {@link register} serves `file:NAME?vfs=litestream`.
 * Importing this module does nothing.
 *
 * ```ts ignore
 * import { openReplica } from "@x/litestream-vfs";
 *
 * await using replica = await openReplica("s3://bucket/sandwiches", { region: "us-east-1" });
 * const db = replica.connect();
 * console.log(db.prepare("SELECT * FROM ratings LIMIT 3").all());
 * ```
 *
 * @module
 */
export { joinReplica, loadablePath, openReplica } from "./src/open_replica.ts";
export type { Replica, StatementFault } from "./src/replica.ts";
export type { AsOf } from "./src/as_of.ts";
export type { ConnectOptions } from "./src/connections.ts";
export type {
  CloseOptions,
  CompareOptions,
  ListPointsOptions,
  RestoreOptions,
  WaitOptions,
} from "./src/call_options.ts";
export type { ReplicaDatabase, ReplicaStatement } from "./src/replica_database.ts";
export type { SharedReplica } from "./src/shared_replica.ts";
export { register, type RegisterOptions, type Registration } from "./src/registration.ts";
export type { ReplicaEvent } from "./src/replica_events.ts";
export type {
  CommitEvent,
  ErrorEvent,
  GapEvent,
  HydrationEvent,
  ReplacedEvent,
  StaleEvent,
  StalePinEvent,
} from "./src/follow/follow_event.ts";
export type { Point } from "./src/time/points.ts";
export type { LevelSummary } from "./src/view/level_summary.ts";
export type { Change, RowChange, TableChange } from "./src/diff/change.ts";
export type { SqlValue } from "./src/diff/sql_value.ts";
export type { LogEntry, LogLevel, LogSink } from "./src/log.ts";
export type {
  HttpExchange,
  ReplicaObserver,
  RequestOutcome,
  RequestPurpose,
  RequestSpan,
  SpanError,
  TransactionSpan,
} from "./src/observe/span.ts";
export {
  type AttributeValue,
  type MeasuredReplica,
  type Metric,
  replicaMetrics,
  requestAttributes,
  requestSpanName,
  transactionAttributes,
} from "./src/observe/attributes.ts";
export {
  type PricedCounts,
  priceOf,
  type ReplicaStats,
  type RequestPrices,
  type StatsMark,
} from "./src/replica_stats.ts";
export type {
  ConnectionCounters,
  ConnectionStats,
  Counters,
  TransactionCounters,
} from "./src/pages/counters.ts";
export type { FetchOption, OpenOptions, StaticCredentials, StorageOption } from "./src/options.ts";
export type {
  Exchange,
  Storage,
  StorageArguments,
  StorageFactory,
  StorageList,
  StoragePut,
  StorageRead,
  StorageRequest,
  StorageTraits,
  StoredBytes,
  StoredNow,
  StoredObject,
} from "./src/storage/storage.ts";
export type {
  Part,
  PartUpload,
  PartUploads,
  PutOptions,
  RequestAttempt,
  RequestCounts,
  RequestOptions,
  RequestReader,
} from "./src/storage/object_store.ts";
export type { WasmShim } from "./ffi/wasm.ts";
export { type DatabaseClass, ENTRY_POINT as entryPoint } from "./src/drivers/driver.ts";
export {
  BudgetError,
  ConflictError,
  DeadlineError,
  LocalFileError,
  LtxFormatError,
  ObjectExistsError,
  ObjectGoneError,
  ReplacedError,
  ReplicaClosedError,
  ReplicaError,
  RestorePlanError,
  type RestorePlanFault,
  ShimError,
  StaleError,
  StateGoneError,
  StorageError,
  type StorageErrorDetails,
  WriteLogError,
} from "./src/errors.ts";
export type { HydrationState } from "./src/hydration_state.ts";
export type { RestoreProgress } from "./src/restore/progress.ts";
export type { RestoredState } from "./src/restore_call.ts";
