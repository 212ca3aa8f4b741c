/**
 * NatsClient: requests to NATS servers and what they answer, each on its own inbox.
 *
 * The connection is made when it is first used, and made anew by the request after the one that found it
 * gone: trying again, and when, is not decided here.
 *
 * @module
 */

import {
  connect,
  type ConnectionOptions,
  createInbox,
  headers,
  type Msg,
  type NatsConnection,
} from "@nats-io/transport-node";
import { ReplicaClosedError } from "../../errors.ts";
import type { Asked } from "../http_fault.ts";
import type { RequestCounts } from "../object_store.ts";
import { onAbort } from "../request_queue.ts";
import type { StorageRequest } from "../storage.ts";
import { connectionFault, noResponders } from "./nats_fault.ts";

/** A request before it is sent. */
export interface NatsAsk extends Asked {
  readonly subject: string;
  readonly payload: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

/** How a connection is made. */
export interface NatsClientOptions {
  /** Called for each connection. */
  readonly options: () => Promise<ConnectionOptions>;
  /** Takes secrets out of a text. */
  readonly redact: (text: string) => string;
}

/** A request that waits for answers. */
interface Exchange {
  readonly connection: NatsConnection;
  readonly subject: string;
  readonly inbox: string;
  readonly fail: (error: unknown) => void;
}

const CONNECT_TIMEOUT_MS = 5_000;
/** A connection that is silent for three of these is given up. */
const PING_INTERVAL_MS = 5_000;
const PINGS_OUT_MAX = 2;
const NO_RESPONDERS = 503;

/** Speaks to the servers of one location. */
export class NatsClient {
  /** What was sent and received so far. */
  readonly counts: RequestCounts = { list: 0, get: 0, bytes: 0, retries: 0 };
  readonly #options: NatsClientOptions;
  readonly #exchanges = new Set<Exchange>();
  #connecting: Promise<NatsConnection> | undefined;
  /** The one that was made last. */
  #connection: NatsConnection | undefined;
  #closed = false;

  constructor(options: NatsClientOptions) {
    this.#options = options;
  }

  /** A server's own words without what is secret here. */
  redacted(text: string): string {
    return this.#options.redact(text);
  }

  /** Sends a request that has one answer. */
  async ask(ask: NatsAsk, request: StorageRequest): Promise<Msg> {
    let answer: Msg | undefined;
    await this.askMany(ask, request, (message) => {
      answer = message;
      return true;
    });
    return answer!;
  }

  /** Sends a request and hands over its answers until `take` says that one was the last. */
  async askMany(ask: NatsAsk, request: StorageRequest, take: (message: Msg) => boolean): Promise<void> {
    const { signal, onProgress } = request;
    try {
      const connection = await this.#connected(ask, signal);
      this.counts[ask.kind] = (this.counts[ask.kind] ?? 0) + 1;
      await this.#exchange(connection, ask, signal, (message) => {
        if (ask.kind === "get") this.counts.bytes += message.data.length;
        onProgress(new Uint8Array(0));
        if (message.headers?.code === NO_RESPONDERS && message.data.length === 0) throw noResponders(ask);
        return take(message);
      });
    } catch (cause) {
      if (signal.aborted) throw signal.reason;
      if (cause instanceof ReplicaClosedError) throw cause;
      throw connectionFault(ask, cause, this.#options.redact);
    }
  }

  /** Size in bytes of a message that the server takes at most. */
  async messageSizeMax(asked: Asked, { signal }: StorageRequest): Promise<number> {
    try {
      return (await this.#connected(asked, signal)).info!.max_payload;
    } catch (cause) {
      if (signal.aborted) throw signal.reason;
      throw connectionFault(asked, cause, this.#options.redact);
    }
  }

  /** A connection that is being made is not waited for; it is closed as soon as it stands. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#connection?.close();
  }

  #connected(asked: Asked, signal: AbortSignal): Promise<NatsConnection> {
    if (this.#closed) throw new ReplicaClosedError(`Cannot ${asked.what}: the store was closed`);
    if (this.#connecting === undefined) {
      this.#connecting = this.#connect();
      this.#connecting.catch(() => {}); // whoever wants it may have gone
    }
    return untilAborted(this.#connecting, signal);
  }

  async #connect(): Promise<NatsConnection> {
    try {
      const connection = await connect({
        ...await this.#options.options(),
        reconnect: false,
        timeout: CONNECT_TIMEOUT_MS,
        pingInterval: PING_INTERVAL_MS,
        maxPingOut: PINGS_OUT_MAX,
        noAsyncTraces: true,
      });
      this.#connection = connection;
      void connection.closed().then((cause) => this.#lose(connection, cause));
      this.#watch(connection).catch((error) => this.#lose(connection, error));
      if (this.#closed) await connection.close();
      return connection;
    } catch (error) {
      this.#connecting = undefined;
      throw error;
    }
  }

  #lose(connection: NatsConnection, cause: unknown): void {
    if (this.#connection === connection) this.#connecting = undefined;
    const error = cause ?? new Error("the connection was closed");
    for (const exchange of this.#exchanges) if (exchange.connection === connection) exchange.fail(error);
  }

  /** A server does not answer what a user may not ask: it says so beside. */
  async #watch(connection: NatsConnection): Promise<void> {
    for await (const status of connection.status()) {
      if (status.type !== "error") continue;
      const { subject } = status.error as Error & { subject?: string };
      for (const exchange of this.#exchanges) {
        const isMeant = subject !== undefined && [exchange.subject, exchange.inbox].includes(subject);
        if (isMeant && exchange.connection === connection) exchange.fail(status.error);
      }
    }
  }

  #exchange(
    connection: NatsConnection,
    { subject, payload, headers: given = {} }: NatsAsk,
    signal: AbortSignal,
    take: (message: Msg) => boolean,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const inbox = createInbox();
      const end = () => {
        ignore();
        this.#exchanges.delete(exchange);
        if (!connection.isClosed()) subscription.unsubscribe();
      };
      const fail = (error: unknown) => {
        end();
        reject(error);
      };
      const exchange = { connection, subject, inbox, fail };
      const subscription = connection.subscribe(inbox, {
        callback: (error, message) => {
          if (!this.#exchanges.has(exchange)) return;
          if (error) return fail(error);
          try {
            if (!take(message)) return;
          } catch (fault) {
            return fail(fault);
          }
          end();
          resolve();
        },
      });
      const ignore = onAbort([signal], fail);
      this.#exchanges.add(exchange);
      const sent = headers();
      for (const [name, value] of Object.entries(given)) sent.set(name, value);
      try {
        connection.publish(subject, payload, { reply: inbox, headers: sent });
      } catch (error) {
        fail(error);
      }
    });
  }
}

function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const ignore = onAbort([signal], reject);
    promise.then(resolve, reject).finally(ignore);
  });
}
