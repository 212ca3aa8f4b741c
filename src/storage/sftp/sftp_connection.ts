/**
 * SftpConnection: one connection, its requests as promises that a signal or the connection's end settles.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { setTimeout } from "node:timers";
import { StorageError } from "../../errors.ts";
import { OBJECTS_MAX } from "../listing_bound.ts";
import type { Dialled } from "./sftp_dial.ts";
import { statusOf } from "./sftp_fault.ts";
import {
  type Answer,
  type FileFacts,
  type FolderEntry,
  OPEN,
  type SftpSession,
  STATUS,
} from "./ssh_library.ts";

/** What every server takes at once, in bytes. */
const CHUNK_BYTES = 32 * 1024;
/** Chunks of one read or write on their way at once. */
const CHUNKS_AT_ONCE = 64;
/** Folders are read so many answers at once. */
const FOLDER_READS_AT_ONCE = 4;
/**
 * Who gives a request up after this time, in ms, while nothing at all has come, has found the connection
 * dead.
 */
const SILENT_MS = 1_000;
/** What is on its way when the connection is ended has so long to leave, in ms. */
const LEAVING_MS = 1_000;
const NEVER = new AbortController().signal;
const NO_BYTES = new Uint8Array(0);

/** An open file or folder of a connection. */
export type Handle = Buffer;

/** How a request is watched and ended. */
export interface Watch {
  readonly signal: AbortSignal;
  readonly onProgress: (received: Uint8Array) => void;
}

/** A connection that is signed in. Requests are sent at once, and many may be on their way. */
export class SftpConnection {
  readonly #dialled: Dialled;
  readonly #place: string;
  /** What requests on their way are failed with when the connection ends. */
  readonly #onEnd = new Set<(error: Error) => void>();
  #failure: Error | undefined;
  #heardMs = performance.now();

  constructor(dialled: Dialled, place: string) {
    this.#dialled = dialled;
    this.#place = place;
    const { client, session } = dialled;
    const ended = (error?: Error) => this.#end(lostError(place, error?.message ?? "it has ended"));
    for (const event of ["error", "close", "end"] as const) session.on(event, ended);
    client.on("error", ended);
    client.on("end", ended);
    client.on("close", ended);
  }

  get isOpen(): boolean {
    return this.#failure === undefined;
  }

  /** Sends one request. `late` gets what comes when nobody waits any more. */
  async ask<T = void>(
    signal: AbortSignal,
    send: (session: SftpSession, answer: Answer<T>) => void,
    late?: (value: T) => void,
  ): Promise<T> {
    signal.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure;
    const askedMs = performance.now();
    return await new Promise<T>((resolve, reject) => {
      let isOver = false;
      const fail = (error: unknown) => {
        isOver = true;
        forget();
        reject(error);
      };
      const abort = () => {
        fail(signal.reason);
        this.#checkAlive(askedMs);
      };
      const forget = () => {
        signal.removeEventListener("abort", abort);
        this.#onEnd.delete(fail);
      };
      signal.addEventListener("abort", abort, { once: true });
      this.#onEnd.add(fail);
      this.#send(send, (error, value) => {
        if (isOver) return error ? undefined : late?.(value as T);
        if (error) return fail(this.#failure ?? error);
        forget();
        resolve(value as T);
      });
    });
  }

  /** Opens a file; it is closed again where nobody waits for it any more. */
  open(path: string, flags: number, signal: AbortSignal): Promise<Handle> {
    return this.ask<Handle>(
      signal,
      (session, answer) => session.open(path, flags, answer),
      (it) => this.close(it),
    );
  }

  /** Closes a file; nobody waits for that. */
  close(handle: Handle): void {
    this.ask(NEVER, (session, answer) => session.close(handle, answer)).catch(() => {});
  }

  /** Does something with a file that is closed afterwards. */
  async with<T>(
    path: string,
    flags: number,
    signal: AbortSignal,
    act: (handle: Handle) => Promise<T>,
  ): Promise<T> {
    const handle = await this.open(path, flags, signal);
    try {
      return await act(handle);
    } finally {
      this.close(handle);
    }
  }

  facts(handle: Handle, signal: AbortSignal): Promise<FileFacts> {
    return this.ask<FileFacts>(signal, (session, answer) => session.fstat(handle, answer));
  }

  /** Reads `size` bytes, or what there is of them, many pieces at once. The caller owns them. */
  async read(
    handle: Handle,
    { offset, size }: { readonly offset: number; readonly size: number },
    { signal, onProgress }: Watch,
  ): Promise<Uint8Array> {
    if (size <= 0) return NO_BYTES;
    const bytes = new Uint8Array(size);
    const into = Buffer.from(bytes.buffer);
    let end = size;
    const isHere: boolean[] = [];
    let shownCount = 0;
    await inChunks(size, async (at, chunkSize) => {
      for (let count = 0; count < chunkSize;) {
        const from = at + count;
        const read = (session: SftpSession, answer: Answer<number>) =>
          session.read(handle, into, from, chunkSize - count, offset + from, answer);
        const got = await this.ask(signal, read);
        if (got === 0) return void (end = Math.min(end, from));
        count += got;
      }
      isHere[at / CHUNK_BYTES] = true;
      while (isHere[shownCount]) shownCount++;
      onProgress(bytes.subarray(0, Math.min(shownCount * CHUNK_BYTES, size)));
    });
    return end === size ? bytes : bytes.slice(0, end);
  }

  /** Writes bytes at `offset`, many pieces at once. */
  async write(
    handle: Handle,
    bytes: Uint8Array,
    offset: number,
    { signal, onProgress }: Watch,
  ): Promise<void> {
    const from = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    await inChunks(bytes.length, async (at, size) => {
      await this.ask(signal, (session, answer) => session.write(handle, from, at, size, offset + at, answer));
      onProgress(NO_BYTES);
    });
  }

  /** What lies in a folder, in no order. */
  async readFolder(path: string, { signal, onProgress }: Watch): Promise<FolderEntry[]> {
    const opening = (session: SftpSession, answer: Answer<Handle>) => session.opendir(path, answer);
    const handle = await this.ask(signal, opening, (late) => this.close(late));
    const entries: FolderEntry[] = [];
    let isEnd = false;
    const readOn = async () => {
      while (!isEnd) {
        const reading = (session: SftpSession, answer: Answer<readonly FolderEntry[]>) =>
          session.readdir(handle, answer);
        const some = await this.ask(signal, reading).catch(unlessEnd);
        onProgress(NO_BYTES);
        if (some === undefined) isEnd = true;
        else for (const entry of some) entries.push(entry);
        if (entries.length <= OBJECTS_MAX) continue;
        isEnd = true;
        throw new Error(`more than ${OBJECTS_MAX} files in a folder`);
      }
    };
    try {
      await Promise.all(Array.from({ length: FOLDER_READS_AT_ONCE }, readOn));
    } finally {
      this.close(handle);
    }
    return entries;
  }

  /** Ends the connection; requests on their way fail with `error`. */
  end(error: Error): void {
    this.#end(error);
  }

  #send<T>(send: (session: SftpSession, answer: Answer<T>) => void, answer: Answer<T>): void {
    try {
      send(this.#dialled.session, (error, value) => {
        this.#heardMs = performance.now();
        // What is no answer of the server's is the connection's end, or the library has lost its way.
        if (error && statusOf(error) === undefined) this.#end(lostError(this.#place, error.message));
        answer(error, value);
      });
    } catch (error) {
      // The library knows which requests the server does not.
      answer(Object.assign(error as Error, { code: STATUS.OP_UNSUPPORTED }));
    }
  }

  /**
   * Whoever gives up says that the connection is dead, where nothing has come for anybody since they asked.
   */
  #checkAlive(askedMs: number): void {
    const isSilent = this.#heardMs < askedMs && performance.now() - askedMs >= SILENT_MS;
    if (isSilent) this.#end(lostError(this.#place, "nothing comes from the server any more"));
  }

  #end(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    const { client, socket } = this.#dialled;
    client.end(); // The server is told, where it still hears.
    socket.unref();
    setTimeout(() => socket.destroy(), LEAVING_MS).unref();
    for (const fail of [...this.#onEnd]) fail(error);
  }
}

function lostError(place: string, found: string): StorageError {
  const details = { key: "", status: 0, code: "Network", retryable: true };
  return new StorageError(
    `Cannot use the connection to ${place}: ${found}, expected one that holds`,
    details,
  );
}

/** Cuts `size` bytes into chunks and has many of them at once under way, the first ones first. */
async function inChunks(size: number, act: (at: number, size: number) => Promise<void>): Promise<void> {
  let next = 0;
  const goOn = async () => {
    while (next < size) {
      const at = next;
      next += CHUNK_BYTES;
      await act(at, Math.min(CHUNK_BYTES, size - at));
    }
  };
  const count = Math.min(CHUNKS_AT_ONCE, Math.ceil(size / CHUNK_BYTES));
  await Promise.all(Array.from({ length: count }, goOn));
}

function unlessEnd(error: unknown): undefined {
  if (statusOf(error) !== STATUS.EOF) throw error;
}

/** Opens a file to be read. */
export const READ: number = OPEN.READ;
/** Opens a file that is there to be written. */
export const UPDATE: number = OPEN.READ | OPEN.WRITE;
/** Makes a file where there is none. */
export const MAKE: number = OPEN.READ | OPEN.WRITE | OPEN.CREATE | OPEN.EXCLUSIVE;
