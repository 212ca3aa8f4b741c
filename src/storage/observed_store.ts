/**
 * ObservedStore: a store each of whose requests is told once it has ended.
 *
 * @module
 */

import { StorageError } from "../errors.ts";
import type { RequestSpan, SpanError } from "../observe/span.ts";
import { WallClock } from "../observe/wall_clock.ts";
import type {
  BareStore,
  ByteRange,
  Exchange,
  ListedObject,
  ListOptions,
  ObjectIdentity,
  Part,
  PartUpload,
  PartUploads,
  PutOptions,
  ReadResult,
  RequestCounts,
  RequestOptions,
  StoreTraits,
} from "./object_store.ts";

/** Takes spans. */
export type TellRequest = (span: RequestSpan) => void;

/** What is asked of the store. */
type Asked = Pick<RequestSpan, "kind" | "key" | "range" | "bytesSent">;

/** A store that makes each request once, between whoever tries again and the one that asks. */
export class ObservedStore implements BareStore {
  readonly parts: PartUploads;
  readonly #inner: BareStore;
  readonly #tell: TellRequest;
  readonly #clock = new WallClock();

  constructor(inner: BareStore, tell: TellRequest) {
    this.#inner = inner;
    this.#tell = tell;
    this.parts = this.#observedParts(inner.parts);
  }

  get name(): string {
    return this.#inner.name;
  }

  get traits(): StoreTraits {
    return this.#inner.traits;
  }

  get counts(): RequestCounts {
    return this.#inner.counts;
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ListedObject[], void, undefined> {
    let current: RequestOptions = options;
    const pages = this.#inner.list(prefix, ofCurrent(options, () => current))[Symbol.asyncIterator]();
    let isOpen = true;
    const nextPage = async (own: RequestOptions) => {
      current = own;
      isOpen = false; // as with any iterator that has failed
      const page = await pages.next();
      isOpen = !page.done;
      return page;
    };
    try {
      for (let count = 0;; count++) {
        const isEnd = ({ done }: IteratorResult<ListedObject[]>) => done === true && count > 0;
        const page = await this.#during(
          { kind: "list", key: prefix, bytesSent: 0 },
          options,
          nextPage,
          isEnd,
        );
        if (page.done) return;
        yield page.value;
      }
    } finally {
      if (isOpen) await pages.return?.();
    }
  }

  read(of: ObjectIdentity, range: ByteRange, options: RequestOptions = {}): Promise<ReadResult> {
    const asked: Asked = { kind: "read", key: of.key, range, bytesSent: 0 };
    return this.#during(asked, options, (own) => this.#inner.read(of, range, own));
  }

  put(key: string, bytes: Uint8Array, options: PutOptions = {}): Promise<ListedObject> {
    const asked: Asked = { kind: "put", key, bytesSent: bytes.length };
    return this.#during(asked, options, (own) => this.#inner.put(key, bytes, { ...options, ...own }));
  }

  putChunks(
    key: string,
    chunks: () => AsyncIterable<Uint8Array>,
    options?: PutOptions,
  ): Promise<ListedObject> {
    return this.#inner.putChunks(key, chunks, options); // nobody asks a bare store for it
  }

  remove(keys: readonly string[], options: RequestOptions = {}): Promise<void> {
    const asked: Asked = { kind: "remove", key: keys[0] ?? "", bytesSent: 0 };
    return this.#during(asked, options, (own) => this.#inner.remove(keys, own));
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  #observedParts(inner: PartUploads): PartUploads {
    const put = (key: string, bytesSent = 0): Asked => ({ kind: "put", key, bytesSent });
    return {
      get partSize() {
        return inner.partSize;
      },
      partsAtOnce: inner.partsAtOnce,
      partsMax: inner.partsMax,
      ...(inner.isSentAtEnd === undefined ? {} : { isSentAtEnd: inner.isSentAtEnd }),
      begin: (key, options) =>
        this.#during(put(key), options, (own) => inner.begin(key, { ...options, ...own })),
      put: (upload: PartUpload, part: Part, options) =>
        this.#during(put(upload.key, part.bytes.length), options, (own) => inner.put(upload, part, own)),
      complete: (upload, etags, options) =>
        this.#during(
          put(upload.key),
          options,
          (own) => inner.complete(upload, etags, { ...options, ...own }),
        ),
      abort: (upload, options) => this.#during(put(upload.key), options, (own) => inner.abort(upload, own)),
    };
  }

  /** Asks, and tells once it has ended; a result for which `isNothing` holds is told only where a request was seen. */
  async #during<T>(
    asked: Asked,
    options: RequestOptions,
    act: (options: RequestOptions) => Promise<T>,
    isNothing: (result: T) => boolean = () => false,
  ): Promise<T> {
    const watch = new RequestWatch({
      asked,
      options,
      place: this.name,
      clock: this.#clock,
      tell: this.#tell,
    });
    const { onProgress } = options;
    const own: RequestOptions = {
      ...options,
      exchange: watch,
      onProgress: (received) => {
        watch.progress(received.length);
        onProgress?.(received);
      },
    };
    try {
      const result = await act(own);
      if (watch.isSent || !isNothing(result)) watch.end(undefined);
      return result;
    } catch (error) {
      watch.end({ error });
      throw error;
    }
  }
}

/** What is known of a request before it is sent. */
interface Watched {
  readonly asked: Asked;
  readonly options: RequestOptions;
  readonly place: string;
  readonly clock: WallClock;
  readonly tell: TellRequest;
}

/** One request as it goes: tells a span for each exchange of it, or one where there is none that it could see. */
class RequestWatch implements Exchange {
  readonly #watched: Watched;
  #startMs: number;
  #http: { method: string; url: string; status?: number } | undefined;
  #isRepeat = false;
  #received = 0;
  #shown = 0;

  constructor(watched: Watched) {
    this.#watched = watched;
    this.#startMs = watched.clock.now();
  }

  /** Whether it was seen on the wire. */
  get isSent(): boolean {
    return this.#http !== undefined;
  }

  sent(method: string, url: string): void {
    const { clock } = this.#watched;
    if (this.#http !== undefined) {
      this.#tell(undefined);
      this.#isRepeat = true;
      this.#received = 0;
    }
    this.#http = { method, url: shownUrl(url) };
    this.#startMs = clock.now();
  }

  answered(status: number): void {
    if (this.#http) this.#http.status = status;
  }

  received(size: number): void {
    this.#received += size;
  }

  /** So much of what was asked for has come; all that is known of places that tell no more. */
  progress(size: number): void {
    this.#shown = Math.max(this.#shown, size);
  }

  end(fault: { readonly error: unknown } | undefined): void {
    this.#tell(fault);
  }

  #tell(fault: { readonly error: unknown } | undefined): void {
    const { asked, options, place, clock, tell } = this.#watched;
    const { attempt, purpose = "open", reader, signal } = options;
    const status = this.#http?.status;
    const isCancelled = signal?.aborted === true;
    const isRefused = fault === undefined && status !== undefined && status >= 400; // and is repeated otherwise
    tell({
      ...asked,
      purpose,
      place,
      source: "storage",
      startMs: this.#startMs,
      endMs: clock.now(),
      queuedMs: attempt?.queuedMs ?? 0,
      attempt: attempt?.number ?? 1,
      isRepeat: this.#isRepeat,
      isHedge: attempt?.isHedge ?? false,
      ...(this.#http && { http: this.#http }),
      bytesReceived: this.#http ? this.#received : this.#shown,
      outcome: isCancelled ? "cancelled" : fault || isRefused ? "failed" : "ok",
      ...(fault && !isCancelled && { error: spanError(fault.error) }),
      ...(reader && { transaction: reader.transaction, roundTrip: reader.depth }),
    });
    this.#shown = 0;
  }
}

function spanError(thrown: unknown): SpanError {
  const { name, message } = thrown instanceof Error ? thrown : new Error(String(thrown));
  return { name, message, code: thrown instanceof StorageError ? thrown.code : "" };
}

/** A URL without what may be secret. */
function shownUrl(url: string): string {
  if (!URL.canParse(url)) return ""; // a place of the user's may tell anything
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}

/** Options of a listing that outlives the request which began it: each page is one of its own. */
function ofCurrent({ after }: ListOptions, current: () => RequestOptions): ListOptions {
  return {
    ...(after === undefined ? {} : { after }),
    get signal() {
      return current().signal as AbortSignal;
    },
    get exchange() {
      return current().exchange as Exchange;
    },
    onProgress: (received) => current().onProgress?.(received),
    onSent: () => current().onSent?.(),
  };
}
