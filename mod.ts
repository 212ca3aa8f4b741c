/**
 * Query Litestream replicas where they lie, from Deno and Bun.
 *
 * {@link openReplica} opens a replica in an S3 bucket or a folder; its databases are those of the SQLite driver in use,
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
export {
  type CloseOptions,
  type ConnectOptions,
  joinReplica,
  loadablePath,
  openReplica,
  register,
  type RegisterOptions,
  type Registration,
  type Replica,
  type ReplicaDatabase,
  type ReplicaStatement,
  type ReplicaStats,
  type SharedReplica,
} from "./src/replica.ts";
export type { Counters } from "./src/pages/counters.ts";
export type { OpenOptions, StaticCredentials } from "./src/options.ts";
export { type DatabaseClass, ENTRY_POINT as entryPoint } from "./src/drivers/driver.ts";
export {
  DeadlineError,
  LtxFormatError,
  ObjectGoneError,
  ReplicaClosedError,
  ReplicaError,
  RestorePlanError,
  type RestorePlanFault,
  ShimError,
  StorageError,
  type StorageErrorDetails,
} from "./src/errors.ts";
