/**
 * CredentialsRenewal: calls the user's function for keys, on the user's thread, ahead of their end.
 *
 * @module
 */
import { DeadlineError, ReplicaError } from "../errors.ts";
import { MS_MAX } from "../deadline.ts";
import type { StaticCredentials } from "../options.ts";
import { plainCredentials, type ReplicaConfig } from "../replica_config.ts";
import { renewalPauseMs, renewalTimeMs } from "../storage/credentials.ts";
import { thrownText } from "../thrown_text.ts";

/** Gives keys; the user's. */
export type CredentialsFunction = () => StaticCredentials | Promise<StaticCredentials>;

/** Where a {@link CredentialsRenewal} brings what it gets. */
export interface RenewalOptions {
  /** Takes new keys. */
  push(credentials: ReplicaConfig["credentials"]): Promise<unknown>;
  /** Takes what a renewal failed with; it is tried again. */
  fail(error: ReplicaError): void;
}

/** How long the function may take for newer keys, in ms. */
const ANSWER_MS_MAX = 60_000;

/** The least time between two calls of the function, in ms. */
const GAP_MS = 1_000;

/** Renews the keys of one replica until it is stopped; its timer keeps no process alive. */
export class CredentialsRenewal {
  readonly #source: CredentialsFunction;
  readonly #options: RenewalOptions;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #askedMs = performance.now();
  #asking = false;
  #failures = 0;
  #stopped = false;

  /** `first` are the keys in use. */
  constructor(source: CredentialsFunction, first: StaticCredentials, options: RenewalOptions) {
    this.#source = source;
    this.#options = options;
    this.#expectEnd(first);
  }

  /** The keys in use have expired, whatever they say themselves: asks now. */
  renew(): void {
    if (!this.#asking) this.#scheduleIn(this.#askedMs + GAP_MS - performance.now());
  }

  /** Asks no more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #expectEnd({ expiration }: StaticCredentials): void {
    if (!expiration) return;
    const atMs = renewalTimeMs({ nowMs: Date.now(), expiresMs: expiration.getTime() });
    this.#schedule(() => atMs - Date.now());
  }

  /** Pauses are measured: the wall clock, which ends keys, may be set back by hours. */
  #scheduleIn(ms: number): void {
    const atMs = performance.now() + ms;
    this.#schedule(() => atMs - performance.now());
  }

  #schedule(leftMs: () => number): void {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    const again = () => leftMs() > 0 ? this.#schedule(leftMs) : void this.#ask();
    this.#timer = setTimeout(again, Math.min(Math.max(0, leftMs()), MS_MAX));
    (this.#timer as unknown as { unref?(): void }).unref?.();
  }

  async #ask(): Promise<void> {
    this.#asking = true;
    this.#askedMs = performance.now();
    try {
      const next = await askCredentials(this.#source, { timeoutMs: ANSWER_MS_MAX });
      if (next.expiration && next.expiration.getTime() <= Date.now()) {
        throw new ReplicaError(`they expired at ${next.expiration.toISOString()} already`);
      }
      if (this.#stopped) return;
      await this.#options.push(plainCredentials(next));
      this.#failures = 0;
      this.#expectEnd(next);
    } catch (cause) {
      if (this.#stopped) return;
      const found = thrownText(cause);
      this.#options.fail(new ReplicaError(`Cannot renew credentials: ${found}`, { cause }));
      this.#scheduleIn(renewalPauseMs(++this.#failures));
    } finally {
      this.#asking = false;
    }
  }
}

/**
 * Calls the user's function once.
 *
 * @throws {DeadlineError} it has given nothing after `timeoutMs`
 * @throws {TypeError} it gives no keys
 * @throws the signal's reason when it aborts; whatever the function throws
 */
export function askCredentials(
  source: CredentialsFunction,
  { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal | undefined },
): Promise<StaticCredentials> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal!.reason);
    const timer = setTimeout(
      () => reject(new DeadlineError(`Cannot get credentials: the function gave none after ${timeoutMs} ms`)),
      timeoutMs,
    );
    signal?.addEventListener("abort", onAbort, { once: true });
    Promise.resolve().then(source).then((keys) => {
      plainCredentials(keys ?? undefined); // its faults are the function's
      if (keys) resolve(keys);
      else reject(new TypeError(`Cannot use credentials: the function gave ${keys}, expected keys`));
    }).catch(reject).finally(() => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    });
  });
}
