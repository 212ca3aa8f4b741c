/**
 * Backends: what makes a {@link Storage} of a location, one module for each kind of place, loaded when it is used.
 *
 * @module
 */

import { StorageError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { CredentialsSource } from "./credentials.ts";
import type { FetchFunction } from "./fetch_function.ts";
import type { BackendLocation } from "./backend_location.ts";
import type { Storage } from "./storage.ts";

/** A pair of keys where a place is spoken to like S3; `"anonymous"`: it is public. */
export type BackendCredentials =
  | {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken?: string | undefined;
  }
  | "anonymous";

/** What a backend is given beside its location. */
export interface BackendContext {
  /** Variables of the process. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What option `credentials` says; undefined: what the environment and the machine have. */
  readonly credentials: BackendCredentials | undefined;
  /** The same with newer ones before those end; undefined where they stay. */
  readonly credentialsSource?: CredentialsSource | undefined;
  /** In place of the global `fetch`. */
  readonly fetch: FetchFunction | undefined;
  /** Further fetch options, such as a runtime's own for TLS. */
  readonly fetchInit: Readonly<Record<string, unknown>> | undefined;
  /** Milliseconds since the Unix epoch. */
  readonly now: () => number;
  readonly log: Log | undefined;
  /** A text file's content. */
  readonly readFile: (path: string) => Promise<string>;
}

/** What each backend's module exports as `open`. Nothing need be asked of the place yet. */
export type OpenBackend<L extends BackendLocation = BackendLocation> = (
  location: L,
  context: BackendContext,
) => Promise<Storage> | Storage;

/** Loads the backend of a location. */
export async function openBackend(location: BackendLocation, context: BackendContext): Promise<Storage> {
  switch (location.scheme) {
    case "gs":
      return await (await import("./gs/gs_storage.ts")).open(location, context);
    case "abs":
      return await (await import("./abs/abs_storage.ts")).open(location, context);
    case "oss":
      return await (await import("./oss/oss_storage.ts")).open(location, context);
    case "sftp":
      return await (await ofPackage("ssh2", location, import("./sftp/sftp_storage.ts"))).open(
        location,
        context,
      );
    case "webdav":
      return await (await import("./webdav/webdav_storage.ts")).open(location, context);
    case "nats":
      return await (await ofPackage("@nats-io/transport-node", location, import("./nats/nats_storage.ts")))
        .open(location, context);
    case "http":
      return await (await import("./http/http_storage.ts")).open(location, context);
  }
}

/** A place's code, which needs a package that comes only to those who ask for it. */
async function ofPackage<T>(name: string, location: BackendLocation, loading: Promise<T>): Promise<T> {
  try {
    return await loading;
  } catch (cause) {
    const { code, message } = cause as { code?: unknown; message?: unknown };
    if (!/MODULE_NOT_FOUND/.test(String(code)) && !/could not find|cannot find/i.test(String(message))) {
      throw cause;
    }
    throw new StorageError(
      `Cannot open ${location.name}: package "${name}" is not installed, expected it among the project's dependencies`,
      { key: "", status: 0, retryable: false, cause },
    );
  }
}
