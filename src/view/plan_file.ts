/**
 * One file of a restore plan as the shim knows it: header read, page index checked and decoded.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { readText } from "../../ffi/native.ts";
import { LS } from "../../ffi/symbols.ts";
import { builtin } from "../drivers/host.ts";
import { LtxFormatError, ReplicaError } from "../errors.ts";
import { decodeHeader, HEADER_SIZE, isNoChecksum, isSnapshot, type LtxHeader } from "../ltx/header.ts";
import { MAX_ENTRY_SIZE, MIN_FILE_SIZE } from "../ltx/page_index.ts";
import { decodeTrailer, TRAILER_SIZE } from "../ltx/trailer.ts";
import { formatTxid, storedPageCount } from "../ltx/txid.ts";
import type { ObjectStore, RequestOptions } from "../storage/object_store.ts";
import { readTwice } from "../storage/second_reading.ts";
import type { ReplicaFile } from "./restore_plan.ts";

/** Files up to this size are fetched whole: index, trailer and pages in one request. */
export const WHOLE_FILE_SIZE_MAX: number = 256 * 1024;

/** What is fetched of the base file's head: header, page 1 and the pages after it, where schemas begin. */
const HEAD_SIZE = 16 * 1024;

/** Least of a large file's tail that is fetched; most indexes are about 1/250 of their file. */
const TAIL_SIZE_MIN = 32 * 1024;
const TAIL_SHARE = 1 / 200;

/** Most of a tail that one request asks for, and how many come at once: more would hold the loop. */
const PIECE_SIZE_MAX = 4 * 1024 * 1024;
const PIECES_AT_ONCE = 4;

/** Bytes copied before the loop may turn: about 1 ms where the memory is new. */
const BYTES_A_SLICE = 2 * 1024 * 1024;

/** Index entries decoded before the loop may turn: about 1 ms. */
const ENTRIES_A_SLICE = 50_000;

/** Bytes after the page index: its size field and the trailer. */
const AFTER_INDEX = 8 + TRAILER_SIZE;

/** A plan file, its frames known to the shim. */
export interface PlanFile {
  readonly file: ReplicaFile;
  readonly header: LtxHeader;
  /** Of the whole file, header and pages: files of one name that agree in it have the same content. */
  readonly checksum: bigint;
  /** The shim's handle for its frames. */
  readonly objectId: number;
  /** What was fetched of its frames: bytes from `offset` on; empty when nothing useful was. */
  fetched: { readonly offset: number; readonly bytes: Uint8Array };
  /** Requests that waited for one another. */
  readonly depth: number;
  /** Set when the shim's handle was given up: it may name another file by now. */
  closed: boolean;
}

/** The words of the shim's last complaint on this thread. */
export function shimFault(native: Native): string {
  return readText((buffer) => native.calls.ls_fault(buffer, buffer.length), 256);
}

/** Throws unless a result of the shim is a handle or count. */
export function checkShim(native: Native, result: number, act: string, key: string): number {
  if (result >= 0) return result;
  if (result === LS.FORMAT) throw new LtxFormatError(`Cannot ${act} "${key}": ${shimFault(native)}`, { key });
  throw new ReplicaError(`Cannot ${act} "${key}": the shim answers ${result}, expected a value from 0 on`);
}

/** The last `size` bytes of a file, at the end of a buffer that may have room before them. */
interface Tail {
  readonly buffer: Uint8Array<ArrayBuffer>;
  readonly size: number;
}

/** Head and tail of a file; the whole file in both when it is small. */
interface Ends {
  readonly head: Uint8Array;
  readonly tail: Tail;
}

function wholeFile(bytes: Uint8Array): Ends {
  return { head: bytes, tail: { buffer: bytes as Uint8Array<ArrayBuffer>, size: bytes.length } };
}

/** What of a file is fetched, and what is there already. */
interface EndsWanted {
  /** Whether the pages after the header are worth fetching too. */
  readonly base: boolean;
  /** The file's first bytes, where they are here already. */
  readonly head: Uint8Array | undefined;
}

async function readEnds(
  store: ObjectStore,
  file: ReplicaFile,
  wanted: EndsWanted,
  options: RequestOptions,
): Promise<Ends> {
  if (file.size < MIN_FILE_SIZE) {
    throw new LtxFormatError(
      `Cannot open LTX file "${file.key}": it has ${file.size} bytes, expected at least ${MIN_FILE_SIZE}`,
      { key: file.key },
    );
  }
  if (wanted.head?.length === file.size) return wholeFile(wanted.head);
  if (file.size <= WHOLE_FILE_SIZE_MAX) {
    const { bytes } = await store.read(file, { offset: 0, size: file.size }, options);
    return wholeFile(bytes);
  }
  const tailSize = Math.min(file.size, Math.max(TAIL_SIZE_MIN, Math.ceil(file.size * TAIL_SHARE)));
  const headSize = wanted.base ? HEAD_SIZE : HEADER_SIZE;
  const [head, tail] = await Promise.all([
    wanted.head ?? store.read(file, { offset: 0, size: headSize }, options).then(({ bytes }) => bytes),
    readTail(store, file, tailSize, options),
  ]);
  return { head, tail };
}

/** Reads the last `size` bytes; many into a buffer with as much room, for an index that is longer. */
async function readTail(
  store: ObjectStore,
  file: ReplicaFile,
  size: number,
  options: RequestOptions,
): Promise<Tail> {
  const offset = file.size - size;
  if (size <= PIECE_SIZE_MAX) {
    const { bytes } = await store.read(file, { offset, size }, options);
    return { buffer: bytes as Uint8Array<ArrayBuffer>, size };
  }
  const buffer = unfilled(size * 2, file);
  await fill(buffer.subarray(size), { store, file, offset }, options);
  return { buffer, size };
}

/** The same tail with room for so many bytes before it. */
async function withRoom(tail: Tail, room: number, file: ReplicaFile): Promise<Tail> {
  const { buffer, size } = tail;
  if (buffer.length >= size + room) return tail;
  const larger = unfilled(size + room, file);
  await copySlowly(buffer.subarray(buffer.length - size), larger.subarray(room));
  return { buffer: larger, size };
}

/**
 * Memory that is about to be filled: to have it cleared first would hold the loop.
 *
 * @throws {LtxFormatError} there is not so much: who wrote the listing or the index may have made it up
 */
function unfilled(size: number, { key }: ReplicaFile): Uint8Array<ArrayBuffer> {
  try {
    const { buffer, byteOffset } = builtin("node:buffer").Buffer.allocUnsafe(size);
    return new Uint8Array(buffer as ArrayBuffer, byteOffset, size);
  } catch (cause) {
    throw new LtxFormatError(
      `Cannot read page index of "${key}": ${size} bytes for it, expected as many as there is memory for`,
      { key, cause },
    );
  }
}

/** Gives memory back that nobody uses any more: to have it collected may take long. */
function giveBack({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

/** Copies bytes in slices, and lets the loop turn in between. */
async function copySlowly(from: Uint8Array, to: Uint8Array): Promise<void> {
  for (let at = 0; at < from.length; at += BYTES_A_SLICE) {
    if (at > 0) await nextTurn();
    to.set(from.subarray(at, at + BYTES_A_SLICE), at);
  }
}

/** Reads what of a file begins at `offset`, as much as there is memory, in pieces. */
async function fill(
  memory: Uint8Array,
  { store, file, offset }: { store: ObjectStore; file: ReplicaFile; offset: number },
  options: RequestOptions,
): Promise<void> {
  let next = 0;
  const readOn = async () => {
    while (next < memory.length) {
      const piece = memory.subarray(next, next + PIECE_SIZE_MAX);
      const range = { offset: offset + next, size: piece.length };
      next += piece.length;
      try {
        const { bytes } = await store.read(file, range, options);
        await copySlowly(bytes, piece);
        giveBack(bytes);
      } catch (error) {
        next = memory.length; // nobody wants the others
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: PIECES_AT_ONCE }, readOn));
}

function checkHeader(file: ReplicaFile, header: LtxHeader): void {
  if (header.minTxid === file.minTxid && header.maxTxid === file.maxTxid) return;
  throw new LtxFormatError(
    `Cannot open LTX file "${file.key}": its header names TXIDs ${formatTxid(header.minTxid)} to ` +
      `${formatTxid(header.maxTxid)}, expected those of its name`,
    { key: file.key, offset: 16 },
  );
}

/** The bytes of the page index through its end marker; asks for more of the tail when it is longer. */
async function readIndex(
  store: ObjectStore,
  file: ReplicaFile,
  { tail, header: { commit, pageSize } }: { readonly tail: Tail; readonly header: LtxHeader },
  options: RequestOptions,
): Promise<{ index: Uint8Array<ArrayBuffer>; asked: boolean }> {
  const { buffer } = tail;
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  const size = view.getBigUint64(buffer.length - AFTER_INDEX);
  const sizeMax = Math.min(
    file.size - HEADER_SIZE - 6 - AFTER_INDEX,
    storedPageCount(commit, pageSize) * MAX_ENTRY_SIZE + 1, // and the mark of its end
  );
  if (size < 1n || size > BigInt(sizeMax)) {
    throw new LtxFormatError(
      `Cannot read page index of "${file.key}": its size is ${size} bytes, expected 1 to ${sizeMax}`,
      { key: file.key, offset: file.size - AFTER_INDEX },
    );
  }
  const indexSize = Number(size);
  const missing = Math.max(0, indexSize + AFTER_INDEX - tail.size);
  const { buffer: all } = await withRoom(tail, missing, file);
  const start = all.length - AFTER_INDEX - indexSize;
  if (missing > 0) {
    const offset = file.size - AFTER_INDEX - indexSize;
    await fill(all.subarray(start, start + missing), { store, file, offset }, options);
  }
  return { index: all.subarray(start, start + indexSize), asked: missing > 0 };
}

/** Lets the loop turn between slices of work. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

async function decodeIndex(native: Native, objectId: number, index: Uint8Array<ArrayBuffer>, key: string) {
  for (;;) {
    const result = native.calls.ls_object_index(objectId, index, index.length, ENTRIES_A_SLICE);
    if (checkShim(native, result, "read page index of", key) === 0) return;
    await nextTurn();
  }
}

/**
 * Checks the whole file's checksum; only for a file of which all bytes are here.
 *
 * @throws {LtxFormatError} it does not fit to them
 */
export function verifyWhole(native: Native, file: ReplicaFile, bytes: Uint8Array): void {
  const result = native.calls.ls_file_verify(bytes as Uint8Array<ArrayBuffer>, bytes.length);
  checkShim(native, result, "verify LTX file", file.key);
}

/** Which file is opened, and what is known of it. */
export interface PlanFileSource {
  /** The shim's handle of its replica. */
  readonly replicaId: number;
  readonly file: ReplicaFile;
  /** Whether it is its plan's first. */
  readonly base?: boolean | undefined;
  /** Its first bytes, header and all, where they are here already. */
  readonly head?: Uint8Array | undefined;
}

/**
 * Fetches what describes a plan file and enters its frames into the shim.
 *
 * Small files are fetched whole and verified by their checksum; of large ones head and tail, at the same time. What breaks
 * the format is fetched a second time.
 *
 * @throws {LtxFormatError} the file breaks the format
 * @throws {ObjectGoneError} it is not there any more: plan anew
 */
export async function openPlanFile(
  native: Native,
  store: ObjectStore,
  source: PlanFileSource,
  options: RequestOptions = {},
): Promise<PlanFile> {
  return await readTwice(({ isFresh }) =>
    isFresh
      ? openOnce(native, store, { ...source, head: undefined }, { ...options, isFresh })
      : openOnce(native, store, source, options)
  );
}

async function openOnce(
  native: Native,
  store: ObjectStore,
  { replicaId, file, base = false, head: known }: PlanFileSource,
  options: RequestOptions,
): Promise<PlanFile> {
  const { head, tail } = await readEnds(store, file, { base, head: known }, options);
  const header = decodeHeader(head.subarray(0, HEADER_SIZE), { key: file.key });
  checkHeader(file, header);
  const trailer = decodeTrailer(tail.buffer.subarray(-TRAILER_SIZE), {
    noChecksum: isNoChecksum(header),
    fileSize: file.size,
    key: file.key,
  });
  const { index, asked } = await readIndex(store, file, { tail, header }, options);
  if (head.length === file.size) verifyWhole(native, file, head);
  const objectId = checkShim(
    native,
    native.calls.ls_object_new(
      replicaId,
      header.pageSize,
      header.commit,
      isSnapshot(header) ? 1 : 0,
      BigInt(file.size),
    ),
    "open LTX file",
    file.key,
  );
  try {
    await decodeIndex(native, objectId, index, file.key);
  } catch (error) {
    native.calls.ls_object_free(objectId);
    throw error;
  }
  if (index.length > PIECE_SIZE_MAX) giveBack(new Uint8Array(index.buffer)); // it was put together
  const frames = head.length > HEADER_SIZE ? head.subarray(HEADER_SIZE) : new Uint8Array(0);
  return {
    file,
    header,
    checksum: trailer.fileChecksum,
    objectId,
    fetched: { offset: HEADER_SIZE, bytes: frames },
    depth: asked ? 2 : 1,
    closed: false,
  };
}
