/**
 * The writer of a replica: takes what was committed to the write log, stores it as LTX files, tells of conflicts.
 *
 * @module
 */
import { mkdir, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import type { Native } from "../../ffi/native.ts";
import { unkept } from "../cache/caching_store.ts";
import {
  ConflictError,
  LtxFormatError,
  ObjectExistsError,
  ObjectGoneError,
  ReplicaClosedError,
  ReplicaError,
  RestorePlanError,
  StorageError,
  WriteLogError,
} from "../errors.ts";
import { compareFiles } from "../follow/continuity.ts";
import { mayMeanAbsent } from "../follow/lookout.ts";
import type { Lz4 } from "../ltx/lz4.ts";
import { formatLtxFileName, formatTxid } from "../ltx/txid.ts";
import { ltxKey } from "../storage/layout.ts";
import { type ConditionProbe, probeConditions } from "../storage/condition_probe.ts";
import type { LayoutName, PutOptions, WritableStore } from "../storage/object_store.ts";
import { PurposeStore } from "../storage/purpose_store.ts";
import { makeRestorePlan, type ReplicaFile } from "../view/restore_plan.ts";
import { sleep } from "../sleep.ts";
import { NOTHING_STORED, recoverEarlierLog, type StoredBy } from "./earlier_log.ts";
import { Lease } from "./lease.ts";
import { keepConflict, keepRoom, lastStoredMs, readBase, writeBase } from "./log_base.ts";
import {
  collectLogged,
  type DatabaseHead,
  encodeLogged,
  headAfter,
  type LoggedFile,
  loggedSize,
  NEW_HEAD,
} from "./logged_file.ts";
import { isAlone, isStoredAlone, listSurely, recoverLog, type RecoveryOptions, unseen } from "./recovery.ts";
import { shimLz4 } from "./shim_lz4.ts";
import { type LogState, type Sealed, ShimWriter } from "./shim_writer.ts";
import { Upkeep } from "./upkeep.ts";
import { BASE_SIZE, listLogs, readLog, syncLog } from "./write_log.ts";

/** After so long without a look at all levels, one is taken before anything is stored, in ms. */
const LOOK_AFTER_MS = 10_000;
const LOOK_EVERY_MS = 30_000;

/** How often a replica is looked at whose listing lacks a TXID that was stored. */
const LOOKS_MAX = 3;

/** Pause between two of those before something is stored, in ms. */
const LOOK_PAUSE_MS = 250;

/** Pause before trying again to write down what others made, in ms. */
const SETTLE_RETRY_MS = 500;

/** Nothing of what was known is there, and other files are. */
const ANOTHER = "the replica is another one by now";

/** What a file of the log cannot be read for and is there all the same. */
const TRANSIENT_CODES = new Set(["EMFILE", "ENFILE", "ENOMEM", "EAGAIN"]);

/** Pages whose file is made in memory before it is stored, in bytes; of more it is stored as it is made. */
const COLLECTED_MAX = 16 * 1024 * 1024;

/** The replica that is written to, as its core holds it. */
export interface Written {
  readonly position: bigint;
  /** What page 1 of the newest state has, as stored. */
  head(): Promise<DatabaseHead>;
  /** Files that make it up, and others that are known. */
  known(): Iterable<ReplicaFile>;
  /** Lists all levels. */
  list(): Promise<ReplicaFile[]>;
  /** Applies what others have stored. */
  refresh(): Promise<unknown>;
  /** Whether a file of another ETag has the same content still; undefined where nobody can tell. */
  isRewritten(known: ReplicaFile, listed: ReplicaFile): Promise<boolean | undefined>;
  /**
   * A file of ours is stored: it is the newest state, or, with later frames of the log, becomes it. `bytes` are its own
   * where they are in memory.
   */
  stored(file: ReplicaFile, bytes: Uint8Array | undefined, upTo: Stored): Promise<void>;
  /** From now on every transaction fails. */
  block(error: Error): void;
}

/** What of the log a stored file has. */
export interface Stored {
  /** The last frame; 0: the file is of another process's log. */
  readonly frame: number;
  /** What its state is known by to SQLite. */
  readonly stamp: number;
}

/** What a {@link Writer} works with. */
export interface WriterOptions {
  readonly native: Native;
  /** The shim's handle of the core. */
  readonly coreId: number;
  /** The shim's handle of the replica. */
  readonly replicaId: number;
  readonly store: WritableStore;
  /** What tells its place from all others. */
  readonly place: string;
  readonly layout: LayoutName;
  /** The folder that it is, where it is one. */
  readonly folder?: string | undefined;
  readonly replica: Written;
  /** Path of the log's files, less their endings. */
  readonly path: string;
  /** Where an earlier version kept them, under a name that other places may have as well. */
  readonly earlierPath?: string | undefined;
  /** Pause between uploads, in ms. */
  readonly syncIntervalMs: number;
  /** Bound on what waits to be stored, in bytes. */
  readonly unsyncedBytesMax: number;
  /** Writes even where another writer's transactions could be overwritten. */
  readonly isUnconditional: boolean;
  /** When the listing began that the newest state is made of, by the wall clock. */
  readonly listedMs: number;
  /** Whether the store makes an object only where there is none, as it is being found out; undefined where that is all the same. */
  readonly probing: Promise<ConditionProbe> | undefined;
  /** Whether the replica is compacted, too. */
  readonly isCompacting: boolean;
  /** Whether a lease is taken first. */
  readonly isLeased: boolean;
  readonly signal: AbortSignal;
  /** Does what the opening's time does not count for. */
  readonly uncounted: <T>(act: () => Promise<T>) => Promise<T>;
  /** Called when the shim has a writer: from now on states are published through it. */
  readonly onLocked: () => void;
  readonly onError: (error: Error) => void;
  /** Takes sentences for a person. */
  readonly onNotice: (text: string) => void;
}

/** Times of files and of the process may differ by so much, in ms. */
const CLOCK_MS = 2_000;

/** Of the bound on what waits to be stored: so much is much. */
const MUCH_SHARE = 8;

/** A TXID on its way to storage, and how far it has come: each step is done once. */
interface Upload {
  readonly sealed: Sealed;
  /** Set once it is stored. */
  stored?: {
    readonly file: ReplicaFile;
    readonly bytes: Uint8Array | undefined;
    readonly head: DatabaseHead;
  };
  /** Its state is the newest one. */
  isShown?: boolean;
}

/** Stores what is committed, one LTX file at a time. */
export class Writer {
  readonly #options: WriterOptions;
  readonly #shim: ShimWriter;
  readonly #lz4: Lz4;
  readonly #upkeep: Upkeep | undefined;
  #head: DatabaseHead = NEW_HEAD;
  #upload: Upload | undefined;
  #syncing: Promise<void> | undefined;
  #keeping: Promise<void> = Promise.resolve();
  #settling: Promise<void> | undefined;
  #attempt: Promise<void> = Promise.resolve();
  /** Others have stored a state since that was last begun. */
  #isFollowing = false;
  /** Why that has not come to its end yet. */
  #unsettled: Error | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #conflict: ConflictError | undefined;
  /** Another writer has gone on. */
  #isRival = false;
  /** It is written down. */
  #isKept = false;
  /** A file is on its way. */
  #isPutting = false;
  #lease: Lease | undefined;
  #lookedMs = 0;
  #activeMs = 0;
  #partsProbe = Promise.resolve("");
  #cleaning: Promise<unknown> = Promise.resolve();
  #tidying: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(options: WriterOptions) {
    const { native, replicaId, store } = options;
    this.#options = options;
    this.#shim = new ShimWriter(native, replicaId, store.name);
    this.#lz4 = shimLz4(native);
    if (options.isCompacting) {
      this.#upkeep = new Upkeep({
        ...options,
        store: new PurposeStore(store, "compact", unkept(store)),
        lz4: this.#lz4,
      });
    }
  }

  /**
   * Opens a replica for writing: takes the log's lock, stores what a process before committed and did not store.
   *
   * @throws {WriteLogError} another writer has the log, or it cannot be read or written
   * @throws {ConflictError} what it holds fits no more to what is stored
   */
  static async open(options: WriterOptions): Promise<Writer> {
    const writer = new Writer(options);
    const { path, replica, unsyncedBytesMax: bytesMax, place } = options;
    const base = await baseOf(place);
    await makeFolder(dirname(path));
    writer.#shim.open(path, { txid: replica.position + 1n, base, bytesMax });
    options.onLocked();
    try {
      await writer.#begin(base);
    } catch (error) {
      await writer.#unlock();
      throw error;
    }
    writer.#schedule();
    writer.#upkeep?.start();
    writer.#tidying = writer.#tidy();
    return writer;
  }

  async #begin(base: Uint8Array<ArrayBuffer>): Promise<void> {
    const { path, isLeased } = this.#options;
    if (isLeased) {
      this.#lease = await Lease.take({
        ...this.#options,
        onLost: (found) => void this.#fail(found),
      });
    }
    const recovery = await this.#recovery(base);
    const earlier = await this.#recoverEarlier(recovery, base);
    const own = await this.#lastStored();
    const before = later(earlier.before, own);
    const isUntouched = await this.#isUntouched(later(earlier.stored, own));
    await recoverLog(recovery);
    const stored = later(earlier.stored, await this.#lastStored());
    // Nobody is connected yet, so it is all the same which of them comes first; but of both failures the probe's says more.
    const settling = Promise.resolve(isUntouched || this.#catchUp(before, stored)).then(() => this.settle());
    for (const result of await Promise.allSettled([this.#probe(), settling])) {
      if (result.status === "rejected") throw result.reason;
    }
    for (const log of await listLogs(path)) await unlink(log);
    await this.#keepRoom();
    this.#looked();
  }

  /** The last TXID that is stored, by the base. One that is damaged is told where it is needed, by recoverLog(), and else written anew. */
  async #lastStored(): Promise<bigint> {
    return (await readBase(this.#options.path).catch(() => undefined))?.txid ?? 0n;
  }

  async #recovery(base: Uint8Array): Promise<RecoveryOptions> {
    const { path, store, place, isUnconditional, onNotice, uncounted } = this.#options;
    return {
      path,
      name: store.name,
      base,
      earlierBase: store.name === place ? undefined : await baseOf(store.name),
      isUnconditional,
      onNotice,
      list: (txid = 0n) => this.#listReaching(txid),
      // How long it takes depends on its size, and by that storage bounds it: cut short, it would begin anew each time.
      put: async (recovered) => (await uncounted(() => this.#put(recovered))).file,
    };
  }

  /** Stores what an earlier version left at its path, where nothing is at ours. */
  async #recoverEarlier(recovery: RecoveryOptions, base: Uint8Array<ArrayBuffer>): Promise<StoredBy> {
    const { earlierPath, path } = this.#options;
    if (earlierPath === undefined || (await listLogs(path)).length > 0) return NOTHING_STORED;
    return await recoverEarlierLog({ ...this.#options, ...recovery, path: earlierPath, base });
  }

  /**
   * Whether the listing has what whoever had this log has `stored`, the last TXID, and nobody can have stored more since. Where
   * nothing tells what is stored, one listing does not, either: it may lack the last files.
   */
  async #isUntouched(stored: bigint): Promise<boolean> {
    const { path, replica, listedMs, isLeased } = this.#options;
    if (isLeased || stored === 0n || stored > replica.position) return false;
    if ((await listLogs(path)).length > 0) return false;
    const storedMs = await lastStoredMs(path);
    return storedMs < listedMs - CLOCK_MS;
  }

  /**
   * Looks for what was stored since; again where a listing lacks what is known to be there. What was stored `before` may be
   * deleted for good, which its name tells; what the recovery has just `stored` is not.
   */
  async #catchUp(before: bigint, stored: bigint): Promise<void> {
    const { replica, store, signal, onNotice } = this.#options;
    const wanted = stored > before ? stored : before;
    for (let look = 1;; look++) {
      await replica.refresh();
      if (look === LOOKS_MAX || replica.position >= wanted) break;
      await sleep(LOOK_PAUSE_MS, signal);
    }
    if (replica.position >= wanted) return;
    if (stored > before || await this.#isStored(before)) throw unseen(store.name, replica.position, wanted);
    onNotice(
      `The newest state in ${store.name} is TXID ${
        formatTxid(replica.position)
      }, although this log's writer has ` +
        `stored TXID ${formatTxid(before)}: what was stored since is not there any more`,
    );
  }

  /** Whether a file that ends at a TXID, by the base, is there as it was. */
  async #isStored(txid: bigint): Promise<boolean> {
    const base = await readBase(this.#options.path).catch(() => undefined); // one that is damaged tells nothing
    for (const file of base?.files.filter(({ maxTxid }) => maxTxid === txid) ?? []) {
      if (await this.#isThere(file)) return true;
    }
    return false;
  }

  /** Whether a file can be read as it was. */
  async #isThere(file: ReplicaFile): Promise<boolean> {
    const { store, signal } = this.#options;
    try {
      await store.read(file, { offset: 0, size: 1 }, { signal, isFresh: true });
      return true;
    } catch (error) {
      if (error instanceof ObjectGoneError || mayMeanAbsent(error)) return false;
      throw error;
    }
  }

  /** Removes what killed processes have left in a folder; nobody waits for it. */
  async #tidy(): Promise<void> {
    const { folder, onNotice } = this.#options;
    if (folder === undefined) return;
    try {
      const { removeLeftUploads } = await import("../storage/left_uploads.ts");
      await removeLeftUploads(folder);
    } catch (error) {
      onNotice(`Unfinished files of killed processes are left in "${folder}": ${(error as Error).message}`);
    }
  }

  /** Without conditions nothing keeps two writers from overwriting each other's transactions. */
  async #probe(): Promise<void> {
    const { probing } = this.#options;
    if (probing === undefined) return;
    const found = this.#noteProbe(await probing);
    if (found === "") return;
    await this.#cleaning;
    throw this.#unconditional(found);
  }

  #unconditional(found: string): ReplicaError {
    return new ReplicaError(
      `Cannot write to ${this.#options.store.name}: it does not keep to If-None-Match (${found}), so another writer's ` +
        "transactions could be overwritten; the option allowUnconditional writes all the same",
    );
  }

  /** Gives what it found of whole objects; what of parts is awaited later. */
  #noteProbe({ found, foundOfParts, leftover }: ConditionProbe): string {
    this.#partsProbe = foundOfParts;
    this.#cleaning = leftover.then((error) => error && this.#options.onNotice(error.message));
    return found;
  }

  /** The same once more: storage was not well when the replica was opened. */
  async #probeAgain(): Promise<string> {
    const { store, signal } = this.#options;
    const found = this.#noteProbe(await probeConditions(store, { signal, purpose: "write" }));
    return found || await this.#partsProbe;
  }

  /** What was found out since the opening, before anything is stored. */
  async #checkParts(): Promise<void> {
    const found = await this.#partsProbe.catch(() => this.#probeAgain());
    if (found === "") return;
    const error = this.#unconditional(found);
    this.#end(error);
    throw error;
  }

  /**
   * Writes down what the newest state is, which this writer may not have made: what is written on top of it could not be
   * recovered else. No transaction writes before.
   */
  async settle(): Promise<void> {
    const { replica } = this.#options;
    for (let txid = -1n; txid !== replica.position;) {
      txid = replica.position;
      this.#head = txid === 0n ? NEW_HEAD : await replica.head();
      await this.#keepBase();
    }
    this.#shim.settle(replica.position + 1n);
  }

  /** The same when others have stored a state that is followed; tried until it is done. */
  follow(): void {
    this.#isFollowing = true;
    this.#settling ??= this.#settleAtLast().finally(() => {
      this.#settling = undefined;
      if (this.#isFollowing && !this.#closed && this.#conflict === undefined) this.follow();
    });
  }

  /**
   * Waits for that.
   *
   * @throws why it has failed so far
   */
  async settled(): Promise<void> {
    while (this.#settling && !this.#unsettled) await this.#attempt.catch(() => {});
    if (this.#settling && this.#unsettled) throw this.#unsettled;
  }

  async #settleAtLast(): Promise<void> {
    let told = "";
    while (!this.#closed && this.#conflict === undefined) {
      try {
        this.#isFollowing = false;
        this.#attempt = this.settle().catch((error) => {
          this.#unsettled = error;
          throw error;
        });
        await this.#attempt;
        this.#unsettled = undefined;
        return;
      } catch (error) {
        const { message } = error as Error;
        if (message !== told) this.#options.onError(error as Error);
        told = message;
        await new Promise((resolve) => setTimeout(resolve, SETTLE_RETRY_MS));
      }
    }
  }

  /** Writes the base, and keeps room for the next one. */
  #keepBase(): Promise<void> {
    const { replica, path } = this.#options;
    return this.#keepInTurn(async () => {
      const files = [...new Map([...replica.known()].map((file) => [file.key, file])).values()];
      if (this.#conflict) return; // the base stays what the log is on top of
      await writeBase(path, { txid: replica.position, head: this.#head, files });
      await keepRoom(path);
    });
  }

  #keepRoom(): Promise<void> {
    return this.#keepInTurn(() => keepRoom(this.#options.path));
  }

  /** One after the other: they are of one file. */
  #keepInTurn(act: () => Promise<void>): Promise<void> {
    const kept = this.#keeping.then(act);
    this.#keeping = kept.catch(() => {});
    return kept;
  }

  // --------------------------------------------------------------------------------------------------- storing

  /**
   * Stores all that is committed by now.
   *
   * @throws {ConflictError} another writer has stored something since
   * @throws {StorageError} it cannot be stored right now; it is tried again
   */
  async sync(): Promise<void> {
    if (this.#conflict) throw this.#conflict;
    while (this.#syncing) await this.#syncing.catch(() => {});
    this.#syncing = this.#syncAll().finally(() => this.#syncing = undefined);
    await this.#syncing.finally(() => this.#keeping); // a conflict is written down before it is told
  }

  async #syncAll(): Promise<void> {
    if (this.#conflict) throw this.#conflict;
    const wanted = this.#state().frame;
    for (let reached = 0; reached < wanted;) {
      this.#upload ??= await this.#seal();
      if (this.#upload === undefined) return;
      await this.#store(this.#upload);
      reached = this.#upload.sealed.frame;
      this.#upload = undefined;
    }
  }

  /**
   * How far the log is.
   *
   * @throws {ReplicaClosedError} it was closed by force: nothing more is known of it, nor stored
   */
  #state(): LogState {
    const { store, path } = this.#options;
    const state = this.#shim.state();
    if (state) return state;
    throw new ReplicaClosedError(
      `Cannot store what was committed in ${store.name}: the replica was closed; it is kept in "${path}.*"`,
    );
  }

  async #seal(): Promise<Upload | undefined> {
    const sealed = await this.#shim.seal();
    return sealed && { sealed };
  }

  async #store(upload: Upload): Promise<void> {
    const { replica } = this.#options;
    const { sealed } = upload;
    upload.stored ??= await this.#putSealed(sealed);
    if (!upload.isShown) {
      this.#head = upload.stored.head;
      const { file, bytes } = upload.stored;
      try {
        await replica.stored(file, bytes, sealed);
      } catch (cause) {
        const isGone = cause instanceof ObjectGoneError;
        if (!isGone && !(cause instanceof LtxFormatError)) throw cause; // an outage passes: it is gone on with from here
        if (isGone && await this.#isListed(file)) throw this.#unshown(file, cause);
        throw this.#lost(`what was stored cannot be shown: ${cause.message}`);
      }
      upload.isShown = true;
    }
    if (this.#conflict) throw this.#conflict; // what the base is not told of stays in the log
    await this.#keepBase();
    await this.#unlinkUpTo(sealed.txid);
    await this.#keepRoom(); // where there was none before
  }

  /** Whether it is there as it was stored: answers that it is gone need not be true, nor listings without it. */
  async #isListed(file: ReplicaFile): Promise<boolean> {
    const { replica, signal } = this.#options;
    for (let look = 1;; look++) {
      if (compareFiles([file], await replica.list()).isSame || await this.#isThere(file)) return true;
      if (look === LOOKS_MAX) return false;
      await sleep(LOOK_PAUSE_MS, signal);
    }
  }

  #unshown({ key }: ReplicaFile, cause: ObjectGoneError): StorageError {
    return new StorageError(
      `Cannot show what was stored in ${this.#options.store.name}: "${key}" is listed, and a read finds it gone; it is tried again`,
      { key, status: cause.status, code: cause.code, retryable: true, cause },
    );
  }

  async #putSealed(sealed: Sealed): Promise<NonNullable<Upload["stored"]>> {
    const read = await this.#readSealed(sealed);
    const head = headAfter(this.#head, read.logged.transactions);
    const wasSilent = this.#isSilent(Date.now());
    await this.#look(sealed.txid);
    if (wasSilent) this.#lookedMs = 0; // one listing may lack what others stored meanwhile: it is looked at once more
    try {
      const stored = await this.#put({ ...read, head });
      if (this.#conflict) this.#lookedMs = 0; // which of both came first
      // The machine may have slept meanwhile, and others have gone on as if this file were not.
      await this.#look(sealed.txid);
      if (this.#conflict) throw await this.#withoutRival(this.#conflict);
      return { ...stored, head };
    } catch (error) {
      if (!(error instanceof ObjectExistsError)) throw error;
      throw this.#rival(`another writer stored TXID ${formatTxid(sealed.txid)}`, error);
    }
  }

  /** A conflict, such as a lost lease, after which nobody has gone on: what the log has can be stored by the next opening. */
  async #withoutRival(conflict: ConflictError): Promise<ConflictError> {
    await this.#keepInTurn(async () => {
      if (this.#isRival) return;
      this.#isKept = false;
      await keepConflict(this.#options.path, undefined);
    });
    return conflict;
  }

  /** What was sealed, all of it: the log is on a disk that others can get at. */
  async #readSealed({ txid, log: number, end }: Sealed): Promise<Pick<LoggedFile, "log" | "logged">> {
    const path = `${this.#options.path}.${number}`;
    try {
      const log = await readLog(path, { end });
      const logged = log?.txids.find((found) => found.txid === txid);
      if (log?.end === end && logged !== undefined) return { log, logged };
    } catch (error) {
      const { code } = ((error as Error).cause ?? {}) as { code?: string };
      if (code !== undefined && TRANSIENT_CODES.has(code)) throw error;
      throw this.#lost((error as Error).message);
    }
    throw this.#lost(`write log "${path}" lacks what was committed as TXID ${formatTxid(txid)}`);
  }

  /** Stores a TXID; gives its bytes as well where they were in memory. */
  async #put(of: Pick<LoggedFile, "log" | "logged" | "head">) {
    const { store, layout, signal, isUnconditional } = this.#options;
    const { txid, timeMs } = of.logged;
    await this.#checkParts();
    await this.#lease?.hold();
    if (this.#conflict) throw this.#conflict;
    await syncLog(of.log.path);
    const range = { minTxid: txid, maxTxid: txid };
    const options: PutOptions = { signal, timestampMs: timeMs, replace: isUnconditional };
    const key = ltxKey(layout, 0, formatLtxFileName(range));
    const logged: LoggedFile = { ...of, lz4: this.#lz4, signal };
    const bytes = loggedSize(of) > COLLECTED_MAX ? undefined : await collectLogged(logged);
    this.#isPutting = true;
    const putting = bytes
      ? store.put(key, bytes, options)
      : store.putChunks(key, () => encodeLogged(logged), { ...options, sizeEstimate: loggedSize(of) });
    const stored = await putting.finally(() => this.#isPutting = false);
    return { file: { ...stored, level: 0, ...range } satisfies ReplicaFile, bytes };
  }

  /** Files of the log all of whose TXIDs are stored. */
  async #unlinkUpTo(txid: bigint): Promise<void> {
    const { path } = this.#options;
    const { log: newest, isOpen } = this.#state();
    for (const name of await listLogs(path)) {
      const number = Number(name.slice(path.length + 1));
      if (number > newest || (isOpen && number === newest)) continue;
      const last = (await readLog(name))?.txids.at(-1)?.txid ?? 0n;
      if (last <= txid) await unlink(name);
    }
  }

  // ------------------------------------------------------------------------------------------------- conflicts

  #looked(): void {
    this.#lookedMs = this.#activeMs = Date.now();
  }

  /** Whether others may have gone on since something was stored. */
  #isSilent(now: number): boolean {
    return Math.abs(now - this.#activeMs) >= LOOK_AFTER_MS;
  }

  /** A writer that slept may have been followed by another one, whose files are compacted by now. */
  async #look(txid: bigint): Promise<void> {
    const now = Date.now();
    const isFresh = !this.#isSilent(now) && now - this.#lookedMs < LOOK_EVERY_MS;
    if (isFresh) {
      this.#activeMs = now;
      return;
    }
    this.#lookedMs = 0; // one that fails is taken again, however soon
    const rival = (files: readonly ReplicaFile[]) => this.#rivalOf(files, txid);
    const listed = await listSurely(
      () => this.#listReaching(txid - 1n),
      (files) => rival(files) !== undefined,
    );
    const found = rival(listed);
    if (found !== undefined) throw this.#rival(found);
    await this.#checkChanged(listed, txid);
    this.#checkReach(listed, txid - 1n);
    this.#looked();
  }

  /** By what names tell, what others have done that stores `txid` no more; undefined where they tell nothing of the kind. */
  #rivalOf(listed: readonly ReplicaFile[], txid: bigint): string | undefined {
    const { replica } = this.#options;
    // Our own, where its answer was lost, is known again when it is put: of that name, its bytes tell.
    const least = isStoredAlone(listed, txid) ? txid + 1n : txid;
    const other = listed.find((file) => file.maxTxid >= least);
    if (other) return `another writer stored TXID ${formatTxid(other.maxTxid)} ("${other.key}")`;
    const { isSame, changed } = compareFiles(replica.known(), listed);
    return isSame || changed.length > 0 || this.#isAllOurs(listed, txid) ? undefined : ANOTHER;
  }

  /** Of a new database nothing is known yet, and all that is there may be the file that is being stored. */
  #isAllOurs(listed: readonly ReplicaFile[], txid: bigint): boolean {
    return this.#options.replica.position === 0n || listed.every((file) => isAlone(file, txid));
  }

  /** What is another object than it was must have the content that it had. */
  async #checkChanged(listed: readonly ReplicaFile[], txid: bigint): Promise<void> {
    const { replica } = this.#options;
    const comparison = compareFiles(replica.known(), listed);
    let { isSame } = comparison;
    for (const { known, listed: now } of comparison.changed) {
      const isRewritten = await replica.isRewritten(known, now);
      isSame ||= isRewritten === true;
      if (isRewritten === false) throw this.#rival(`another writer has replaced "${now.key}"`);
    }
    if (!isSame && !this.#isAllOurs(listed, txid)) throw this.#rival(ANOTHER);
  }

  /**
   * What is there must lead up to what is stored next: else that would be stored for nobody, and the log be given up for it.
   * A listing may be stale, so it is no conflict.
   */
  #checkReach(listed: readonly ReplicaFile[], txid: bigint): void {
    const { store, path } = this.#options;
    const found = txid === 0n ? 0n : reachOf(listed);
    if (typeof found === "bigint" && found >= txid) return;
    const reach = typeof found === "bigint" ? `its files end at TXID ${formatTxid(found)}` : found.message;
    throw new StorageError(
      `Cannot store TXID ${
        formatTxid(txid + 1n)
      } in ${store.name}: ${reach}, expected what was stored up to ` +
        `${formatTxid(txid)}; what was committed since is kept in "${path}.*" and tried again`,
      {
        key: "",
        status: 0,
        code: "Incomplete",
        retryable: true,
        cause: typeof found === "bigint" ? undefined : found,
      },
    );
  }

  /** Lists all levels; again where the listing does not reach a TXID that was stored, as one that is late, or was torn. */
  async #listReaching(txid: bigint): Promise<ReplicaFile[]> {
    const { replica, signal } = this.#options;
    for (let look = 1;; look++) {
      const listed = await replica.list();
      const found = txid === 0n ? 0n : reachOf(listed);
      if (look === LOOKS_MAX || (typeof found === "bigint" && found >= txid)) return listed;
      await sleep(LOOK_PAUSE_MS, signal);
    }
  }

  /** Another database has taken the replica's place, or others have stored a state while ours waits. */
  conflict(found: string, isRival: boolean): ConflictError {
    return isRival ? this.#rival(found) : this.#fail(found);
  }

  /**
   * Another writer has gone on. That is written down: a file of ours that came late into a gap of its history looks as if it
   * were stored.
   */
  #rival(found: string, cause?: Error): ConflictError {
    this.#isRival = true;
    if (!this.#isKept) this.#keepConflict(found);
    return this.#fail(found, cause);
  }

  #keepConflict(found: string): void {
    const { path, onError } = this.#options;
    this.#isKept = true;
    void this.#keepInTurn(() => keepConflict(path, found)).catch(onError);
  }

  #fail(found: string, cause?: Error): ConflictError {
    if (this.#isPutting && !this.#isKept) this.#keepConflict(found); // it may come into a gap
    const { path, store, replica } = this.#options;
    const waiting = `TXID ${formatTxid(this.#upload?.sealed.txid ?? replica.position + 1n)}`;
    this.#conflict ??= new ConflictError(
      `Cannot store ${waiting} in ${store.name}: ${found}; what was committed since is kept in "${path}.*"`,
      cause ? { cause } : {},
    );
    this.#end(this.#conflict);
    return this.#conflict;
  }

  #lost(found: string): WriteLogError {
    const error = new WriteLogError(`Cannot go on writing to ${this.#options.store.name}: ${found}`);
    this.#end(error);
    return error;
  }

  /** Every transaction fails from now on. */
  #end(error: Error): void {
    this.#options.replica.block(error);
    this.#shim.end(error);
    this.#upkeep?.stop();
  }

  /** Whether a file from `txid` on may be one that is being stored right now. */
  isStoring(txid: bigint): boolean {
    return this.#upload !== undefined && txid >= this.#upload.sealed.txid;
  }

  // --------------------------------------------------------------------------------------------------- running

  #schedule(): void {
    const { syncIntervalMs } = this.#options;
    if (this.#closed || syncIntervalMs === 0) return;
    this.#timer = setTimeout(async () => {
      await this.#syncQuietly();
      this.#schedule();
    }, syncIntervalMs);
  }

  async #syncQuietly(): Promise<void> {
    try {
      if (!this.#conflict && this.#isWaiting()) await this.sync();
    } catch (error) {
      if (!this.#closed) this.#options.onError(error as Error);
    }
  }

  #isWaiting(): boolean {
    return this.#upload !== undefined || (this.#shim.state()?.pending ?? 0) > 0;
  }

  /** Where much waits to be stored, it need not wait for its time. */
  nudge(): void {
    const { pendingBytes = 0 } = this.#shim.state() ?? {};
    const isMuch = pendingBytes > this.#options.unsyncedBytesMax / MUCH_SHARE;
    if (isMuch && !this.#closed && !this.#syncing) this.#syncQuietly();
  }

  /**
   * Ends the transactions that are under way, stores what is left and gives the log up.
   *
   * @throws what {@link sync} throws: the log is kept then
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    try {
      await this.#upkeep?.stop();
      this.#shim.end(new ReplicaClosedError("Cannot write: the replica was closed"));
      await this.#shim.idle();
      while (this.#isWaiting()) await this.sync();
    } finally {
      await this.#unlock();
    }
  }

  async #unlock(): Promise<void> {
    const { onNotice } = this.#options;
    await this.#cleaning.catch(() => {}); // what is left there is seen by its name
    await this.#tidying;
    await this.#lease?.release().catch((error) => onNotice(`The lease is left to expire: ${error.message}`));
    await this.#keeping; // nobody else has the log before
    await this.#shim.close();
  }
}

/** The last TXID that files lead to, or why they lead to none. */
function reachOf(listed: readonly ReplicaFile[]): bigint | RestorePlanError {
  try {
    return makeRestorePlan(listed).at(-1)!.maxTxid;
  } catch (error) {
    if (error instanceof RestorePlanError) return error;
    throw error;
  }
}

/** What each file of the log of a replica at `place` has: by it a log is known again that nothing is stored of. */
async function baseOf(place: string): Promise<Uint8Array<ArrayBuffer>> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(place));
  return new Uint8Array(hash, 0, BASE_SIZE);
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    const found = (cause as Error).message;
    throw new WriteLogError(`Cannot keep a write log in "${path}": ${found}`, { cause });
  }
}

const later = (one: bigint, other: bigint): bigint => one > other ? one : other;
