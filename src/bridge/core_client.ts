/**
 * The user's side of the core: starts its worker, sends calls, waits for answers.
 *
 * @module
 */
import { cString, type Native } from "../../ffi/native.ts";
import { loadNative } from "../../ffi/mod.ts";
import { ownProcess } from "../drivers/host.ts";
import { mayReadEnvironment, wholeEnvironment } from "../drivers/permissions.ts";
import { startThread, type Thread, type ThreadEvents } from "../drivers/thread.ts";
import { DeadlineError, ReplicaClosedError } from "../errors.ts";
import type { ReplicaConfig } from "../replica_config.ts";
import { coreEntry } from "./core_entry.ts";
import { decodeError, encodeError } from "./error_text.ts";
import { followEvent } from "./event_data.ts";
import { type LogSink, tellSafely, toStderr } from "../log.ts";
import type { FollowEvent } from "../follow/follow_event.ts";
import {
  type Answer,
  type CallOf,
  type CoreShim,
  type CoreStart,
  type Notice,
  NOTICE_ID,
} from "./protocol.ts";
import type { SpanInbox } from "../observe/observer.ts";
import type { RestoreProgress } from "../restore/progress.ts";

/** How long a core without replicas is kept, for the next opening. */
const LINGER_MS = 2_000;

/** How long a worker may take to be ready. */
const START_MS = 30_000;

/** Whom the core's notices about one replica, or one restore, are for. */
export interface NoticeListener {
  /** Takes log entries. */
  readonly log: LogSink;
  /** The keys that were pushed have expired. */
  onExpired?(): void;
  /** Hears what the replica's follower tells. */
  onEvent?(event: FollowEvent): void;
  /** Hears how far a restore is. */
  onProgress?(progress: RestoreProgress): void;
  /** Takes spans. */
  readonly spans?: SpanInbox | undefined;
}

/** How a replica is opened. */
export interface OpenCall {
  readonly signal?: AbortSignal | undefined;
  readonly id?: number;
  readonly isEarly?: boolean;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** A running core of this thread. */
export class CoreClient {
  /** Settles when the worker has ended. */
  readonly ended: Promise<void>;
  readonly #worker: Thread;
  readonly #waiting = new Map<number, Waiting>();
  readonly #listeners = new Map<number, NoticeListener>();
  #native: Native | undefined;
  #stack: number | undefined;
  #nextId = 1;
  #coreId = 0;
  #uses = 0;
  #linger: ReturnType<typeof setTimeout> | undefined;
  #dead: Error | undefined;
  #isStopping = false;

  /** Begins one: its worker, which does nothing before {@link serve}. */
  static async begin(): Promise<CoreClient> {
    const entry = await coreEntry();
    // otherwise it gets a copy of all variables, which asks for the permission to read them all
    const copiesEnvironment = mayReadEnvironment();
    let heard: ThreadEvents | undefined;
    const early: ((events: ThreadEvents) => void)[] = []; // it may fail before it is a client's
    const tell = (event: (events: ThreadEvents) => void) => heard ? event(heard) : void early.push(event);
    const worker = await startThread({ ...entry, copiesEnvironment }, {
      onMessage: (message) => tell((events) => events.onMessage(message)),
      onError: (cause) => tell((events) => events.onError(cause)),
      onEnd: () => tell((events) => events.onEnd()),
    });
    worker.hold(false);
    return new CoreClient(worker, (events) => {
      heard = events;
      for (const event of early) event(events);
    });
  }

  private constructor(worker: Thread, hear: (events: ThreadEvents) => void) {
    this.#worker = worker;
    this.ended = new Promise((resolve) => {
      hear({
        onMessage: (told) => {
          if ((told as Notice).id === NOTICE_ID) this.#hear(told as Notice);
          else this.#settle(told as Answer);
        },
        onError: (cause) => {
          const found = cause instanceof Error ? cause.message : String(cause);
          this.#die(new ReplicaClosedError(`Cannot reach core: its worker failed: ${found}`, { cause }));
        },
        onEnd: () => {
          this.#die(new ReplicaClosedError("Cannot reach core: its worker has ended"));
          resolve();
        },
      });
    });
  }

  /** Has it serve by a shim; ends it where that cannot be. */
  async serve({ shimPath, wasm }: CoreShim): Promise<this> {
    try {
      const ready = this.#ready();
      ready.catch(() => {}); // the shim's own failure says more
      this.#worker.post({ shimPath, wasm, environment: wholeEnvironment() } satisfies CoreStart);
      // A reader on another thread must not wait for a core that goes with the process.
      if (!this.#dead) ownProcess().on("exit", this.#onExit);
      this.#native = await loadNative(shimPath, wasm);
      this.#coreId = await ready;
      return this;
    } catch (error) {
      await this.terminate();
      throw error;
    }
  }

  /** Ends it where it is. */
  terminate(): Promise<void> {
    return this.#worker.terminate();
  }

  /** The shim on this thread. */
  get native(): Native {
    return this.#native!; // nobody else has a client before it has started
  }

  readonly #onExit = (): void => this.#endWaits(new ReplicaClosedError("Cannot read: the process is ending"));

  /** Ends what waits for the core in C; nothing when it has stopped by itself. */
  #endWaits(reason: Error): void {
    if (this.#coreId) this.native.calls.ls_core_stop(this.#coreId, cString(encodeError(reason)));
  }

  #ready(): Promise<number> {
    if (this.#dead) return Promise.reject(this.#dead);
    this.#worker.hold(true);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new DeadlineError(`Cannot start core: its worker is not ready after ${START_MS} ms`)),
        START_MS,
      );
      const settled = <T>(settle: (value: T) => void) => (value: T) => {
        clearTimeout(timer);
        settle(value);
      };
      this.#waiting.set(0, { resolve: settled((id) => resolve(id as number)), reject: settled(reject) });
    });
  }

  #settle({ id, value, error, stack }: Answer): void {
    this.#stack ??= stack;
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (this.#waiting.size === 0) this.#worker.hold(false);
    if (id === 0 && error !== undefined && !waiting) this.#die(decodeError(error)); // it ran, and failed
    if (error === undefined) waiting?.resolve(value);
    else waiting?.reject(decodeError(error));
  }

  #hear(notice: Notice): void {
    const listener = this.#listeners.get(notice.of);
    if (notice.kind === "expired") listener?.onExpired?.();
    if (notice.kind === "progress") listener?.onProgress?.(notice.progress);
    if (notice.kind === "spans") listener?.spans?.take(notice.batch);
    if (notice.kind === "event") listener?.onEvent?.(followEvent(notice.event));
    if (notice.kind === "log" && (listener || notice.of === 0)) {
      tellSafely(listener?.log ?? toStderr, notice.entry);
    }
  }

  #die(error: Error): void {
    if (this.#dead) return;
    this.#dead = error;
    this.#endWaits(error);
    ownProcess().off("exit", this.#onExit);
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }

  /** Whether the core can still be asked. */
  get alive(): boolean {
    return this.#dead === undefined && !this.#isStopping;
  }

  /** A number for a call, so that others can name it before it is answered. */
  newId(): number {
    return this.#nextId++;
  }

  /** Hears what the core notices about the replica that call `id` opens, or about what it restores, until {@link unlisten}. */
  listen(id: number, listener: NoticeListener): void {
    this.#listeners.set(id, listener);
  }

  /** Hears no more of it. */
  unlisten(id: number): void {
    this.#listeners.delete(id);
  }

  /** Sends a call; the process stays alive until its answer. */
  call<T = unknown>(call: CallOf, signal?: AbortSignal, id: number = this.newId()): Promise<T> {
    if (this.#dead) return Promise.reject(this.#dead);
    if (signal?.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#worker.post({
          id: this.#nextId++,
          kind: "cancel",
          of: id,
          reason: String(signal!.reason),
        });
        reject(signal!.reason);
      };
      const settled = <T>(settle: (value: T) => void) => (value: T) => {
        signal?.removeEventListener("abort", onAbort);
        settle(value);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting.set(id, { resolve: settled((value) => resolve(value as T)), reject: settled(reject) });
      this.#worker.hold(true);
      this.#worker.post({ id, ...call });
    });
  }

  /** Opens a replica by the call `id` and counts it as a use of this core; an early one once it is confirmed. */
  async open(
    config: ReplicaConfig,
    { signal, id = this.newId(), isEarly = false }: OpenCall = {},
  ): Promise<number> {
    const { onExpired, spans } = this.#listeners.get(id) ?? {};
    const observed = spans && { observed: spans.kinds };
    const renewsCredentials = onExpired !== undefined;
    this.use();
    try {
      return await this.call(
        { kind: "open", config, environment: wholeEnvironment(), isEarly, renewsCredentials, ...observed },
        signal,
        id,
      );
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** Keeps the core running until a {@link release}. */
  use(): void {
    this.#uses++;
    clearTimeout(this.#linger);
  }

  /** Gives a use up; without any the core ends after a while. */
  release(): void {
    if (--this.#uses > 0) return;
    this.#native?.release?.(); // the thread may be terminated any time now
    this.#linger = setTimeout(() => void this.stop(), LINGER_MS);
    (this.#linger as unknown as { unref?(): void }).unref?.();
  }

  /** Ends the core now. */
  async stop(): Promise<void> {
    if (this.#dead) return;
    clearTimeout(this.#linger);
    this.#isStopping = true;
    const isStopped = await this.call({ kind: "stop" }).then(() => true, () => false);
    await this.ended;
    if (isStopped && this.#stack !== undefined) this.#native?.wasm?.heap.free(this.#stack);
  }
}

/** The cores of this thread by shim: one, unless somebody names another shim. */
const running = new Map<string, Promise<CoreClient>>();

/** One that was begun for the next of these; none knows its shim yet. */
let begun: Promise<CoreClient> | undefined;

/** A core, and what it serves by. */
export interface FoundCore {
  readonly core: CoreClient;
  readonly shim: CoreShim;
}

/**
 * The core of this thread, started when there is none: with `onBegun`, which is told of it, it begins while the shim is looked
 * for. In the end it may be another one, where somebody else has found another shim meanwhile.
 */
export async function threadCore(
  find: () => Promise<CoreShim>,
  onBegun?: (core: CoreClient) => void,
): Promise<FoundCore> {
  try {
    if (onBegun && running.size === 0) onBegun(await (begun ??= CoreClient.begin()));
    const shim = await find();
    for (;;) {
      const starting = running.get(shim.shimPath) ?? startCore(shim);
      const core = await starting;
      if (core.alive) return { core, shim };
      if (running.get(shim.shimPath) === starting) running.delete(shim.shimPath);
    }
  } finally {
    const left = begun; // no shim was found, or a core was meanwhile
    begun = undefined;
    left?.then((core) => core.terminate()).catch(() => {}); // nobody has it
  }
}

function startCore(shim: CoreShim): Promise<CoreClient> {
  const { shimPath } = shim;
  const starting = (begun ?? CoreClient.begin()).then((core) => core.serve(shim));
  begun = undefined;
  running.set(shimPath, starting);
  starting.then(({ ended }) => ended).catch(() => {}).finally(() => {
    if (running.get(shimPath) === starting) running.delete(shimPath);
  });
  return starting;
}
