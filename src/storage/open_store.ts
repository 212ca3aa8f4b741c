/**
 * openStore(): a location → its store, loading only the backend that is used.
 *
 * @module
 */

import type { BackendCredentials } from "./backend.ts";
import { type Credentials, type CredentialsLoader, CredentialsSource } from "./credentials.ts";
import type { BareStore, WritableStore } from "./object_store.ts";
import type { TellRequest } from "./observed_store.ts";
import type { FolderLocation, ReplicaLocation, S3Location } from "./replica_url.ts";
import type { Storage } from "./storage.ts";
import { cleanRegion } from "./region.ts";
import { RetryingStore, type RetryingStoreOptions } from "./retrying_store.ts";
import type { FetchFunction } from "./fetch_function.ts";

/** Static credentials, a function asked again before they end, a source, or unsigned requests to a public bucket. */
export type CredentialsOption =
  | Credentials
  | CredentialsLoader
  | CredentialsSource
  | "anonymous";

/** How a store is opened; all of it may be absent. */
export interface OpenStoreOptions extends RetryingStoreOptions {
  /** Where nothing is said, the chain: environment, web identity, shared files, container, instance. */
  readonly credentials?: CredentialsOption | undefined;
  /** The environment the chain looks at. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /** One of the location's prefixes; its first where nothing is said. */
  readonly prefix?: string | undefined;
  readonly fetch?: FetchFunction | undefined;
  /** Ends the opening. */
  readonly signal?: AbortSignal;
  /** Further fetch options, such as a runtime's own for TLS. */
  readonly fetchInit?: Readonly<Record<string, unknown>> | undefined;
  /** Where each request is told. */
  readonly observe?: TellRequest | undefined;
}

/**
 * Opens the store at `location`. Nothing is asked of it yet.
 *
 * @throws {TypeError} static credentials are malformed
 */
export async function openStore(
  location: ReplicaLocation,
  options: OpenStoreOptions = {},
): Promise<WritableStore> {
  if (location.scheme === "file") {
    const { FolderStore } = await import("./folder.ts");
    // A second request would go the same way to the same disk.
    return await retrying(new FolderStore(location), { ...options, hedge: false });
  }
  if (location.scheme !== "s3") return await openAdapted(location, options);
  const { S3Store } = await import("./s3.ts");
  const inner = new S3Store(location, {
    credentials: await credentialsOf(options),
    region: regionHint(location, options.env),
    prefix: options.prefix,
    fetch: options.fetch,
    fetchInit: options.fetchInit,
    now: options.now,
  });
  return await retrying(inner, options);
}

/** The store as others use it; observed where somebody does. */
async function retrying(inner: BareStore, options: OpenStoreOptions): Promise<RetryingStore> {
  if (options.observe === undefined) return new RetryingStore(inner, options);
  const { ObservedStore } = await import("./observed_store.ts");
  return new RetryingStore(new ObservedStore(inner, options.observe), { ...options, isObserved: true });
}

/** A place of the user's, or one that is built in over the same interface. */
async function openAdapted(
  location: Exclude<ReplicaLocation, S3Location | FolderLocation>,
  options: OpenStoreOptions,
): Promise<WritableStore> {
  const [{ AdaptedStore }, storage] = await Promise.all([
    import("./adapted_store.ts"),
    openStorage(location, options),
  ]);
  // A prefix is part of each key there, but for places that know folders.
  const prefix = options.prefix ?? location.prefixes[0] ?? "";
  // Where all requests go one after the other through one connection, a second one of the same comes no sooner.
  const hedge = options.hedge ?? !(location.scheme === "sftp" || location.scheme === "nats");
  return await retrying(new AdaptedStore(location.name, storage, prefix), { ...options, hedge });
}

async function openStorage(
  location: Exclude<ReplicaLocation, S3Location | FolderLocation>,
  options: OpenStoreOptions,
): Promise<Storage> {
  const { env = {}, fetch, fetchInit, log, now = Date.now } = options;
  if (location.scheme === "module") {
    const { loadStorage } = await import("./storage_module.ts");
    return await loadStorage(location, env, options.signal);
  }
  const { openBackend } = await import("./backend.ts");
  return await openBackend(location, {
    env,
    credentials: await backendCredentials(options.credentials),
    credentialsSource: options.credentials instanceof CredentialsSource ? options.credentials : undefined,
    fetch,
    fetchInit,
    log,
    now,
    readFile: readText,
  });
}

/** What was given, where it stays as it is. */
async function backendCredentials(
  given: OpenStoreOptions["credentials"],
): Promise<BackendCredentials | undefined> {
  if (given === undefined || given === "anonymous") return given;
  if (given instanceof CredentialsSource) return await given.current();
  return typeof given === "function" ? await given() : given;
}

async function credentialsOf(options: OpenStoreOptions): Promise<CredentialsSource | "anonymous"> {
  const { credentials, env = {}, fetch, log, now } = options;
  if (credentials === "anonymous" || credentials instanceof CredentialsSource) return credentials;
  if (typeof credentials === "function") return new CredentialsSource(credentials, { now });
  if (credentials !== undefined) return CredentialsSource.of(credentials, { now });
  const { credentialsChain } = await import("./credentials_chain.ts");
  const surroundings = { env, fetch, readFile: readText, runCommand, now };
  const onRenewalError = (error: unknown) => {
    log?.warn(`${error instanceof Error ? error.message : error}; the older ones are used until their end`);
  };
  return credentialsChain(surroundings, { now, onRenewalError });
}

async function readText(path: string): Promise<string> {
  const { readFile } = await import("node:fs/promises"); // takes milliseconds to load
  return await readFile(path, "utf8");
}

const COMMAND_TIMEOUT_MS = 60_000;

/** What a command prints. How it failed is told without the command and its words, which may hold secrets. */
async function runCommand(command: string): Promise<string> {
  const { exec } = await import("node:child_process");
  return await new Promise((resolve, reject) => {
    exec(command, { timeout: COMMAND_TIMEOUT_MS, windowsHide: true }, (error, printed) => {
      if (!error) return resolve(printed);
      reject(new Error(error.killed ? `no end after ${COMMAND_TIMEOUT_MS} ms` : `exit status ${error.code}`));
    });
  });
}

/** Where to begin to look for an Amazon bucket; the server corrects it. */
function regionHint(location: S3Location, env: OpenStoreOptions["env"]): string | undefined {
  if (location.endpoint !== "") return undefined;
  const name = env?.AWS_REGION ? "AWS_REGION" : "AWS_DEFAULT_REGION";
  return cleanRegion(name, env?.[name] ?? "");
}
