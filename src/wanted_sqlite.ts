/**
 * Which SQLite is wanted, and whether the one in WASM will do.
 *
 * @module
 */
import type { Environment } from "./environment.ts";
import { oneOf } from "./option_value.ts";
import type { OpenOptions } from "./options.ts";
import type { ReplicaConfig } from "./replica_config.ts";

/**
 * Which SQLite is wanted.
 *
 * @throws {RangeError} it is none of the three
 * @throws {TypeError} it is the one in WASM, and the replica is to be written, or copied to a file
 */
export function wantedSqlite(
  { sqlite }: OpenOptions,
  config: ReplicaConfig,
  environment: Environment,
): "auto" | "native" | "wasm" {
  const words = ["auto", "native", "wasm"] as const;
  const named = environment.LITESTREAM_VFS_SQLITE as typeof words[number] | "" | undefined;
  const wanted = oneOf("sqlite", sqlite ?? (named || undefined), words, "auto");
  const fault = wasmFault(config);
  if (wanted === "wasm" && fault) throw new TypeError(`Cannot use option sqlite: "wasm", and ${fault}`);
  return wanted;
}

/** Most of WASM's memory, which is of one size, that decoded pages may take. */
const WASM_CACHE_BYTES_MOST = 512 * 1024 * 1024;

/** Why a replica cannot be opened in WASM. */
export function wasmFault({ write, hydrate, cacheBytesMax }: ReplicaConfig): string | undefined {
  if (cacheBytesMax > WASM_CACHE_BYTES_MOST) {
    return `cacheBytesMax is ${cacheBytesMax}, expected at most ${WASM_CACHE_BYTES_MOST} without native code`;
  }
  if (write) return "the replica is to be written, expected native code";
  if (hydrate) return "the replica is to be copied to a file, expected native code";
  return undefined;
}
