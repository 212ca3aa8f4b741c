/**
 * Multipart: an object that is put in parts.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
 * @module
 */

import { ObjectExistsError, StorageError } from "../errors.ts";
import { type Content, contentOfChunks } from "./content.ts";
import {
  type BareStore,
  checkContent,
  type ListedObject,
  type PartUpload,
  type PartUploads,
  type PutOptions,
  type RequestOptions,
} from "./object_store.ts";

/** A conflict ends an upload: how often it is begun. */
const UPLOADS_MAX = 3;
/** Some stores copy the parts into one before they answer: so many times as fast as they are sent, at least. */
const JOINING_SPEED = 16;
/** An estimate may be too low by so much, and there are still not too many parts. */
const ESTIMATE_MARGIN = 1.25;
const ABORT_TIMEOUT_MS = 5_000;

/** One request of several: queued, timed and retried by whoever runs it. */
export interface Step {
  /** Completes "Cannot …". */
  readonly what: string;
  /** Bytes that it sends. */
  readonly sentSize?: number;
  /** Bytes that are to come. */
  readonly size?: number;
  /** How it differs from what the caller of all steps asked for. */
  readonly options?: RequestOptions;
}

/** Runs a step; `operation` may be called again and again. */
export type StepRunner = <T>(step: Step, operation: (options: RequestOptions) => Promise<T>) => Promise<T>;

/** What is put in parts. */
export interface MultipartPut {
  /** The object as a person would write it. */
  readonly name: string;
  readonly key: string;
  readonly content: Content;
  readonly options: PutOptions;
  readonly parts: PartUploads;
  /** Puts what fits in one part; absent where that is to be one part, too. */
  readonly putWhole?: ((bytes: Uint8Array) => Promise<ListedObject>) | undefined;
  /**
   * Looks for the object of that many bytes where the store does not tell whether it is ours: undefined where
   * there is none, an error where there is another. Absent where nobody looks.
   */
  readonly find?: (size: number) => Promise<ListedObject | undefined>;
}

/** The upload is no more, and the object is not there: it can be begun anew. */
class UploadLostError extends StorageError {
  override name = "StorageError";
}

/**
 * Puts an object in parts: it appears when all have arrived. What was sent is removed where that fails.
 *
 * @throws {ObjectExistsError} the key has another object, and it is not to be replaced
 * @throws what a step, or the content, fails with
 */
export async function putInParts(put: MultipartPut, run: StepRunner): Promise<ListedObject> {
  for (let count = 1;; count++) {
    try {
      return await putOnce(put, run);
    } catch (error) {
      if (!(error instanceof UploadLostError) || count === UPLOADS_MAX) throw error;
    }
  }
}

/** {@link WritableStore.putChunks} of a store that makes each request once. */
export function putChunksOnce(
  store: BareStore,
  { key, chunks, options }: { key: string; chunks: () => AsyncIterable<Uint8Array>; options: PutOptions },
): Promise<ListedObject> {
  const put: MultipartPut = {
    name: `"${key}" in ${store.name}`,
    key,
    content: contentOfChunks(chunks, options.sizeEstimate),
    options,
    parts: store.parts,
    putWhole: options.inParts ? undefined : (bytes) => store.put(key, bytes, options),
  };
  return putOnce(put, (step, operation) => operation({ ...options, ...step.options }));
}

async function putOnce(put: MultipartPut, run: StepRunner): Promise<ListedObject> {
  const { content, parts, putWhole } = put;
  const sizeMax = content.sizeEstimate * ESTIMATE_MARGIN;
  const partSize = Math.max(parts.partSize, Math.ceil(sizeMax / parts.partsMax));
  const sending = new Sending(put, run);
  try {
    for await (const { bytes, isLast } of content.pieces(partSize, sending.signal)) {
      if (isLast && !sending.isBegun && putWhole !== undefined) return await putWhole(bytes);
      await sending.send(bytes);
    }
    return await sending.complete();
  } catch (error) {
    await sending.abort(error);
    throw error;
  }
}

/** One upload: parts on their way, some at once; the first that fails ends the others. */
class Sending {
  /** Aborts when a part has failed, or the caller wants no more. */
  readonly signal: AbortSignal;
  readonly #put: MultipartPut;
  readonly #run: StepRunner;
  readonly #failed = new AbortController();
  readonly #underWay = new Set<Promise<void>>();
  readonly #etags: string[] = [];
  #upload: PartUpload | undefined;
  #count = 0;
  #size = 0;

  constructor(put: MultipartPut, run: StepRunner) {
    this.#put = put;
    this.#run = run;
    const { signal } = put.options;
    this.signal = AbortSignal.any([this.#failed.signal, ...(signal === undefined ? [] : [signal])]);
  }

  get isBegun(): boolean {
    return this.#upload !== undefined;
  }

  /** Sends the next part as soon as it may be; returns while it is under way. */
  async send(bytes: Uint8Array): Promise<void> {
    const { parts } = this.#put;
    const part = { number: ++this.#count, offset: this.#size, bytes };
    if (part.number > parts.partsMax) throw this.#tooLarge();
    const upload = this.#upload ??= await this.#begin();
    while (this.#underWay.size >= parts.partsAtOnce) await Promise.race(this.#underWay);
    this.signal.throwIfAborted();
    this.#size += bytes.length;
    const what = `put part ${part.number} of ${this.#put.name}`;
    const step = { what, sentSize: bytes.length, options: { signal: this.signal } };
    const sent: Promise<void> = this.#run(step, (given) => parts.put(upload, part, given)).then(
      (etag) => void (this.#etags[part.number - 1] = etag),
      (error) => this.#failed.abort(error),
    ).finally(() => this.#underWay.delete(sent));
    this.#underWay.add(sent);
  }

  /**
   * Makes the object of its parts.
   *
   * An attempt without answer may have made it, but the next one cannot make another: the upload is no more
   * then, or the key is taken. Only where the store says so is the object looked for.
   */
  async complete(): Promise<ListedObject> {
    const { key, name, find } = this.#put;
    await Promise.all(this.#underWay);
    this.signal.throwIfAborted();
    checkContent(key, this.#size);
    try {
      return await this.#complete();
    } catch (error) {
      const isTaken = error instanceof ObjectExistsError;
      if (find === undefined || !(isTaken || error instanceof UploadLostError)) throw error;
      const found = await find(this.#size).catch(lostIfChanged);
      if (found === undefined) throw isTaken ? vanishedError(name, error) : error;
      await this.abort(error); // It may be of another upload.
      return found;
    }
  }

  /**
   * Removes the parts, even where the caller wants no more; a failure must not hide why. What is left, the
   * bucket's own rules remove.
   */
  async abort(reason: unknown): Promise<void> {
    this.#failed.abort(reason);
    await Promise.all(this.#underWay);
    const { parts, name } = this.#put;
    const upload = this.#upload;
    if (upload === undefined) return;
    const options: RequestOptions = { signal: new AbortController().signal, timeoutMs: ABORT_TIMEOUT_MS };
    try {
      await this.#run(
        { what: `remove the parts of ${name}`, options },
        (given) => parts.abort(upload, given),
      );
    } catch {
      // The failure that led here is thrown by whoever called.
    }
  }

  async #begin(): Promise<PartUpload> {
    const { key, name, options, parts } = this.#put;
    const how = putOptionsOf(options);
    const what = `begin to put ${name} in parts`;
    return await this.#run({ what }, (given) => parts.begin(key, { ...given, ...how }));
  }

  async #complete(): Promise<ListedObject> {
    const { key, name, options, parts } = this.#put;
    const how = putOptionsOf(options);
    const [upload, etags, size] = [this.#upload as PartUpload, this.#etags, this.#size];
    const sentSize = parts.isSentAtEnd ? size : size / JOINING_SPEED;
    const step = { what: `put ${name} of its ${etags.length} parts`, sentSize };
    const made = await this.#run(step, async (given) => {
      try {
        return await parts.complete(upload, etags, { ...given, ...how });
      } catch (error) {
        throw endsUpload(error) ? lostError(error) : error;
      }
    });
    return { key, size, ...made };
  }

  #tooLarge(): StorageError {
    const { key, name, parts } = this.#put;
    const mean = Math.round(this.#size / parts.partsMax);
    const details = { key, status: 0, code: "EntityTooLarge", retryable: false };
    return new StorageError(
      `Cannot put ${name}: it has more than ${parts.partsMax} parts of ${mean} bytes, expected at most as ` +
        "many; a larger partSize makes them fewer",
      details,
    );
  }
}

/** A conflict ends an upload on Amazon; the next attempt would hear that there is none. */
function endsUpload(error: unknown): error is StorageError {
  return error instanceof StorageError &&
    (error.code === "NoSuchUpload" || error.code === "ConditionalRequestConflict");
}

function lostError(error: StorageError): UploadLostError {
  const { message, key, status, code } = error;
  return new UploadLostError(message, { key, status, code, retryable: false, cause: error });
}

/** An object came or went while it was looked at: the next upload tells what has the key then. */
function lostIfChanged(error: unknown): never {
  throw error instanceof StorageError && error.code === "Changed" ? lostError(error) : error;
}

function vanishedError(name: string, cause: ObjectExistsError): UploadLostError {
  const details = { key: cause.key, status: cause.status, code: "Changed", retryable: false, cause };
  const found = "the key had an object that is gone now";
  return new UploadLostError(`Cannot put ${name}: ${found}, expected none`, details);
}

/** What of the options is about the object, not about the request. */
export function putOptionsOf({ replace, ifMatch, timestampMs }: PutOptions): PutOptions {
  return {
    ...(ifMatch === undefined ? {} : { ifMatch }),
    ...(replace === undefined ? {} : { replace }),
    ...(timestampMs === undefined ? {} : { timestampMs }),
  };
}
