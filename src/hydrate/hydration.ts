/**
 * Hydration: a replica's newest state brought to a local file in the background, and kept up there.
 *
 * @module
 */
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { cString, type Native } from "../../ffi/native.ts";
import {
  LocalFileError,
  LtxFormatError,
  ObjectGoneError,
  ReplicaClosedError,
  ReplicaError,
} from "../errors.ts";
import { temporaryFolder } from "../drivers/permissions.ts";
import { compareFiles } from "../follow/continuity.ts";
import { readLagMs } from "../live/stale_watch.ts";
import type { State } from "../live/states.ts";
import { formatTxid, storedPageCount } from "../ltx/txid.ts";
import { Pace } from "../pace.ts";
import { sleep } from "../sleep.ts";
import type { ByteRange, ObjectIdentity, ObjectStore } from "../storage/object_store.ts";
import { Suspects } from "../storage/second_reading.ts";
import type { PlanFile } from "../view/plan_file.ts";
import type { ReplicaFile } from "../view/restore_plan.ts";
import { viewInfo } from "../view/view_info.ts";
import { BegunFile, goesOn } from "./begun_file.ts";
import { catchUpPlan } from "./catch_up_plan.ts";
import { assertOwn } from "./copy_place.ts";
import { type HydrationRecord, readRecord, removeRecord, writeRecord } from "./hydration_record.ts";
import type { LeftCopy } from "./left_copy.ts";
import { LocalFile } from "./local_file.ts";
import { type CheckedPart, isSameFile, Transfer } from "./transfer.ts";

/** How often a copy that another process has is asked for, in ms. */
const TAKEN_RETRY_MS = 5_000;

/** How often the same damage comes before it is the file's, and how much different one on the way, before the copy is whole. */
const DAMAGE_TIMES = 4;
const DAMAGES_MAX = 16;

/** Pauses before what has failed is tried again, and before pages that a reader keeps are looked at again, in ms. */
const RETRY_MS = { least: 250, most: 30_000 } as const;
const BLOCKED_MS = { least: 50, most: 2_000 } as const;

/** How long the last transactions may take at the end, and how often it is looked, in ms. */
const CLOSE_MS = 2_000;
const SETTLED_LOOK_MS = 10;

/** What was applied is written down at most this often, and that the replica was seen, in ms. */
const RECORD_MS = 5_000;
const SEEN_MS = 60_000;

/** Whoever opens goes on to a first statement, which comes before what it is to spare others; in ms. */
const HEAD_START_MS = 20;

/** How long each request waits for readers that wait, in ms. */
const QUIET_MS = 50;

/** Files of a level that a copy's replica is known by. */
const RECORDED_FILES = 64;

/** Share of the pages after which those that came are read from the file. */
const PUBLISH_SHARE = 1 / 10;

/** How far a local copy is; `LS_HYDRATION_…` in `ffi/shim.h`. */
const PHASE = { none: 0, underWay: 1, whole: 2, failed: 3 } as const;

/** How a replica is hydrated. */
export interface HydrationOptions {
  /** Where the copy is kept; a private file that ends with the process unless given. */
  readonly path: string | undefined;
}

/** The replica that is hydrated. */
export interface Hydrated {
  /** The newest state. */
  readonly newest: State | undefined;
  /** Files that are known to be the replica's. */
  known(): Iterable<ReplicaFile>;
  /** Has nobody else change what the newest state is meanwhile. */
  exclusively<T>(act: () => Promise<T>): Promise<T>;
  /** Publishes the newest state with other places for some of its pages; only while nobody else changes it. */
  relocate(enter: (mapId: number) => Promise<void>): Promise<void>;
  /** Opens files and has `act` make something of them. */
  use(files: readonly ReplicaFile[], act: (files: PlanFile[]) => Promise<void>): Promise<void>;
  /** Resolves when no reader waits for a page, after `ms` at most. */
  quiet(ms: number): Promise<void>;
  /** Applies all that is in storage now, by a look that begins now. */
  refresh(): Promise<void>;
  /** Looks where a view lies whose file is gone. */
  replan(viewId: number, cause: ObjectGoneError): Promise<void>;
  /** Has half of the room for pages be the copy's; gives its bytes. */
  leaveHalf(): number;
}

/** Where a hydration comes from, and who hears of it. */
export interface HydrationSource {
  readonly native: Native;
  readonly replicaId: number;
  /** What tells the replica's place from all others, without secrets. */
  readonly place: string;
  readonly store: Pick<ObjectStore, "read">;
  readonly replica: Hydrated;
  readonly onNotice: (text: string) => void;
  readonly onProgress: (progress: HydrationProgress) => void;
}

/** How far a local copy is. */
export interface HydrationProgress {
  /** Pages of the newest state that are read from it. */
  readonly pages: number;
  /** Pages of that state. */
  readonly pagesTotal: number;
  /** All of them are. */
  readonly isWhole: boolean;
  /** Why it was given up. */
  readonly error?: Error;
}

/** Keeps the local copy of one replica. */
export class Hydration {
  readonly #source: HydrationSource;
  readonly #path: string | undefined;
  readonly #stopping = new AbortController();
  readonly #done: Promise<void>;
  #file: LocalFile | undefined;
  #wake: (() => void) | undefined;
  #isChanged = false;
  #phase: number = PHASE.none;
  #wholeTxid = 0n;
  /** Set once what is there may be newer than the record says. */
  #isRecordOpen = false;
  #recordedMs = -Infinity;
  /** The record says that no page is newer; 0n: it is to be written before any page is put. */
  #lastTxid = 0n;
  /** The file that is being read as a whole. */
  readonly #begun = new BegunFile();
  #record: HydrationRecord | undefined;
  /** Another database has taken the replica's place, or the file is of no use any more: it is left before it is made anew. */
  #isStale = false;
  #losses = 0;
  /** A look has found that the copy which was left is ahead of storage. */
  #wasAhead = false;
  /** How often what came damaged since the copy was whole, by its words. */
  readonly #damages = new Map<string, number>();
  /** How often what came damaged last. */
  #lastDamageTimes = 0;
  #suspects = new Suspects();

  /** Begins; with what a process before has left, where the newest state is made of it. */
  constructor(source: HydrationSource, { path }: HydrationOptions, left?: LeftCopy) {
    this.#source = source;
    this.#path = path;
    this.#file = left?.file;
    this.#record = left?.record;
    this.#tell(PHASE.underWay);
    this.#done = this.#run().catch((error) => this.#fail(error));
  }

  /** Whether all pages of the newest state are read from the copy. */
  get isWhole(): boolean {
    return this.#phase === PHASE.whole && !this.#isStale &&
      this.#wholeTxid === this.#source.replica.newest?.txid;
  }

  /** The newest state is another one. */
  changed(): void {
    this.#isChanged = true;
    if (this.#phase === PHASE.whole && !this.isWhole) this.#tell(PHASE.underWay);
    this.#wake?.();
  }

  /** The newest state may be another database's: nothing of the copy is of use to it. */
  replaced(): void {
    this.#isStale = true;
    this.#wholeTxid = 0n;
    this.changed();
  }

  /** Has a map of the content that a view shows name what that view has in the copy. */
  async enterFrom(mapId: number, viewId: number): Promise<void> {
    if (!this.#isStale) await this.#file?.copy(mapId, viewId);
  }

  /** A reader could not read the copy: nobody is led there any more, it is made anew with the next change. */
  lost(): void {
    if (this.#file === undefined || this.#isStale) return; // several readers find it out at once
    this.#source.onNotice(`Local copy "${this.#file.path}" cannot be read: it is made anew`);
    this.#isStale = true;
    this.#losses++;
    this.#wholeTxid = 0n;
    if (this.#phase === PHASE.whole) this.#tell(PHASE.underWay); // it may have to wait for who reads the old file
  }

  /** Before it is closed: where it was whole it is brought up to date, if that is soon done. */
  async settle(): Promise<void> {
    if (this.#wholeTxid > 0n && !this.#isWholeOrOver) await this.#settled(CLOSE_MS);
  }

  /** Ends it, what it waits for having ended; what is there is kept for the next process. */
  async close(): Promise<void> {
    this.#stopping.abort(new ReplicaClosedError("Cannot hydrate: the replica was closed"));
    this.#wake?.();
    await this.#done;
    try {
      if (this.#path !== undefined && this.isWhole) await this.#keepRecord();
    } catch (error) {
      this.#source.onNotice(`What the local copy has is not written down: ${(error as Error).message}`);
    } finally {
      await this.#begun.close();
      this.#file?.close();
      this.#file = undefined;
    }
  }

  // --------------------------------------------------------------------------------------------------- running

  get #isWholeOrOver(): boolean {
    return this.isWhole || this.#phase === PHASE.failed;
  }

  /** Waits until it is whole, for `ms` at most. */
  async #settled(ms: number): Promise<void> {
    const untilMs = performance.now() + ms;
    this.changed();
    while (!this.#isWholeOrOver && performance.now() < untilMs) {
      await new Promise((resolve) => setTimeout(resolve, SETTLED_LOOK_MS));
    }
  }

  get #isClosed(): boolean {
    return this.#stopping.signal.aborted;
  }

  async #run(): Promise<void> {
    let waitMs = 0;
    await this.#sleep(HEAD_START_MS);
    while (!this.#isClosed) {
      this.#isChanged = false;
      try {
        const { blocked } = await this.#step();
        waitMs = blocked ? Math.min(Math.max(waitMs, BLOCKED_MS.least) * 2, BLOCKED_MS.most) : 0;
      } catch (error) {
        if (this.#isClosed) return;
        if (error instanceof LocalFileError && error.isTaken) waitMs = TAKEN_RETRY_MS;
        else if (error instanceof LocalFileError || error instanceof LtxFormatError) throw error;
        else waitMs = Math.min(Math.max(waitMs, RETRY_MS.least) * 2, RETRY_MS.most);
        this.#notice(error as Error);
      }
      if (!this.#isChanged) await this.#sleep(waitMs);
    }
  }

  #told = "";

  #notice({ message }: Error): void {
    if (message !== this.#told) this.#source.onNotice(`The local copy has to wait: ${message}`);
    this.#told = message;
  }

  /** Until something changes; for `ms` at most where that is not 0. */
  async #sleep(ms: number): Promise<void> {
    if (this.#isClosed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms || (this.#isRecordOpen ? RECORD_MS : SEEN_MS));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }

  /** Brings what is lacking of the newest state, as far as nobody's view is in the way. */
  async #step(): Promise<{ blocked: boolean }> {
    const { native, replica } = this.#source;
    if (this.#isStale && !await this.#hasLeft()) return { blocked: false }; // what it was found by may not have come so far
    const state = replica.newest;
    if (state === undefined || state.files.length === 0) return { blocked: false };
    if (native.calls.ls_view_hold(state.viewId) < 0) return { blocked: false };
    try {
      await this.#prepare(state);
      if (this.#file && !this.#isBegunIn(state)) await this.#giveUpBegun(state);
      if (!this.#isStale && this.#file) return await this.#bring(state);
      this.#isChanged = true;
      return { blocked: false };
    } catch (error) {
      await this.#mend(error as Error, state);
      this.#isChanged = true;
      return { blocked: false };
    } finally {
      native.calls.ls_view_release(state.viewId);
    }
  }

  /** Leads readers back to storage; false where what that reads came damaged, and it is to be tried again. */
  async #hasLeft(): Promise<boolean> {
    try {
      await this.#leave();
      return true;
    } catch (error) {
      this.#countDamage(error);
      await this.#pauseAfterDamage();
      this.#isChanged = true;
      return false;
    }
  }

  /** Does what has the next step succeed; throws what nothing can be done about. */
  async #mend(error: Error, state: State): Promise<void> {
    if (error instanceof ObjectGoneError) {
      if (this.#isStale) return;
      const { replica } = this.#source;
      await replica.replan(state.viewId, error); // what was begun of a file that is not the newest state's then is given up
      if (replica.newest?.files.some(({ file }) => file.key === error.key)) throw error; // it is there: after a pause
      return;
    }
    if (error instanceof LocalFileError && error.isCut) {
      this.lost();
      return await this.#leave();
    }
    this.#countDamage(error);
    this.#source.onNotice(`The local copy is made anew: ${error.message}`);
    await this.#drop().catch((error) => this.#countDamage(error)); // the next step leaves it
    await this.#pauseAfterDamage();
  }

  /**
   * Notes that something came damaged; throws it where that is enough. Bytes may be damaged on their way, and in the same way twice:
   * a server may give those of another place for a while. A damaged file gives no others.
   */
  #countDamage(error: unknown): void {
    if (!(error instanceof LtxFormatError)) throw error;
    this.#lastDamageTimes = (this.#damages.get(error.message) ?? 0) + 1;
    this.#damages.set(error.message, this.#lastDamageTimes);
    this.#suspects.note(error);
    if (this.#lastDamageTimes === DAMAGE_TIMES || this.#damages.size > DAMAGES_MAX) throw error;
  }

  /** However often the replica changes meanwhile: what damages bytes may last a while. */
  #pauseAfterDamage(): Promise<void> {
    const count = Math.max(this.#lastDamageTimes, this.#damages.size);
    return sleep(Math.min(RETRY_MS.least * 2 ** (count - 1), RETRY_MS.most), this.#stopping.signal);
  }

  async #bring(state: State): Promise<{ blocked: boolean }> {
    const { native, replica, store } = this.#source;
    const file = this.#file!;
    const info = viewInfo(native, state.viewId)!;
    const step = Math.max(1, Math.floor(info.commit * PUBLISH_SHARE));
    let next = step;
    const transfer = new Transfer({
      native,
      file,
      viewId: state.viewId,
      read: (of, range) => this.#read(store, of, range),
      pace: new Pace(this.#stopping.signal),
      before: () => this.#openRecord(state, info),
      after: async (pages) => {
        if (pages < next) return;
        next = pages + step;
        await this.#publish();
      },
      isVain: () => this.#isStale,
      checked: this.#begun.part,
      onChecked: (part) => this.#writes(this.#begun.came(part, this.#isTakenOver(part, state))),
    });
    const blocked = await transfer.run(state.files);
    if (this.#isStale) return { blocked: false };
    if (blocked > 0) {
      await this.#publish();
      return { blocked: true };
    }
    file.putFirst();
    if (!file.truncate(info.commit)) return { blocked: true };
    await this.#publish();
    if (replica.newest?.stamp !== state.stamp || this.#isStale) return { blocked: false };
    const { pages, pagesTotal } = this.#progress();
    if (pages < pagesTotal) return { blocked: true }; // it was led to other files, whose pages nobody has asked for
    await this.#whole(state);
    return { blocked: false };
  }

  /** What readers wait for goes first. */
  async #read(store: Pick<ObjectStore, "read">, of: ObjectIdentity, range: ByteRange): Promise<Uint8Array> {
    await this.#source.replica.quiet(QUIET_MS);
    const { signal } = this.#stopping;
    const { bytes } = await store.read(of, range, { signal, ...this.#suspects.reading(of.key) });
    return bytes;
  }

  /** Has readers of the newest state take what has come from the file. */
  async #publish(): Promise<void> {
    const { replica } = this.#source;
    await replica.exclusively(async () => {
      if (this.#isStale || this.#isClosed) return;
      await replica.relocate((mapId) => this.#file!.enter(mapId));
      this.#begun.shown();
    });
    this.#tell(PHASE.underWay);
    if (this.#wholeTxid === 0n) this.#report();
  }

  async #whole({ txid }: State): Promise<void> {
    const isFirst = this.#wholeTxid === 0n;
    this.#wholeTxid = txid;
    this.#damages.clear();
    this.#suspects = new Suspects();
    this.#tell(PHASE.whole);
    if (isFirst) {
      this.#report();
      this.#file!.keepWarm(this.#source.replica.leaveHalf());
    }
    const ageMs = performance.now() - this.#recordedMs;
    if (ageMs >= (this.#isRecordOpen ? RECORD_MS : SEEN_MS)) await this.#keepRecord();
  }

  // -------------------------------------------------------------------------------------------------- preparing

  /** Opens the file, and takes over what a process before has left of use; not where that may be of use to a newer state. */
  async #prepare(state: State): Promise<void> {
    const { native, replicaId } = this.#source;
    if (this.#isStale) await this.#discard();
    if (this.#file !== undefined) return;
    const { pageSize } = viewInfo(native, state.viewId)!;
    const path = this.#path;
    this.#file = path === undefined
      ? await openPrivate(native, replicaId, pageSize)
      : await this.#open(path, state, pageSize);
    this.#tell(PHASE.underWay);
  }

  async #open(path: string, state: State, pageSize: number): Promise<LocalFile | undefined> {
    const { native, replicaId } = this.#source;
    await assertOwn(path);
    const open = (keep: boolean) => new LocalFile(native, replicaId, { path, pageSize, keep, isPlain: true });
    const left = open(true); // what is there may be another process's until it is locked
    const isTaken = await closedUnless(left, () => this.#takeOver(left, path, state, pageSize));
    if (isTaken) return left;
    left.close();
    if (isTaken === undefined) return undefined;
    const file = open(false);
    await closedUnless(file, async () => {
      await removeRecord(path);
      await this.#writes(this.#begun.begin(path));
    });
    return file;
  }

  /** Takes over what a process before has left; false where it is of no use, undefined where it may be to the newest state. */
  async #takeOver(
    file: LocalFile,
    path: string,
    state: State,
    pageSize: number,
  ): Promise<boolean | undefined> {
    await this.#begun.close(); // of a taking over that failed
    const isLost = this.#losses > 0 || this.#damages.size > 0; // whatever it was, this process has given it up
    const record = isLost ? undefined : await readRecord(path);
    if (record === undefined || !await this.#isOf(record, pageSize)) return false;
    if (record.lastTxid > state.txid) return await this.#isAhead(record, state) ? false : undefined;
    const wasWhole = record.last !== undefined; // else part of it may be of a damaged file
    if (!wasWhole && !await this.#begun.resume(path)) return false;
    return await this.#resume(file, record, state);
  }

  async #discard(): Promise<void> {
    this.#isStale = false;
    this.#file?.close();
    this.#file = undefined;
    this.#record = undefined;
    this.#wholeTxid = 0n;
    this.#isRecordOpen = false;
    this.#lastTxid = 0n;
    await this.#begun.close();
    if (this.#losses > 1) throw new LocalFileError("Cannot hydrate: the local copy was lost twice");
  }

  /** Whether a copy that was left is surely of this replica. Where a listing has another tag for a file, the file itself tells. */
  async #isOf(record: HydrationRecord, pageSize: number): Promise<boolean> {
    const { place, replica } = this.#source;
    if (record.name !== place || record.pageSize !== pageSize) return false;
    const { isSame, changed } = compareFiles(record.files, [...replica.known()]);
    for (const { known } of changed) if (!await this.#isThere(known)) return false;
    return isSame || changed.length > 0;
  }

  /** Whether a file is there as it was. */
  async #isThere(file: ReplicaFile): Promise<boolean> {
    const { signal } = this.#stopping;
    try {
      await this.#source.store.read(file, { offset: 0, size: 1 }, { signal, isFresh: true });
      return true;
    } catch (error) {
      if (error instanceof ObjectGoneError) return false;
      throw error;
    }
  }

  /**
   * Whether a copy is ahead of the replica, too, by two looks in a row that begin now: who left the copy may just have seen more,
   * or the replica has lost that since.
   *
   * @throws {ReplicaError} nobody can tell now
   */
  async #isAhead({ lastTxid }: HydrationRecord, { txid }: State): Promise<boolean> {
    const { replica } = this.#source;
    const [has, seen] = [lastTxid, txid].map(formatTxid);
    await replica.refresh().catch((cause) => {
      throw new ReplicaError(
        `the copy has TXID ${has}, and storage, where ${seen} was seen last, cannot be looked at: ${cause.message}`,
        { cause },
      );
    });
    if ((replica.newest?.txid ?? 0n) >= lastTxid) {
      this.#wasAhead = false;
      return false;
    }
    if (this.#wasAhead) return true;
    this.#wasAhead = true; // one look alone may have lacked the last files
    throw new ReplicaError(
      `the copy has TXID ${has}, and storage ends at ${seen}, which is looked at once more`,
    );
  }

  /** Of pages that a later transaction may have written nothing is taken over, nor of those that are torn. */
  async #resume(file: LocalFile, record: HydrationRecord, state: State): Promise<boolean> {
    const { replica } = this.#source;
    const forget = async (files: readonly PlanFile[]) => {
      for (const of of files) await file.forget(of, this.#stopping);
    };
    const chain = catchUpPlan([...replica.known()], record.txid, state.txid);
    const isThere = chain && await isUsed(replica.use(chain, forget));
    if (!isThere) await forget(state.files.filter((of) => !of.closed && of.file.maxTxid > record.txid));
    await file.check(state.viewId, this.#stopping);
    if (!await this.#resumeBegun(file, state)) return false;
    this.#record = record;
    this.#isRecordOpen = true;
    this.#lastTxid = record.isWhole ? 0n : record.lastTxid;
    return true;
  }

  // ----------------------------------------------------------------------------------------------- a file's checksum

  /** Whether a process that comes later would take over what comes of a file, and so has to know how far it was checked. */
  #isTakenOver(part: CheckedPart, { files }: State): boolean {
    const of = files.find(({ file }) => isSameFile(file, part.file));
    return this.#record === undefined || of === undefined || of.file.minTxid <= this.#record.txid;
  }

  /** Goes on with the file that a process before has begun, or forgets it; false where neither is possible. */
  async #resumeBegun(local: LocalFile, state: State): Promise<boolean> {
    const { native } = this.#source;
    const { part } = this.#begun;
    const file = part && state.files.find(({ file, closed }) => !closed && this.#begun.is(file));
    if (part === undefined) return true;
    if (file === undefined) return await this.#forgetBegun(local, state);
    const place = { native, local, file, viewId: state.viewId, signal: this.#stopping.signal };
    if (!await goesOn(place, part)) await this.#writes(this.#begun.forgotten());
    return true;
  }

  /** Whether the file that was begun is one of a state's. */
  #isBegunIn({ files }: State): boolean {
    return files.some(({ file, closed }) => !closed && this.#begun.is(file));
  }

  /** What would tell whether the file that was begun is damaged does not come any more: nothing of it stays. */
  async #giveUpBegun(state: State): Promise<void> {
    const { part, isShown } = this.#begun;
    if (part === undefined || !isShown && await this.#forgetBegun(this.#file!, state)) return;
    const why = `"${part.file.key}" is gone, of which a part was not checked`;
    // what was whole before that file's transactions can be taken over again
    const { files = [], last, txid = 0n } = this.#record ?? {};
    const keepsRecord = last !== undefined &&
      files.some((file) => isSameFile(file, part.file) && file.minTxid > txid);
    this.#source.onNotice(`The local copy is ${keepsRecord ? "opened" : "made"} anew: ${why}`);
    await this.#drop(keepsRecord);
  }

  /** Has pages of the file that was begun count as not here; false where it is gone, and nobody knows which they are. */
  async #forgetBegun(local: LocalFile, state: State): Promise<boolean> {
    const { replica } = this.#source;
    const forget = async ([file]: readonly PlanFile[]) => await local.forget(file!, this.#stopping);
    const open = state.files.find(({ file, closed }) => !closed && this.#begun.is(file));
    const known = [...replica.known()].find((file) => this.#begun.is(file));
    if (open) await forget([open]);
    else if (known === undefined || !await isUsed(replica.use([known], forget))) return false;
    await this.#writes(this.#begun.forgotten());
    return true;
  }

  // -------------------------------------------------------------------------------------------------- recording

  /** Pages of a state are about to come that is newer than the record says, or has none. */
  async #openRecord(state: State, { commit, pageSize, timeMs }: HydrationInfo): Promise<void> {
    if (this.#path === undefined || state.txid <= this.#lastTxid) return;
    const { place: name } = this.#source;
    const base = this.#record ?? { name, pageSize, commit, timeMs, txid: state.txid, last: undefined };
    const files = this.#filesOf(state);
    const seenMs = this.#seenMs();
    await this.#write({ ...base, lastTxid: state.txid, seenMs, isWhole: false, files });
    this.#isRecordOpen = true;
    this.#lastTxid = state.txid;
  }

  /** The newest state is there, and nothing else. */
  async #keepRecord(): Promise<void> {
    const { native, place: name, replica: { newest } } = this.#source;
    if (this.#path === undefined || this.#isStale || newest?.txid !== this.#wholeTxid) return;
    const { commit, pageSize, timeMs, txid } = viewInfo(native, newest.viewId)!;
    const files = this.#filesOf(newest);
    const seenMs = this.#seenMs();
    const { file, header, checksum } = newest.files.at(-1)!;
    const last = { file, header, checksum };
    await this.#write({
      name,
      pageSize,
      commit,
      timeMs,
      txid,
      lastTxid: txid,
      seenMs,
      isWhole: true,
      files,
      last,
    });
    await this.#writes(this.#begun.end(this.#path));
    this.#isRecordOpen = false;
    this.#lastTxid = 0n;
  }

  /** When the replica was last seen, by this machine's clock. */
  #seenMs(): number {
    const { native, replicaId } = this.#source;
    return Date.now() - (readLagMs(native, replicaId) ?? 0);
  }

  /** What the replica is known by, all that a state is made of among it; that alone where the replica may be another by now. */
  #filesOf(state: State): ReplicaFile[] {
    const known = this.#isStale ? [] : this.#source.replica.known();
    return newestFiles([...known, ...state.files.map(({ file }) => file)]);
  }

  async #write(record: HydrationRecord): Promise<void> {
    await this.#writes(writeRecord(this.#path!, record));
    this.#record = record;
    if (record.isWhole) this.#recordedMs = performance.now();
  }

  /** What the system refuses to write, with the place. */
  async #writes(written: Promise<void>): Promise<void> {
    await written.catch((cause) => {
      throw new LocalFileError(`Cannot write down what "${this.#path}" has: ${cause.message}`, { cause });
    });
  }

  // ----------------------------------------------------------------------------------------------------- telling

  async #fail(error: Error): Promise<void> {
    if (this.#isClosed) return;
    if (error instanceof LtxFormatError) await this.#drop().catch(() => {}); // it is tried until it goes well
    this.#source.onNotice(`The local copy is given up, reading goes on from storage: ${error.message}`);
    this.#tell(PHASE.failed);
    this.#report(error);
    if (this.#isStale) await this.#leaveAtLast();
  }

  /** What came of a damaged file has been read from the copy already: nothing stays, but for what its record tells on the disk. */
  async #drop(keepsRecord = false): Promise<void> {
    this.#isStale = true;
    try {
      if (this.#path !== undefined && !keepsRecord) await removeRecord(this.#path);
    } finally {
      await this.#leave();
    }
  }

  /**
   * Leads readers back to storage. A state that has become the newest meanwhile may have inherited its places: until the
   * newest one has none there, what they read is not looked at any more.
   */
  async #leave(): Promise<void> {
    const { native, replica } = this.#source;
    const text = "Cannot read the local copy: it is made anew";
    const gone = new ObjectGoneError(text, { key: "", status: 0, retryable: false });
    while (replica.newest && native.calls.ls_view_local(replica.newest.viewId) > 0) {
      await replica.replan(replica.newest.viewId, gone);
    }
  }

  /** The same, however often it fails. */
  async #leaveAtLast(): Promise<void> {
    for (let waitMs: number = RETRY_MS.least; !this.#isClosed; waitMs = Math.min(waitMs * 2, RETRY_MS.most)) {
      try {
        await this.#leave();
        return this.#tell(PHASE.failed);
      } catch {
        await this.#sleep(waitMs);
      }
    }
  }

  /** Tells the shim, where all threads see it. */
  #tell(phase: number): void {
    const { native, replicaId } = this.#source;
    this.#phase = phase;
    const { pages, pagesTotal } = this.#progress();
    const words = BigUint64Array.of(BigInt(phase), BigInt(pages), BigInt(pagesTotal), this.#wholeTxid);
    native.calls.ls_replica_hydrate(replicaId, new Uint8Array(words.buffer), cString(this.#path ?? ""));
  }

  #progress(): { pages: number; pagesTotal: number } {
    const { native, replica: { newest } } = this.#source;
    if (newest === undefined) return { pages: 0, pagesTotal: 0 };
    const info = viewInfo(native, newest.viewId);
    const pagesTotal = info ? storedPageCount(info.commit, info.pageSize) : 0;
    return { pages: Math.max(0, native.calls.ls_view_local(newest.viewId)), pagesTotal };
  }

  /** Tells whoever listens, until it is whole for the first time. */
  #report(error?: Error): void {
    const isWhole = this.#phase === PHASE.whole;
    this.#source.onProgress({ ...this.#progress(), isWhole, ...(error && { error }) });
  }
}

type HydrationInfo = Pick<NonNullable<ReturnType<typeof viewInfo>>, "commit" | "pageSize" | "timeMs">;

function newestFiles(files: Iterable<ReplicaFile>): ReplicaFile[] {
  const levels = new Map<number, Map<string, ReplicaFile>>();
  for (const file of files) {
    const level = levels.get(file.level) ?? new Map();
    levels.set(file.level, level.set(file.key, file));
  }
  const newest = (a: ReplicaFile, b: ReplicaFile) => a.maxTxid < b.maxTxid ? 1 : -1;
  return [...levels.values()].flatMap((level) => [...level.values()].sort(newest).slice(0, RECORDED_FILES));
}

/** Whether files could be used; false where one was compacted away since it was listed. */
async function isUsed(use: Promise<void>): Promise<boolean> {
  return await use.then(() => true, (error) => {
    if (error instanceof ObjectGoneError) return false;
    throw error;
  });
}

/** Closes a file where what is done with it fails. */
async function closedUnless<T>(file: LocalFile, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Opens a file in a folder of its own, which is removed: the file has no name any more. */
async function openPrivate(native: Native, replicaId: number, pageSize: number): Promise<LocalFile> {
  const folder = await mkdtemp(join(temporaryFolder(), "litestream-vfs-")).catch((cause) => {
    throw new LocalFileError(`Cannot keep a local copy in "${temporaryFolder()}": ${cause.message}`, {
      cause,
    });
  });
  try {
    const path = join(folder, "hydrated.db");
    return new LocalFile(native, replicaId, { path, pageSize, isPlain: true, isPrivate: true });
  } finally {
    await rm(folder, { recursive: true, force: true }).catch(() => {}); // the copy is none the worse
  }
}
