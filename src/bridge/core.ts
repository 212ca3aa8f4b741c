/**
 * The core: opens replicas, serves the requests of readers. Lives in a worker, one for each thread that opens replicas.
 *
 * @module
 */
import { cString, type Native, readText } from "../../ffi/native.ts";
import { LS } from "../../ffi/symbols.ts";
import { ReplicaClosedError, RestorePlanError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Environment } from "../environment.ts";
import type { ReplicaConfig } from "../replica_config.ts";
import type { FollowEvent } from "../follow/follow_event.ts";
import type { LiveReplica } from "../live/live_replica.ts";
import { COUNTER } from "../pages/counters.ts";
import type { ObservedKinds, SpanOutbox } from "../observe/span_outbox.ts";
import type { TransactionWatch } from "../observe/transaction_watch.ts";
import { beginOpening, type BegunOpening } from "./begun_opening.ts";
import { encodeError } from "./error_text.ts";
import { decodeParameters, decodeRequest, REQUEST, REQUEST_WORDS, type ShimRequest } from "./protocol.ts";
import { sqliteCode } from "./sqlite_code.ts";

/** Requests taken from the shim at once. */
const BATCH = 64;

/** A replica opened by URI, and how many files of SQLite use it. */
interface Shared {
  readonly opening: Promise<LiveReplica>;
  uses: number;
  /** The shim's handle, once it is open. */
  id?: number;
}

/** Serves all replicas of one thread. */
export class Core {
  /** The shim's handle. */
  readonly id: number;
  readonly native: Native;
  #environment: Environment;
  readonly #log: Log;
  readonly #replicas = new Map<number, LiveReplica>();
  /** What was told of the URLs of databases opened by URI. */
  readonly #warned = new Set<string>();
  readonly #shared = new Map<string, Shared>();
  readonly #closings = new Map<string, Promise<void>>();
  /** Of replicas that are observed. */
  readonly #watches = new Map<number, TransactionWatch>();
  readonly #outboxes = new Map<number, SpanOutbox>();
  #registrations = 0;
  readonly #words = new Uint32Array(BATCH * REQUEST_WORDS);

  constructor(native: Native, environment: Environment, log: Log) {
    this.native = native;
    this.#environment = environment;
    this.#log = log;
    this.id = native.calls.ls_core_start();
    if (this.id < 0) throw new ReplicaClosedError(`Cannot start core: the shim answers ${this.id}`);
  }

  /** Serves until {@link stop}. */
  run(): Promise<void> {
    return this.native.listen(this.id, () => this.#takeAll());
  }

  /** Opens a replica, whose store has been asked already; returns its handle. */
  async open(begun: BegunOpening): Promise<number> {
    return (await this.#finish(begun)).id;
  }

  async #finish(begun: BegunOpening): Promise<LiveReplica> {
    const { config, hooks, store, place, look, outbox, signal, uncounted } = begun;
    try {
      await look.sent;
      const { LiveReplica } = await import("../live/live_replica.ts"); // while the answers are on their way
      const source = {
        native: this.native,
        coreId: this.id,
        store,
        place,
        layout: config.location.layout,
        ...(config.location.scheme === "file" && { folder: config.location.path }),
        onEvent: (event: FollowEvent) => hooks.onEvent?.(event),
        onNotice: (text: string) => (hooks.log ?? this.#log).warn(text),
        textOf: encodeError,
        isObserved: hooks.observed?.requests ?? false,
        uncounted,
      };
      const replica = await LiveReplica.open(source, config, { signal, purpose: "open" }, look);
      this.#replicas.set(replica.id, replica);
      if (outbox) await this.#observe(replica, hooks.observed!, outbox);
      this.native.calls.ls_replica_bound(replica.id, COUNTER.getRequests, BigInt(config.maxRequests));
      this.native.calls.ls_replica_bound(replica.id, COUNTER.bytes, BigInt(config.maxBytes));
      return replica;
    } catch (error) {
      outbox?.flush(); // before the answer that it failed
      const isEmpty = error instanceof RestorePlanError && error.fault === "empty";
      if (!isEmpty || config.location.scheme !== "file") throw error;
      const { explainFolder } = await import("./missing_folder.ts");
      throw await explainFolder(error, config.location);
    } finally {
      begun.settle();
    }
  }

  /** Has what the replica does told until it is closed. */
  async #observe(replica: LiveReplica, { transactions }: ObservedKinds, outbox: SpanOutbox): Promise<void> {
    if (transactions) {
      const { TransactionWatch } = await import("../observe/transaction_watch.ts");
      this.#watches.set(replica.id, new TransactionWatch(this.native, replica.id, replica.name, outbox));
    }
    this.#outboxes.set(replica.id, outbox);
  }

  /** Tells the last of a replica. */
  #unobserve(replicaId: number): void {
    this.#outboxes.get(replicaId)?.flush();
    this.#outboxes.delete(replicaId);
  }

  /**
   * An open replica.
   *
   * @throws {ReplicaClosedError} it was closed
   */
  replica(replicaId: number): LiveReplica {
    const replica = this.#replicas.get(replicaId);
    if (replica === undefined) throw new ReplicaClosedError("Cannot reach replica: it was closed");
    return replica;
  }

  /** Closes a replica; unknown handles are ignored, closing twice does nothing. */
  async close(replicaId: number): Promise<void> {
    const replica = this.#replicas.get(replicaId);
    this.#replicas.delete(replicaId);
    this.#watches.get(replicaId)?.stop(); // closing forgets the transactions
    this.#watches.delete(replicaId);
    try {
      await replica?.close();
    } finally {
      this.#unobserve(replicaId);
      if (this.#replicas.size === 0) this.native.release?.(); // this thread may be terminated any time now
    }
  }

  /** Makes this core the one that serves databases opened by URI. */
  async register(environment: Environment): Promise<void> {
    this.#environment = environment;
    this.#registrations++;
    this.native.calls.ls_core_default(this.id, 1);
    const { environmentWarnings } = await import("../environment.ts");
    for (const warning of environmentWarnings(undefined, this.#environment)) this.#log.warn(warning);
  }

  /** Ends one registration; with the last one go the replicas that were opened by URI. */
  async unregister(): Promise<void> {
    if (--this.#registrations > 0) return;
    this.native.calls.ls_core_default(this.id, 0);
    const shared = [...this.#shared];
    this.#shared.clear();
    await Promise.allSettled(shared.map(async ([key, { opening }]) => {
      await this.#closeShared(key, (await opening).id);
    }));
    await Promise.all(this.#closings.values());
  }

  /** Closes everything and ends {@link run}. */
  async stop(): Promise<void> {
    const reason = cString("ReplicaClosedError: Cannot read page: the replica's core has ended");
    this.native.calls.ls_core_stop(this.id, reason);
    const closings = [...this.#replicas.keys()].map((id) => this.close(id));
    const closed = await Promise.allSettled([...closings, ...this.#closings.values()]);
    this.native.release?.();
    const failed = closed.find((result) => result.status === "rejected");
    if (failed) throw failed.reason;
  }

  #takeAll(): void {
    for (;;) {
      const bytes = new Uint8Array(this.#words.buffer);
      const count = this.native.calls.ls_core_take(this.id, bytes, BATCH);
      for (let i = 0; i < count; i++) this.#serve(decodeRequest(this.#words, i));
      if (count < BATCH) return;
    }
  }

  #serve(request: ShimRequest): void {
    switch (request.kind) {
      case REQUEST.closed:
        return void this.#unshare(request.replicaId);
      case REQUEST.nudge:
        return this.#replicas.get(request.replicaId)?.nudge();
      case REQUEST.mark:
        return this.#replicas.get(request.replicaId)?.marked(request);
      case REQUEST.open:
        return void this.#answerOpen(request);
      case REQUEST.moment:
        return void this.#answerMoment(request);
      case REQUEST.sync:
        return void this.#answerSync(request);
      default:
        return void this.#answerPage(request);
    }
  }

  #answer(request: ShimRequest, code: number, value: number, text: string): number {
    return this.native.calls.ls_answer(request.slot, request.generation, code, value, cString(text));
  }

  #textOf(request: ShimRequest): string {
    const { slot, generation } = request;
    return readText(
      (buffer) => this.native.calls.ls_request_text(slot, generation, buffer, buffer.length),
      8192,
    );
  }

  #answerError(request: ShimRequest, error: unknown, act: "open" | "read" | "move"): void {
    this.#answer(request, sqliteCode(error, act), 0, encodeError(error));
  }

  async #answerPage(request: ShimRequest): Promise<void> {
    try {
      const replica = this.#replicas.get(request.replicaId);
      if (!replica) throw new ReplicaClosedError("Cannot read page: the replica was closed");
      for (;;) {
        const outcome = await replica.serve(request);
        // Evicted again before the reader had it: load it once more.
        if (this.#answer(request, 0, outcome === "moved" ? 1 : 0, "") !== LS.BUSY) return;
      }
    } catch (error) {
      this.#answerError(request, error, "read");
    }
  }

  async #answerMoment(request: ShimRequest): Promise<void> {
    try {
      const text = this.#textOf(request).replace(/\0$/, "");
      await this.replica(request.replicaId).moment(text, (viewId, shown) => {
        this.#answer(request, 0, viewId, shown);
      });
    } catch (error) {
      this.#answerError(request, error, "move");
    }
  }

  async #answerSync(request: ShimRequest): Promise<void> {
    try {
      await this.replica(request.replicaId).sync();
      this.#answer(request, 0, 0, "");
    } catch (error) {
      this.#answerError(request, error, "read");
    }
  }

  async #answerOpen(request: ShimRequest): Promise<void> {
    try {
      const { makeUriConfig } = await import("../uri_config.ts");
      const parameters = decodeParameters(this.#textOf(request));
      const config = makeUriConfig(parameters, this.#environment);
      await this.#warnOnce(parameters.get("replica_url") ?? this.#environment.LITESTREAM_REPLICA_URL);
      const replica = await this.#share(config);
      if (this.#answer(request, 0, replica.id, "") !== 0) this.#unshare(replica.id);
    } catch (error) {
      this.#answerError(request, error, "open");
    }
  }

  /** Tells what of a URL is not used, once for all connections. */
  async #warnOnce(url: string | undefined): Promise<void> {
    const { parameterWarnings } = await import("../storage/url_parameters.ts");
    for (const warning of url ? parameterWarnings(url) : []) {
      if (!this.#warned.has(warning)) this.#log.warn(warning);
      this.#warned.add(warning);
    }
  }

  /** One replica for all connections that ask for the same. */
  async #share(config: ReplicaConfig): Promise<LiveReplica> {
    const key = JSON.stringify(config);
    const shared: Shared = this.#shared.get(key) ?? { opening: this.#openAfter(key, config), uses: 0 };
    this.#shared.set(key, shared);
    shared.uses++;
    try {
      const replica = await shared.opening;
      shared.id = replica.id;
      return replica;
    } catch (error) {
      if (this.#shared.get(key) === shared) this.#shared.delete(key);
      throw error;
    }
  }

  /** A writer that is just being closed has its log until then. */
  async #openAfter(key: string, config: ReplicaConfig): Promise<LiveReplica> {
    await this.#closings.get(key);
    const surroundings = { environment: this.#environment, native: Promise.resolve(this.native) };
    const hooks = { log: this.#log };
    return await this.#finish(await beginOpening(config, { ...surroundings, signal: undefined, hooks }));
  }

  async #unshare(replicaId: number): Promise<void> {
    for (const [key, shared] of this.#shared) {
      if (shared.id !== replicaId || --shared.uses > 0) continue;
      this.#shared.delete(key);
      return await this.#closeShared(key, replicaId);
    }
  }

  #closeShared(key: string, replicaId: number): Promise<void> {
    const closing = this.close(replicaId)
      .catch((error) => this.#log.warn(`What was committed is kept in the write log: ${error.message}`))
      .finally(() => this.#closings.delete(key));
    this.#closings.set(key, closing);
    return closing;
  }
}
