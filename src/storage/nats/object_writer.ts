/**
 * ObjectWriter: objects put into a bucket and removed from it, each by one message that counts only where the
 * object's last one is the one expected.
 *
 * @see NATS ADR-20 "JetStream based Object Stores"
 * @module
 */

import { createHash, randomBytes } from "node:crypto";
import { StorageError } from "../../errors.ts";
import type { Asked } from "../http_fault.ts";
import type { StoragePut, StorageRequest } from "../storage.ts";
import { wrongMessage } from "./nats_fault.ts";
import { CHUNK_SIZE, decodeMeta, encodeMeta, encodeRemoval, type ObjectMeta } from "./object_meta.ts";
import type { ObjectStream } from "./object_stream.ts";

/** An object's bytes. */
export interface ObjectContent {
  readonly key: string;
  readonly size: number;
  readonly chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** What each writer is given. */
export interface ObjectWriterOptions {
  readonly stream: ObjectStream;
  /** Size in bytes of a message that the server takes at most. */
  readonly messageSizeMax: (asked: Asked, request: StorageRequest) => Promise<number>;
  /** Told of what is left behind and nobody waits for. */
  readonly onLeftBehind: (error: unknown) => void;
}

/** Chunks on their way at once. */
const CHUNKS_AT_ONCE = 16;
/** What a message needs beside its content. */
const HEADERS_SIZE_MAX = 4 * 1024;
const LEFT_BEHIND_TIMEOUT_MS = 10_000;

/** Writes to one bucket. */
export class ObjectWriter {
  readonly #options: ObjectWriterOptions;
  readonly #stream: ObjectStream;

  constructor(options: ObjectWriterOptions) {
    this.#options = options;
    this.#stream = options.stream;
  }

  /** An object's last message, as the leader has it; undefined where there never was one. */
  async look(key: string, asked: Asked, request: StorageRequest): Promise<ObjectMeta | undefined> {
    const message = await this.#stream.lastOf(this.#stream.metaSubject(key), asked, request);
    return message && decodeMeta(message, asked);
  }

  /** Puts an object; undefined where its condition does not hold. */
  async put(content: ObjectContent, asked: Asked, request: StoragePut): Promise<ObjectMeta | undefined> {
    const { ifAbsent, ifMatch } = request;
    const isAllowed = (current: ObjectMeta | undefined) =>
      ifMatch !== undefined ? etagOf(current) === ifMatch : !ifAbsent || etagOf(current) === undefined;
    // Where there is to be none, there mostly is none.
    let current = ifAbsent ? undefined : await this.look(content.key, asked, request);
    if (!isAllowed(current)) return undefined;
    const nuid = newNuid();
    const object = await this.#putChunks(nuid, content, asked, request);
    for (;;) {
      const sequence = await this.#stream.publish(
        this.#stream.metaSubject(content.key),
        {
          data: encodeMeta({ ...object, bucket: this.#stream.bucket, timestampMs: request.timestampMs }),
          rollsUp: true,
          lastSequence: current?.sequence ?? 0,
        },
        asked,
        request,
      );
      if (sequence !== undefined) {
        if (etagOf(current) !== undefined) await this.#leaveBehind(current!.etag, asked, request.signal);
        return {
          ...object,
          sequence,
          modifiedMs: request.timestampMs ?? Date.now(),
          etag: nuid,
          isRemoved: false,
        };
      }
      current = await this.look(content.key, asked, request);
      if (current !== undefined && isAllowed(current)) continue;
      await this.#leaveBehind(nuid, asked, request.signal);
      if (current === undefined) throw linkFault(asked); // there is a message, and it is no object's
      return undefined;
    }
  }

  /** Removes an object; `known` is what may be known of it. */
  async remove(
    key: string,
    known: ObjectMeta | undefined,
    asked: Asked,
    request: StorageRequest,
  ): Promise<void> {
    for (let current = known;; current = undefined) {
      current ??= await this.look(key, asked, request);
      if (current === undefined) return;
      const chunks = this.#stream.chunkSubject(current.etag);
      if (current.isRemoved) return await this.#stream.purge(chunks, asked, request);
      const sequence = await this.#stream.publish(
        this.#stream.metaSubject(key),
        {
          data: encodeRemoval(current, this.#stream.bucket),
          rollsUp: true,
          lastSequence: current.sequence,
        },
        asked,
        request,
      );
      if (sequence === undefined) continue;
      return await this.#stream.purge(chunks, asked, request);
    }
  }

  async #putChunks(
    nuid: string,
    { key, size, chunks }: ObjectContent,
    asked: Asked,
    request: StorageRequest,
  ): Promise<
    Omit<ObjectMeta, "sequence" | "etag" | "modifiedMs" | "isRemoved"> & { nuid: string; digest: string }
  > {
    const messageSizeMax = await this.#options.messageSizeMax(asked, request);
    const chunkSizeMax = Math.max(1, Math.min(CHUNK_SIZE, messageSizeMax - HEADERS_SIZE_MAX));
    const hash = createHash("sha256");
    const subject = this.#stream.chunkSubject(nuid);
    let [count, sent] = [0, 0];
    let running: Promise<unknown>[] = [];
    try {
      for await (const data of cut(chunks, chunkSizeMax)) {
        hash.update(data);
        count++;
        sent += data.length;
        const publishing = this.#stream.publish(subject, { data }, asked, request);
        publishing.catch(() => {}); // waited for below, perhaps long after it failed
        running.push(publishing);
        if (running.length < CHUNKS_AT_ONCE) continue;
        await Promise.all(running);
        running = [];
      }
      await Promise.all(running);
      if (sent !== size) throw wrongMessage(asked, `${sent} bytes`, `${size} bytes`);
    } catch (error) {
      void Promise.allSettled(running).then(() => this.#leaveBehind(nuid, asked));
      throw error;
    }
    const digest = hash.digest("base64").replaceAll("+", "-").replaceAll("/", "_");
    return { key, size, chunks: count, chunkSizeMax, nuid, digest };
  }

  /** Removes chunks that no object has any more. Where that fails they lie there unseen. */
  async #leaveBehind(nuid: string, asked: Asked, ...signals: AbortSignal[]): Promise<void> {
    const signal = AbortSignal.any([AbortSignal.timeout(LEFT_BEHIND_TIMEOUT_MS), ...signals]);
    try {
      await this.#stream.purge(this.#stream.chunkSubject(nuid), asked, { signal, onProgress: () => {} });
    } catch (error) {
      this.#options.onLeftBehind(error);
    }
  }
}

function linkFault({ what, key }: Asked): StorageError {
  const details = { key, status: 409, code: "Link", retryable: false };
  return new StorageError(`Cannot ${what}: a link lies there, expected an object or none`, details);
}

/** Undefined where there is no object. */
function etagOf(meta: ObjectMeta | undefined): string | undefined {
  return meta?.isRemoved ? undefined : meta?.etag;
}

/** 22 characters, as other clients name their objects. */
function newNuid(): string {
  return randomBytes(11).toString("hex").toUpperCase();
}

/** The same bytes in pieces of `size`, the last one perhaps smaller. */
async function* cut(
  chunks: ObjectContent["chunks"],
  size: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let piece = new Uint8Array(size);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let offset = 0; offset < chunk.length;) {
      const part = chunk.subarray(offset, offset + size - filled);
      piece.set(part, filled);
      offset += part.length;
      filled += part.length;
      if (filled < size) continue;
      yield piece;
      piece = new Uint8Array(size);
      filled = 0;
    }
  }
  if (filled > 0) yield piece.subarray(0, filled);
}
