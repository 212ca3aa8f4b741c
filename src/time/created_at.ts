/**
 * When a file was created: the timestamp in its header.
 *
 * @module
 */
import { LRUCache } from "lru-cache";
import { LtxFormatError } from "../errors.ts";
import { decodeHeader, HEADER_SIZE } from "../ltx/header.ts";
import { formatTxid } from "../ltx/txid.ts";
import type { ObjectStore, RequestOptions } from "../storage/object_store.ts";
import { RequestQueue } from "../storage/request_queue.ts";
import { readTwice } from "../storage/second_reading.ts";
import type { ReplicaFile } from "../view/restore_plan.ts";

/** Tells when a file was created, in ms since the Unix epoch: a whole number. */
export type CreatedAt = (file: ReplicaFile, options?: Pick<RequestOptions, "signal">) => Promise<number>;

/** Timestamps that are remembered at most: about 4 MB. */
const ENTRIES_MAX = 20_000;

/** As many as a store sends at once. More would only stand before other readers in its queue. */
const READS_AT_ONCE = 64;

/** A header on its way, and how many wait for it. */
interface Flight {
  readonly done: Promise<number>;
  readonly abort: AbortController;
  waiting: number;
}

/** Reads the timestamps of one store's files, each once: a file never changes. */
export class CreationTimes {
  readonly #store: ObjectStore;
  readonly #known: LRUCache<string, number>;
  readonly #flights = new Map<string, Flight>();
  readonly #queue = new RequestQueue(READS_AT_ONCE);
  #reads = 0;

  /** Remembers at most `entriesMax` timestamps, those last asked for. */
  constructor(store: ObjectStore, { entriesMax = ENTRIES_MAX }: { entriesMax?: number } = {}) {
    this.#store = store;
    this.#known = new LRUCache({ max: entriesMax });
  }

  /** Headers asked of the store so far, one request each (its retries are in the store's own counts). */
  get reads(): number {
    return this.#reads;
  }

  /**
   * When a file was created. Bound to its object, so that it can be passed on.
   *
   * Who asks for a file that is on its way waits for the same request; that ends early only when the signals of all
   * who wait have aborted.
   *
   * @throws {ObjectGoneError} the file is not there any more, or another one has its name
   * @throws {LtxFormatError} its header breaks the format or names other TXIDs than the file's name
   * @throws {StorageError} it cannot be read
   */
  readonly createdAt: CreatedAt = async (file, { signal } = {}) => {
    signal?.throwIfAborted();
    const name = identity(file);
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    return await this.#join(name, this.#flights.get(name) ?? this.#fly(name, file), signal);
  };

  /** Takes over the timestamp of a file whose header was read elsewhere. */
  remember(file: ReplicaFile, timestampMs: number): void {
    this.#known.set(identity(file), timestampMs);
  }

  #fly(name: string, file: ReplicaFile): Flight {
    const abort = new AbortController();
    const read = async () => {
      try {
        const timestampMs = await this.#queue.run(() => this.#read(file, abort.signal), abort.signal);
        this.#known.set(name, timestampMs);
        return timestampMs;
      } finally {
        this.#land(name, flight);
      }
    };
    const flight: Flight = { done: Promise.resolve().then(read), abort, waiting: 0 };
    this.#flights.set(name, flight);
    return flight;
  }

  async #join(name: string, flight: Flight, signal: AbortSignal | undefined): Promise<number> {
    flight.waiting++;
    let leave = () => {};
    const left = new Promise<never>((_, reject) => leave = () => reject(signal?.reason));
    signal?.addEventListener("abort", leave, { once: true });
    try {
      return await Promise.race([flight.done, left]);
    } finally {
      signal?.removeEventListener("abort", leave);
      if (--flight.waiting === 0) {
        this.#land(name, flight);
        flight.abort.abort(signal?.reason); // does nothing to a request that has ended
      }
    }
  }

  #land(name: string, flight: Flight): void {
    if (this.#flights.get(name) === flight) this.#flights.delete(name);
  }

  async #read(file: ReplicaFile, signal: AbortSignal): Promise<number> {
    if (file.size < HEADER_SIZE) {
      throw new LtxFormatError(
        `Cannot read time of "${file.key}": it has ${file.size} bytes, expected at least ${HEADER_SIZE}`,
        { key: file.key },
      );
    }
    this.#reads++;
    return await readTwice(async (reading) => {
      const { bytes } = await this.#store.read(file, { offset: 0, size: HEADER_SIZE }, {
        signal,
        ...reading,
      });
      return timeIn(bytes, file);
    });
  }
}

function timeIn(header: Uint8Array, file: ReplicaFile): number {
  const { minTxid, maxTxid, timestampMs } = decodeHeader(header, { key: file.key });
  if (minTxid === file.minTxid && maxTxid === file.maxTxid) return timestampMs;
  throw new LtxFormatError(
    `Cannot read time of "${file.key}": its header names TXIDs ${formatTxid(minTxid)} to ` +
      `${formatTxid(maxTxid)}, expected those of its name`,
    { key: file.key, offset: 16 },
  );
}

/** What names a file's content: names are reused when a replica is made anew. */
function identity(file: ReplicaFile): string {
  return `${file.key}\n${file.etag}\n${file.size}`;
}
