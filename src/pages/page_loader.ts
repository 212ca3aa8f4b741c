/**
 * Wanted pages → few ranged reads → buffers; one flight a range.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { LtxFormatError } from "../errors.ts";
import type { LocalRanges } from "../cache/caching_store.ts";
import type { ByteRange, ObjectStore, ReadResult, RequestOptions } from "../storage/object_store.ts";
import { checkBudget, spareOf, type Spender } from "./budget.ts";
import { addToConnection, transactionOf } from "./counters.ts";
import type { PlanFile } from "../view/plan_file.ts";
import { Places } from "../view/view_map.ts";
import { Deferred } from "./deferred.ts";
import { Flight, GROUP_FRAMES } from "./flight.ts";
import { frameOffset, type FrameRange, type FrameState, frameStates } from "./frames.ts";
import { type LocalPart, localPart } from "./local_part.ts";
import { Locality } from "./locality.ts";
import { neighbourhood } from "./neighbourhood.ts";
import type { PageIntake } from "./page_intake.ts";
import { islandAround, islandSize } from "./island.ts";
import { planRanges, type WantedFrame } from "./range_plan.ts";

/** What a miss fetches at most, the wanted page and its neighbours, in bytes as stored. */
const NEIGHBOURHOOD_BYTES = 16 * 1024;

/** Frames looked at on either side of a wanted one. */
const NEIGHBOURHOOD_FRAMES = 64;

/** Ranges that are fetched ahead at once, so that places are left for pages that somebody waits for. */
const AHEAD_AT_ONCE = 48;

/** What a request costs beside its bytes, in bytes. */
const REQUEST_BYTES = 16 * 1024;

/** Shares of the pool that one range may take, and that the pages may that land together. */
const FLIGHT_SHARE = 1 / 4;
const GROUP_SHARE = 1 / 8;

/** Looking for what else is useful before the loop may turn, in ms: the rest is asked for when the reader comes near it. */
const SLICE_MS = 3;

/** Who wants a page. */
export interface PageReader {
  /** The view it is read from: what is near it there may come along. */
  readonly viewId: number;
  /** Its connection; 0 for none. */
  readonly connection: number;
  /** Length of the reader's chain of requests so far. */
  readonly depth: number;
}

/** Pages that are wanted before anybody waits for them. */
export interface AheadPages extends PageReader {
  /** In the order in which they will be wanted. */
  readonly pgnos: readonly number[];
  /** They are not neighbours of one another: what is near to one may be wanted later. */
  readonly isScattered?: boolean;
}

/** Pages of a tree that will be wanted as a whole. */
export interface SpreadPages extends AheadPages {
  /** Bytes that may be fetched, as stored. */
  readonly bytesMax: number;
  /** Tells of a page that lies near one of them whether it will be wanted too. */
  readonly isUseful: (pgno: number) => boolean;
}

/** The plan file of an object, unless it was given up. */
export type FileOf = (objectId: number) => PlanFile | undefined;

/** What a {@link PageLoader} works with. */
export interface PageLoaderOptions {
  readonly native: Native;
  readonly store: ObjectStore & LocalRanges;
  readonly replicaId: number;
  readonly intake: PageIntake;
  /** Bound on the pool, in bytes of pages; none unless given. */
  readonly cacheBytesMax?: number;
  /** Whether somebody wants to know for which transaction each range is fetched. */
  readonly isObserved?: boolean;
}

/** Loads pages of one replica's files into the buffer pool. */
export class PageLoader {
  readonly #native: Native;
  readonly #store: ObjectStore & LocalRanges;
  readonly #intake: PageIntake;
  readonly #replicaId: number;
  readonly #cacheBytesMax: number;
  readonly #locality = new Locality();
  readonly #deferred = new Deferred();
  /** By the frames that have not landed yet. */
  readonly #flights = new Map<PlanFile, Map<number, Flight>>();
  readonly #queued: Flight[] = [];
  readonly #abort = new AbortController();
  readonly #isObserved: boolean;
  #aheadCount = 0;
  #hasFetched = false;

  constructor(
    { native, store, intake, replicaId, cacheBytesMax = Infinity, isObserved = false }: PageLoaderOptions,
  ) {
    this.#isObserved = isObserved;
    this.#replicaId = replicaId;
    this.#native = native;
    this.#store = store;
    this.#intake = intake;
    this.#cacheBytesMax = cacheBytesMax;
  }

  /** Aborts when the loader is closed. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Ends what is under way. */
  close(reason: Error): void {
    this.#abort.abort(reason);
    for (const flight of this.#queued.splice(0)) this.#end(flight, { error: reason });
  }

  /**
   * Brings a frame's page into the pool, with neighbours where they come cheaply.
   *
   * The promise gives the length of the reader's chain with this page.
   *
   * @throws {ObjectGoneError} the file is not there any more
   * @throws {LtxFormatError} the frame breaks the format
   * @throws {StorageError} it cannot be fetched
   */
  async load(file: PlanFile, frame: number, reader: PageReader): Promise<number> {
    const flying = this.#flightOf(file, frame);
    if (flying === undefined && this.#takeHeld(file, frame, reader.viewId)) return reader.depth;
    if (flying) this.#claim(flying, frame, reader);
    const flight = flying ?? this.#fly(file, frame, reader);
    if (flight === undefined) return reader.depth;
    const landing = flight.wait(frame);
    this.#start(flight);
    this.#fetchGuessed(reader, flight);
    const chain = await this.#landed(flight, frame, landing, reader);
    // another process has made room on the disk: from now on it counts as a request
    return flight.isVain && !file.closed ? await this.load(file, frame, reader) : chain;
  }

  /**
   * Waits for a frame; one that breaks the format is fetched again, alone, from the store itself: a neighbour may be the
   * damaged one, or it was damaged on its way, or on the disk cache's.
   */
  async #landed(flight: Flight, frame: number, landing: Promise<void>, reader: PageReader): Promise<number> {
    const { file, depth } = flight;
    try {
      await landing;
      return Math.max(reader.depth, depth);
    } catch (error) {
      if (!(error instanceof LtxFormatError) || flight.isFresh) throw error;
    }
    const alone = this.#alone(file, frame, { ...reader, depth });
    const again = alone.wait(frame);
    this.#start(alone);
    return await this.#landed(alone, frame, again, reader);
  }

  /** The flight for one frame from the store itself, unless one is on its way again. */
  #alone(file: PlanFile, frame: number, reader: PageReader): Flight {
    const flying = this.#flightOf(file, frame);
    if (flying) {
      this.#claim(flying, frame, reader);
      return flying;
    }
    this.#check(file, frame, reader);
    const range = { first: frame, count: 1, isLocal: false };
    return this.#depart(file, range, reader, { wanted: frame, isFresh: true });
  }

  /** Has a reader pay for a flight that has not started: it waits first. */
  #claim(flight: Flight, frame: number, reader: PageReader): void {
    if (flight.isStarted || flight.isLocal) return;
    this.#check(flight.file, frame, reader);
    flight.connection = reader.connection;
  }

  /** Begins to fetch pages that will be wanted, where they are neither in the pool nor on their way. */
  loadAhead(ahead: AheadPages, fileOf: FileOf): void {
    const places = new Places(this.#native, ahead.viewId, ahead.pgnos);
    const byFile = new Map<PlanFile, WantedFrame[]>();
    for (const { file, index } of this.#missing(ahead, places, fileOf)) {
      const frame = {
        frame: places.frame(index),
        offset: places.offset(index),
        size: places.size(index),
        order: index,
      };
      const wanted = byFile.get(file);
      if (wanted) wanted.push(frame);
      else byFile.set(file, [frame]);
    }
    for (const [file, wanted] of byFile) {
      const isBusy = (frame: number) => this.#flightOf(file, frame) !== undefined;
      for (const range of planRanges(wanted, isBusy)) {
        if (ahead.isScattered && this.#isUnderWay(file, range)) continue; // it came with one before
        const dense = ahead.isScattered ? this.#dense(file, range.first, ahead) : undefined;
        this.#queue(file, dense && dense.count > range.count ? dense : range, ahead);
      }
    }
    this.#startQueued();
  }

  /** Whether nothing was fetched from storage up to now, the files' indexes neither. */
  get #isAllLocal(): boolean {
    return !this.#hasFetched && this.#store.holds !== undefined && this.#store.counts.get === 0;
  }

  /** Has a range fetched in as many flights as it takes; gives the bytes that they move. */
  #queue(file: PlanFile, range: FrameRange, reader: PageReader): number {
    if (this.#isAllLocal) this.#deferred.serveLocally(reader.connection);
    let bytes = 0;
    for (let rest = range; rest.count > 0;) {
      const next = this.#partOf(file, rest, reader);
      rest = { first: next.first + next.count, count: rest.first + rest.count - next.first - next.count };
      const isLater = !next.isLocal && this.#deferred.take(reader.connection, { file, range: next });
      const flight = isLater ? undefined : this.#depart(file, next, reader);
      if (flight) this.#queued.push(flight);
      bytes += Math.max(flight?.size ?? 0, REQUEST_BYTES);
    }
    return bytes;
  }

  /** A reader has to wait for storage: so may what was guessed for it while it had not. */
  #fetchGuessed(reader: PageReader, { isLocal, depth }: Flight): void {
    for (const { file, range } of this.#deferred.wanted(reader.connection, isLocal)) {
      if (file.closed) continue;
      const states = frameStates(this.#native, file, range, reader.viewId);
      const isMissing = ({ cached, current }: FrameState, i: number) =>
        !cached && current && !this.#flightOf(file, range.first + i);
      if (states.some(isMissing)) this.#queue(file, range, { ...reader, depth: depth - 1 });
    }
    if (!isLocal) this.#startQueued();
  }

  /**
   * Begins to fetch pages with all that is useful around them, as far as `bytesMax` reaches; gives how many of the first of
   * them are in the pool or on their way now.
   */
  loadSpread(spread: SpreadPages, fileOf: FileOf): number {
    const { pgnos, viewId, isUseful, bytesMax } = spread;
    const places = new Places(this.#native, viewId, pgnos);
    const islandBytes = islandSize(bytesMax);
    let left = bytesMax;
    const sliceEnd = performance.now() + SLICE_MS;
    for (const { file, index } of this.#missing(spread, places, fileOf)) {
      if (left <= 0 || performance.now() > sliceEnd) return index;
      const range = islandAround(places.frame(index), islandBytes, {
        states: (range) => frameStates(this.#native, file, range, viewId),
        isUseful: ({ pgno, cached, current }, frame) =>
          !cached && current && isUseful(pgno) && !this.#flightOf(file, frame),
      });
      const island = part(range, this.#pagesMax(file, FLIGHT_SHARE), places.frame(index));
      left -= this.#queue(file, island, spread);
      this.#startQueued();
    }
    return pgnos.length;
  }

  /** Pages that are neither in the pool nor, by the time they are given, on their way. */
  *#missing(
    { viewId, pgnos: { length } }: AheadPages,
    places: Places,
    fileOf: FileOf,
  ): Generator<{ file: PlanFile; index: number }> {
    for (let index = 0; index < length; index++) {
      if (places.isCached(index)) continue;
      const file = fileOf(places.objectId(index));
      if (file === undefined || file.closed || this.#flightOf(file, places.frame(index))) continue;
      if (!this.#takeHeld(file, places.frame(index), viewId)) yield { file, index };
    }
  }

  /** Takes in a frame that came with its file's index; false when it did not, is not there any more, or makes no sense. */
  #takeHeld(file: PlanFile, frame: number, viewId: number): boolean {
    const { offset, bytes } = file.fetched;
    if (bytes.length === 0) return false;
    const start = frameOffset(this.#native, file, frame) - offset;
    const end = frameOffset(this.#native, file, frame + 1) - offset;
    if (start < 0 || end > bytes.length) return false;
    try {
      const options = { viewId, wanted: frame };
      this.#intake.enter(file, { first: frame, count: 1 }, bytes.subarray(start, end), options);
      return true;
    } catch (error) {
      if (!(error instanceof LtxFormatError)) throw error;
      return false;
    }
  }

  /** Whether pages are all in the pool or on their way. */
  areThere({ viewId, pgnos }: AheadPages, fileOf: FileOf): boolean {
    const places = new Places(this.#native, viewId, pgnos);
    return pgnos.every((_, index) => {
      if (places.isCached(index)) return true;
      const file = fileOf(places.objectId(index));
      return file !== undefined && this.#flightOf(file, places.frame(index)) !== undefined;
    });
  }

  /** Has the core told when a reader takes a page. */
  mark(viewId: number, pgno: number, fileOf: FileOf): void {
    const places = new Places(this.#native, viewId, [pgno]);
    const file = fileOf(places.objectId(0));
    if (file && !file.closed) this.#intake.mark(file, places.frame(0));
  }

  #isUnderWay(file: PlanFile, { first, count }: FrameRange): boolean {
    for (let frame = first; frame < first + count; frame++) if (!this.#flightOf(file, frame)) return false;
    return true;
  }

  #flightOf(file: PlanFile, frame: number): Flight | undefined {
    return this.#flights.get(file)?.get(frame);
  }

  /** The flight for a frame; undefined when its page came into the pool after the reader had looked. */
  #fly(file: PlanFile, frame: number, reader: PageReader): Flight | undefined {
    const first = Math.max(0, frame - NEIGHBOURHOOD_FRAMES);
    const frames = frameStates(
      this.#native,
      file,
      { first, count: NEIGHBOURHOOD_FRAMES * 2 },
      reader.viewId,
    );
    if (frames[frame - first]?.cached) return undefined;
    const isBusy = (other: number) => this.#flightOf(file, other) !== undefined;
    const range = this.#dense(file, frame, reader) ??
      neighbourhood(frames, first, frame, NEIGHBOURHOOD_BYTES, isBusy);
    return this.#departFor(file, range, reader, frame);
  }

  /** The range around a frame where its reader wanted others nearby; undefined where it did not. */
  #dense(file: PlanFile, frame: number, { connection, viewId }: PageReader): FrameRange | undefined {
    const bytesMax = this.#locality.bytesAt(connection, file.objectId, frame);
    if (bytesMax === 0) return undefined;
    return islandAround(frame, bytesMax, {
      states: (range) => frameStates(this.#native, file, range, viewId),
      isUseful: ({ cached, current }, other) => !cached && current && !this.#flightOf(file, other),
    });
  }

  /** Pages that may come at once: what came first would be gone before the last had come. */
  #pagesMax(file: PlanFile, share: number): number {
    return Math.max(1, Math.floor(this.#cacheBytesMax * share / file.header.pageSize));
  }

  /** Enters a flight for a frame that is waited for, with what of a range can come along. */
  #departFor(file: PlanFile, asked: FrameRange, reader: PageReader, wanted: number): Flight {
    const range = this.#partOf(file, asked, reader, wanted);
    if (!range.isLocal) this.#check(file, wanted, reader);
    return this.#depart(file, range, reader, { wanted });
  }

  /**
   * What of a range is fetched together: it is not too long, and all on disk or not; around `wanted`, or the
   * first.
   */
  #partOf(file: PlanFile, asked: FrameRange, { viewId }: PageReader, wanted?: number): LocalPart {
    const range = part(asked, this.#pagesMax(file, FLIGHT_SHARE), wanted);
    if (this.#store.holds === undefined) return { ...range, isLocal: false };
    const { first } = range;
    const frames = frameStates(this.#native, file, range, viewId);
    const offset = frameOffset(this.#native, file, first);
    const holds = (bytes: ByteRange) => this.#store.holds!(file.file, bytes);
    return localPart({ first, frames, offset, holds }, wanted ?? first);
  }

  /** Enters a flight, which has not started yet. */
  #depart(
    file: PlanFile,
    range: LocalPart,
    reader: PageReader,
    { wanted, isFresh = false }: { readonly wanted?: number; readonly isFresh?: boolean } = {},
  ): Flight {
    const { viewId, connection, depth } = reader;
    const frames: FrameState[] = frameStates(this.#native, file, range, viewId);
    const { first, isLocal } = range;
    const flight = new Flight({
      file,
      first,
      frames,
      viewId,
      connection,
      depth: isLocal ? depth : depth + 1,
      isLocal,
      isFresh,
      groupMax: Math.min(GROUP_FRAMES, this.#pagesMax(file, GROUP_SHARE)),
      ...(wanted === undefined ? {} : { wanted }),
    });
    const flights = this.#flights.get(file) ?? new Map<number, Flight>();
    this.#flights.set(file, flights);
    for (let frame = first; frame < first + flight.count; frame++) {
      if (!flights.has(frame)) flights.set(frame, flight);
    }
    return flight;
  }

  #spender({ connection }: { readonly connection: number }): Spender {
    return { native: this.#native, replicaId: this.#replicaId, connection };
  }

  #check(file: PlanFile, frame: number, reader: PageReader): void {
    const { pgno } = frameStates(this.#native, file, { first: frame, count: 1 }, reader.viewId)[0]!;
    checkBudget(this.#spender(reader), pgno, this.#store.name);
  }

  #startQueued(): void {
    while (this.#aheadCount < AHEAD_AT_ONCE) {
      const flight = this.#queued.shift();
      if (flight === undefined) return;
      const { requests, bytes } = spareOf(this.#spender(flight));
      if (!flight.isStarted && !flight.isLocal && (requests < 1 || bytes < flight.size)) {
        this.#end(flight);
        continue;
      }
      this.#start(flight);
    }
  }

  #start(flight: Flight): void {
    if (flight.isStarted) return;
    flight.isStarted = true;
    const isAhead = flight.wanted === undefined;
    if (isAhead) this.#aheadCount++;
    if (!flight.isLocal) this.#hasFetched = true;
    const count = (counter: "getRequests" | "bytes" | "aheadPages", amount: number) =>
      addToConnection(this.#native, this.#replicaId, flight.connection, counter, amount);
    count("getRequests", flight.isLocal ? 0 : 1);
    count("bytes", flight.isLocal ? 0 : flight.size);
    if (isAhead) count("aheadPages", flight.count);
    this.#fetch(flight).then(
      () => this.#end(flight),
      (error) => this.#end(flight, { error }),
    ).then(() => {
      if (!isAhead) return;
      this.#aheadCount--;
      this.#startQueued();
    });
  }

  async #fetch(flight: Flight): Promise<void> {
    const { file, first, size } = flight;
    const { signal } = this.#abort;
    signal.throwIfAborted();
    if (file.closed) return; // replaced meanwhile; its handle may name another file by now
    const offset = frameOffset(this.#native, file, first);
    const onProgress = (received: Uint8Array) => {
      if (!signal.aborted && !file.closed) this.#land(flight, received);
    };
    const { isFresh } = flight;
    const options = { signal, onProgress, isFresh, ...(this.#isObserved && this.#reasonOf(flight)) };
    const result = await this.#read(flight, { offset, size }, options);
    signal.throwIfAborted();
    flight.isVain = result === undefined;
    if (result && !file.closed) this.#land(flight, result.bytes);
  }

  /** From disk alone where nothing was charged for a request; undefined where it is not there any more. */
  async #read(
    { file, isLocal }: Flight,
    range: ByteRange,
    options: RequestOptions,
  ): Promise<ReadResult | undefined> {
    const store = this.#store;
    if (isLocal && store.readHeld) return await store.readHeld(file.file, range, options);
    return await store.read(file.file, range, options);
  }

  /** Why a flight was started, and for whose query. */
  #reasonOf({ connection, depth, wanted }: Flight): Pick<RequestOptions, "purpose" | "reader"> {
    const transaction = transactionOf(this.#native, this.#replicaId, connection);
    return {
      purpose: wanted === undefined ? "ahead" : "page",
      ...(transaction && { reader: { transaction, depth } }),
    };
  }

  #land(flight: Flight, received: Uint8Array): void {
    const { file, viewId, wanted } = flight;
    flight.land(received, (group, bytes) => {
      this.#forget(file, group, flight);
      this.#intake.enter(file, group, bytes, { viewId, wanted, isAhead: wanted === undefined, by: flight });
    });
  }

  #end(flight: Flight, fault?: { readonly error: unknown }): void {
    this.#forget(flight.file, flight, flight);
    flight.end(fault);
  }

  #forget(file: PlanFile, { first, count }: FrameRange, flight: Flight): void {
    const flights = this.#flights.get(file);
    if (flights === undefined) return;
    for (let frame = first; frame < first + count; frame++) {
      if (flights.get(frame) === flight) flights.delete(frame);
    }
    if (flights.size === 0) this.#flights.delete(file);
  }
}

/** Of a range at most `countMax` frames: those around `wanted`, or the first. */
function part({ first, count }: FrameRange, countMax: number, wanted: number = first): FrameRange {
  if (count <= countMax) return { first, count };
  const start = Math.min(Math.max(first, wanted - (countMax >>> 1)), first + count - countMax);
  return { first: start, count: countMax };
}
