/**
 * SharedReplica: an open replica as other threads of the process are told of it.
 *
 * @module
 */
import type { WasmShim } from "../ffi/wasm.ts";

/** Names an open replica to other threads of the process; structured-cloneable. */
export interface SharedReplica {
  /** Absolute path of the shim; every thread loads this very file. In WASM its name. */
  readonly shimPath: string;
  /** Of a replica whose SQLite runs in WASM: its code, and the memory that threads share. */
  readonly wasm?: WasmShim;
  /** The replica's number in this process. */
  readonly replicaId: number;
  /** The place the replica lies, without secrets. */
  readonly name: string;
  /** Whether it is open for writing. */
  readonly writes: boolean;
}
