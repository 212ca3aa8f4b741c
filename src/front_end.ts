/**
 * Which SQLite a replica's connections are of, and the core that serves it: native code, or WASM.
 *
 * @module
 */
import { nativePermission, wasmShim } from "../ffi/mod.ts";
import { type CoreClient, threadCore } from "./bridge/core_client.ts";
import type { CoreShim } from "./bridge/protocol.ts";
import type { DatabaseClass } from "./drivers/driver.ts";
import { defaultDatabase, Hosts } from "./drivers/mod.ts";
import { readableEnvironment } from "./drivers/permissions.ts";
import { ReplicaError, ShimError } from "./errors.ts";
import type { Log } from "./log.ts";
import type { OpenOptions } from "./options.ts";
import type { ReplicaConfig } from "./replica_config.ts";
import { wantedSqlite, wasmFault } from "./wanted_sqlite.ts";
import { isNamed, shimPath as shimPathOf } from "./shim_path.ts";

/** What connections are made with. */
export interface FrontEnd {
  readonly core: CoreClient;
  /** The class of `connect()` without a class. */
  readonly Database: DatabaseClass;
  /** What other threads load, too. */
  readonly shim: CoreShim;
}

/** Hears of a core that may be asked already, while its shim is looked for. It may be another one in the end. */
export type OnBegun = (core: CoreClient) => void;

/**
 * Starts what the options want; with `"auto"` WASM, and a warning, where native code cannot be had.
 *
 * @throws {ShimError} native code cannot be loaded, and WASM is not wanted
 * @throws {ReplicaError} nor can it be, and WASM will not do
 */
export async function startFrontEnd(
  options: OpenOptions,
  config: ReplicaConfig,
  log: Log,
  onBegun: OnBegun,
): Promise<FrontEnd> {
  const wanted = wantedSqlite(options, config, readableEnvironment());
  if (wanted === "wasm") return await startWasm();
  if (wanted === "native" || isNamed(options.shimPath)) return await startNative(onBegun, options.shimPath);
  const refused = await tryNative(onBegun);
  if ("core" in refused) return refused;
  const fault = wasmFault(config);
  if (fault) throw new ReplicaError(`Cannot open replica: ${fault}: ${refused.message}`, { cause: refused });
  log.warn(
    `SQLite runs in WASM, read-only and slower, and connect() takes no driver's class, for native code cannot be ` +
      `had: ${refused.message}`,
  );
  return await startWasm();
}

async function startNative(onBegun: OnBegun, given?: string): Promise<FrontEnd> {
  const find = async () => ({ shimPath: await shimPathOf(given) });
  // which takes longest; a file that somebody names may not be there
  const starting = threadCore(find, isNamed(given) ? undefined : onBegun);
  const [found, database] = await Promise.allSettled([starting, defaultDatabase()]);
  if (found.status === "rejected") throw found.reason;
  if (database.status === "fulfilled") return { ...found.value, Database: database.value };
  found.value.core.use();
  found.value.core.release(); // nobody else may want it
  throw database.reason;
}

/** Native code, or why it cannot be had. */
async function tryNative(onBegun: OnBegun): Promise<FrontEnd | Error> {
  const permission = nativePermission();
  if (permission === "denied") return new ShimError("this process may not load native code");
  try {
    const started = await startNative(onBegun);
    if (permission !== "granted") tryExtension(started); // a part of the permission is enough for all but this
    return started;
  } catch (error) {
    if (error instanceof ShimError) return error;
    throw error;
  }
}

function tryExtension({ core, Database }: FrontEnd): void {
  core.use();
  try {
    new Hosts(core.native).of(Database);
  } finally {
    core.release();
  }
}

async function startWasm(): Promise<FrontEnd> {
  const [found, { wasmDatabase }] = await Promise.all([
    threadCore(async () => {
      const wasm = await wasmShim();
      return { shimPath: wasm.path, wasm };
    }),
    import("./drivers/wasm_sqlite.ts"),
  ]);
  return { ...found, Database: wasmDatabase(found.core.native) };
}

/** The class of `connect()` on a thread that joined. */
export async function joinedDatabase(native: CoreClient["native"]): Promise<DatabaseClass> {
  if (!native.wasm) return await defaultDatabase();
  return (await import("./drivers/wasm_sqlite.ts")).wasmDatabase(native);
}
