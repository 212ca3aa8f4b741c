/**
 * Databases opened by URI: `register()` serves them.
 *
 * @module
 */
import { type CoreClient, threadCore } from "./bridge/core_client.ts";
import type { DatabaseClass } from "./drivers/driver.ts";
import { defaultDatabase, Hosts } from "./drivers/mod.ts";
import { wholeEnvironment } from "./drivers/permissions.ts";
import { shimPath } from "./shim_path.ts";

/** What `register()` may be told. */
export interface RegisterOptions {
  /**
   * Stay the default VFS of that SQLite, so that even drivers which interpret no URI open
   * `file:x.db?vfs=litestream` as a replica. Other paths are passed on untouched. Default false.
   */
  default?: boolean;
  /** The class whose SQLite is meant. Default: the runtime's own. */
  Database?: DatabaseClass;
  /** Another file in place of the shim that belongs to this package. */
  shimPath?: string;
}

/** A registration; ends with {@link Registration.close}. */
export interface Registration extends AsyncDisposable {
  /** Ends the registration: databases opened by URI fail from now on. */
  close(): Promise<void>;
}

/**
 * Makes `file:NAME?vfs=litestream` open replicas in any connection of this process, configured by the environment or
 * by the parameters `replica_url`, `poll_interval` and others. NAME is only a name.
 *
 * ```ts ignore
 * import { register } from "@x/litestream-vfs";
 * import { DatabaseSync } from "node:sqlite";
 *
 * await using _registration = await register(); // the environment has LITESTREAM_REPLICA_URL
 * const db = new DatabaseSync("file:sandwiches.db?vfs=litestream");
 * console.log(db.prepare("SELECT count(*) AS n FROM ratings").get());
 * db.close();
 * ```
 */
export async function register(options: RegisterOptions = {}): Promise<Registration> {
  const Database = options.Database ?? await defaultDatabase();
  const { core } = await threadCore(async () => ({ shimPath: await shimPath(options.shimPath) }));
  const host = await registered(core, Database);
  if (options.default) core.native.calls.ls_host_default(host, 1);
  let closed = false;
  const close = async () => {
    if (closed) return;
    closed = true;
    if (options.default) core.native.calls.ls_host_default(host, 0);
    if (core.alive) await core.call({ kind: "unregister" });
    core.release();
  };
  return { close, [Symbol.asyncDispose]: close };
}

/** Has the core serve databases opened by URI; gives the copy of SQLite that loaded the shim. A core that cannot is let go. */
async function registered(core: CoreClient, Database: DatabaseClass): Promise<number> {
  core.use();
  try {
    const host = new Hosts(core.native).of(Database);
    await core.call({ kind: "register", environment: wholeEnvironment() });
    return host;
  } catch (error) {
    core.release();
    throw error;
  }
}
