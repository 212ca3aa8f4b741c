/**
 * Ways to a {@link Replica}: opened by this thread, or by another one.
 *
 * @module
 */
import { loadNative } from "../ffi/mod.ts";
import type { CoreClient } from "./bridge/core_client.ts";
import { askCredentials } from "./bridge/credentials_renewal.ts";
import { OPEN_TIMEOUT_MS } from "./defaults.ts";
import { isEnvironmentGuessed, isGuessRight, variables } from "./drivers/host.ts";
import { readableEnvironment } from "./drivers/permissions.ts";
import { type Environment, environmentWarnings } from "./environment.ts";
import { ReplicaClosedError, ReplicaError } from "./errors.ts";
import { onExitSignal } from "./exit_signals.ts";
import { type FrontEnd, joinedDatabase, startFrontEnd } from "./front_end.ts";
import { Log } from "./log.ts";
import { checkFunction, checkSignal, isOptions, shownKind } from "./option_value.ts";
import type { OpenOptions } from "./options.ts";
import { Replica } from "./replica.ts";
import { makeConfig, type ReplicaConfig } from "./replica_config.ts";
import { ReplicaEvents } from "./replica_events.ts";
import { type OpeningParts, ReplicaOpening } from "./replica_opening.ts";
import type { SharedReplica } from "./shared_replica.ts";
import { parameterWarnings } from "./storage/url_parameters.ts";
import { shimPath as shimPathOf } from "./shim_path.ts";

/**
 * Opens a replica where it lies: lists it, reads the page indexes of the files that make up its newest state, and
 * nothing else.
 *
 * `url` is `s3://bucket/path`, `file:///folder`, or of scheme `gs`, `abs`, `oss`, `sftp`, `webdav`, `webdavs`, `nats`,
 * `http` or `https`; without it the environment names the replica, or `storage` is a place of your own.
 *
 * ```ts ignore
 * await using replica = await openReplica("s3://bucket/sandwiches", { cacheBytesMax: 16_000_000 });
 * console.log(replica.connect().prepare("SELECT count(*) AS n FROM ratings").get(), replica.txid);
 * ```
 *
 * @throws {RestorePlanError} nothing there, files missing, or written by Litestream 0.3.x
 * @throws {StorageError} the store refuses or cannot be reached; the message says which and why
 * @throws {DeadlineError} not done in time
 * @throws {TypeError} the URL or an option cannot be understood
 */
export function openReplica(url?: string, options?: OpenOptions): Promise<Replica>;
/** Opens a replica that the options, or the environment, name. */
export function openReplica(options: OpenOptions): Promise<Replica>;
export async function openReplica(place?: string | OpenOptions, more?: OpenOptions): Promise<Replica> {
  const { url, options } = openArguments(place, more);
  const guessed = isEnvironmentGuessed() ? variables() : undefined;
  try {
    return await open(url, options, guessed ?? readableEnvironment(), guessed);
  } catch (error) {
    if (guessed === undefined || isGuessRight(guessed)) throw error;
    return await open(url, options, readableEnvironment());
  }
}

/**
 * The arguments apart. What is neither a URL nor options must not be passed over: the environment may name another
 * replica.
 */
function openArguments(place: unknown, more: unknown): { url?: string; options: OpenOptions } {
  const url = typeof place === "string" ? place : undefined;
  if (place !== undefined && url === undefined && !isOptions(place)) {
    const wanted = place instanceof URL ? "a string, such as url.href" : "a URL as a string, or options";
    throw new TypeError(
      `Cannot open replica: the first argument is ${shownKind(place)}, expected ${wanted}`,
    );
  }
  const isFirst = place !== undefined && url === undefined;
  if (more !== undefined && (isFirst || !isOptions(more))) {
    const wanted = isFirst ? "nothing behind options" : "an object with options";
    throw new TypeError(`Cannot open replica: the second argument is ${shownKind(more)}, expected ${wanted}`);
  }
  const options = (isFirst ? place : more ?? {}) as OpenOptions;
  return url === undefined ? { options } : { url, options };
}

/** The same; fails where the variables were guessed and are others. */
async function open(
  url: string | undefined,
  options: OpenOptions,
  environment: Environment,
  guessed?: Environment,
): Promise<Replica> {
  checkSignal(options.signal);
  checkFunction("log", options.log);
  options.signal?.throwIfAborted();
  const source = typeof options.credentials === "function" ? options.credentials : undefined;
  makeConfig(url, options, environment); // its faults come before anything is asked
  const log = Log.of(options.log, environment);
  for (const warning of environmentWarnings(url, environment)) log.warn(warning);
  const used = options.storage ? undefined : url ?? environment.LITESTREAM_REPLICA_URL;
  for (const warning of used ? parameterWarnings(used) : []) log.warn(warning);
  const { openTimeoutMs: timeoutMs = OPEN_TIMEOUT_MS, signal } = options;
  const beganMs = performance.now();
  const first = source && await askCredentials(source, { timeoutMs, signal });
  const openSpentMs = performance.now() - beganMs;
  const given = first ? { ...options, credentials: first } : options;
  const config = { ...makeConfig(url, given, environment), openSpentMs };
  const events = new ReplicaEvents();
  const keys = source && first && { source, first };
  const parts = { options, log, keys, events };
  const { opening, Database, shim } = await openBySome(options, config, parts, guessed);
  const { core } = opening;
  const replicaId = await opening.opened;
  const shared = { ...shim, replicaId, name: config.location.name, writes: config.write !== undefined };
  let unsignal = () => {};
  let isClosing = false;
  const onClose = () => {
    isClosing = true;
    opening.close();
  };
  const onClosed = () => {
    unsignal(); // all is stored
    opening.end();
  };
  let replica: Replica;
  try {
    replica = new Replica({ native: core.native, shared, core, Database, events, onClose, onClosed });
  } catch (error) {
    await core.call({ kind: "close", replicaId }).catch(() => {});
    opening.end();
    core.release();
    throw error;
  }
  if (config.write && (options.flushOnSignals ?? true)) {
    unsignal = onExitSignal(() =>
      (isClosing ? replica.close() : replica.sync()).catch((error: Error) =>
        log.warn(`Cannot store before the end: ${error.message}`)
      )
    );
  }
  return replica;
}

/** Begins an opening on the core that the options want: by the first one begun, whose shim is still looked for, if it can be. */
async function openBySome(
  options: OpenOptions,
  config: ReplicaConfig,
  parts: OpeningParts,
  guessed: Environment | undefined,
): Promise<Omit<FrontEnd, "core"> & { readonly opening: ReplicaOpening }> {
  const begun: ReplicaOpening[] = [];
  let opening: ReplicaOpening | undefined;
  try {
    const onBegun = (core: CoreClient) => void begun.push(new ReplicaOpening(core, config, parts, true));
    const { core, ...frontEnd } = await startFrontEnd(options, config, parts.log, onBegun);
    if (guessed && !isGuessRight(guessed)) {
      throw new ReplicaError("Cannot open replica: its variables are others");
    }
    opening = begun.find((opening) => opening.core === core);
    opening?.confirm();
    opening ??= new ReplicaOpening(core, config, parts, false);
    return { ...frontEnd, opening };
  } finally {
    for (const other of begun) if (other !== opening) other.abandon();
  }
}

/**
 * Joins a replica that another thread of this process opened: connections of this thread share its views, buffers and
 * requests. It must stay open over there for as long.
 *
 * @throws {ReplicaClosedError} it was closed
 */
export async function joinReplica(shared: SharedReplica): Promise<Replica> {
  const native = await loadNative(shared.shimPath, shared.wasm);
  const Database = await joinedDatabase(native);
  const replica = new Replica({ native, shared, core: undefined, Database });
  if (replica.time === undefined) {
    throw new ReplicaClosedError(`Cannot join replica ${shared.name}: it was closed`);
  }
  return replica;
}

/** The shim's absolute path, for a driver's own `loadExtension()`; it is unpacked if need be. */
export function loadablePath(): Promise<string> {
  return shimPathOf();
}
