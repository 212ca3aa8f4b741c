/**
 * An opening under way on a core, and what it needs from this thread: newer keys, and somebody who hears what is told.
 *
 * @module
 */
import { cString } from "../ffi/native.ts";
import type { CoreClient } from "./bridge/core_client.ts";
import { type CredentialsFunction, CredentialsRenewal } from "./bridge/credentials_renewal.ts";
import { encodeError } from "./bridge/error_text.ts";
import { type Log, toStderr } from "./log.ts";
import { SpanInbox } from "./observe/observer.ts";
import type { OpenOptions, StaticCredentials } from "./options.ts";
import type { ReplicaConfig } from "./replica_config.ts";
import type { ReplicaEvents } from "./replica_events.ts";

/** What an opening is of, beside its configuration. */
export interface OpeningParts {
  readonly options: OpenOptions;
  readonly log: Log;
  /** Where newer keys come from, and the first ones. */
  readonly keys: { readonly source: CredentialsFunction; readonly first: StaticCredentials } | undefined;
  readonly events: ReplicaEvents;
}

/** An opening, from its beginning until what it opened is closed. */
export class ReplicaOpening {
  readonly core: CoreClient;
  /** The replica's handle, once it is open. */
  readonly opened: Promise<number>;
  readonly #id: number;
  readonly #abort = new AbortController();
  readonly #heard: { readonly log: NonNullable<OpenOptions["log"]>; readonly spans: SpanInbox | undefined };
  readonly #renewal: CredentialsRenewal | undefined;
  #replicaId = 0;

  /** Begins it; an early one asks, and goes on when it is confirmed. */
  constructor(core: CoreClient, config: ReplicaConfig, parts: OpeningParts, isEarly: boolean) {
    const { options, log, keys, events } = parts;
    this.core = core;
    this.#id = core.newId();
    this.#heard = { log: options.log ?? toStderr, spans: options.observe && new SpanInbox(options.observe) };
    this.#renewal = keys && this.#renew(keys, log);
    const onExpired = this.#renewal && (() => this.#renewal!.renew());
    core.listen(this.#id, {
      ...this.#heard,
      onEvent: (event) => events.tell(event),
      ...(onExpired ? { onExpired } : {}),
    });
    const abandoned = this.#abort.signal;
    const signal = options.signal ? AbortSignal.any([options.signal, abandoned]) : abandoned;
    this.opened = core.open(config, { signal, id: this.#id, isEarly });
    this.opened.then((replicaId) => this.#replicaId = replicaId, () => this.end());
  }

  /** Has an early one go on. */
  confirm(): void {
    this.core.call({ kind: "confirm", of: this.#id }).catch(() => {}); // whoever opens is told
  }

  /** Gives it up: it is done by another core, or not at all. */
  abandon(): void {
    this.#abort.abort(new DOMException("The opening was abandoned", "AbortError"));
  }

  /** To be called when the replica begins to be closed: what goes wrong at the end is told, too. */
  close(): void {
    this.#renewal?.stop();
    this.core.listen(this.#id, this.#heard);
  }

  /** To be called when it has been closed. */
  end(): void {
    this.#renewal?.stop();
    this.core.unlisten(this.#id);
  }

  #renew({ source, first }: NonNullable<OpeningParts["keys"]>, log: Log): CredentialsRenewal {
    const { core } = this;
    return new CredentialsRenewal(source, first, {
      push: (credentials) => core.call({ kind: "credentials", of: this.#id, credentials }),
      fail: (error) => {
        log.warn(error.message);
        const text = cString(encodeError(error));
        if (this.#replicaId > 0) core.native.calls.ls_replica_fail(this.#replicaId, text);
      },
    });
  }
}
