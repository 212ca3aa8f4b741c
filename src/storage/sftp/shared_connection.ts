/**
 * SharedConnection: the one connection that all requests go over, made when it is needed and anew when it
 * has ended.
 *
 * @module
 */

import { ReplicaClosedError } from "../../errors.ts";
import { SftpConnection } from "./sftp_connection.ts";
import { dial } from "./sftp_dial.ts";
import type { SftpSettings } from "./sftp_settings.ts";

/** Gives the connection. */
export class SharedConnection {
  readonly #settings: SftpSettings;
  readonly #closing = new AbortController();
  #current: SftpConnection | undefined;
  #connecting: Promise<SftpConnection> | undefined;

  constructor(settings: SftpSettings) {
    this.#settings = settings;
  }

  /**
   * The connection, which may still have to be made: others may wait for it when `signal` says that this
   * one does not.
   */
  async get(signal: AbortSignal): Promise<SftpConnection> {
    signal.throwIfAborted();
    this.#closing.signal.throwIfAborted();
    if (this.#current?.isOpen) return this.#current;
    const connecting = this.#connecting ??= this.#connect();
    return await new Promise((resolve, reject) => {
      const abort = () => reject(signal.reason);
      signal.addEventListener("abort", abort, { once: true });
      connecting.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
    });
  }

  /** Ends it; requests on their way fail. */
  close(): void {
    const error = new ReplicaClosedError(`Cannot use ${this.#settings.place}: the store was closed`);
    this.#closing.abort(error);
    this.#current?.end(error);
  }

  async #connect(): Promise<SftpConnection> {
    try {
      const dialled = await dial(this.#settings, this.#closing.signal);
      this.#current = new SftpConnection(dialled, this.#settings.place);
      if (this.#closing.signal.aborted) this.#current.end(this.#closing.signal.reason);
      return this.#current;
    } finally {
      this.#connecting = undefined;
    }
  }
}
