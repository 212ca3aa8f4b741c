/**
 * The write log as it lies on disk: what a writer committed and object storage may not have yet.
 *
 * @see ffi/writer.c, which writes it and describes its format
 * @module
 */
import { Buffer } from "node:buffer";
import { type FileHandle, open, readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { syncFile, syncFolder } from "../disk_sync.ts";
import { WriteLogError } from "../errors.ts";
import { Crc64 } from "../ltx/checksum.ts";

const MAGIC = "LSWL";
const VERSION = 1;
const LOG_HEADER_SIZE = 64;
const LOG_FRAME_HEADER_SIZE = 40;

/** Where in a frame's header is how much of the file was on the disk when it was written; and the CRC. */
const SYNCED_OFFSET = 24;
const CRC_OFFSET = 32;
const LINK_OFFSET = 12;
const LINK_CRC_OFFSET = 24;
const BASE_OFFSET = 32;

/** Bytes that tell what a log is written on top of. */
export const BASE_SIZE = 24;

/** Frames that are read at once, in bytes. */
const PIECE_SIZE = 1024 * 1024;

/** What was committed under one TXID: one or more transactions, which become one LTX file. */
export interface LoggedTxid {
  readonly txid: bigint;
  /** Size after the last transaction, in pages. */
  readonly commit: number;
  /** When the last transaction was committed, in ms since the Unix epoch. */
  readonly timeMs: number;
  /** How many transactions they were. */
  readonly transactions: number;
  /** By pgno: where the newest content of a page begins in the file. */
  readonly pages: ReadonlyMap<number, number>;
}

/** One file of a log. */
export interface WriteLog {
  readonly path: string;
  readonly pageSize: number;
  /** What it is written on top of, as the writer's core gave it; {@link BASE_SIZE} bytes. */
  readonly base: Uint8Array;
  /** What it holds, in order. */
  readonly txids: readonly LoggedTxid[];
  /** Where the last committed transaction ends. */
  readonly end: number;
  /** The CRC there. */
  readonly crc: bigint;
  /** The CRC where the file before this one ended; undefined where there was none, or an earlier version wrote it. */
  readonly crcBefore: bigint | undefined;
  /** Bytes behind it: of a transaction that did not come to its commit, or what a crash left. */
  readonly rest: number;
}

/** Files of the log at `path`, in the order in which they were begun. */
export async function listLogs(path: string): Promise<string[]> {
  const prefix = `${basename(path)}.`;
  const numbers: number[] = [];
  try {
    for (const name of await readdir(dirname(path))) {
      const rest = name.slice(prefix.length);
      if (name.startsWith(prefix) && /^[1-9][0-9]*$/.test(rest)) numbers.push(Number(rest));
    }
  } catch (cause) {
    if ((cause as { code?: string }).code === "ENOENT") return [];
    throw new WriteLogError(`Cannot list write logs "${path}": ${(cause as Error).message}`, { cause });
  }
  return numbers.sort((a, b) => a - b).map((number) => join(dirname(path), `${prefix}${number}`));
}

/**
 * Reads what was committed to a log, as far as its checksums lead; `undefined` when not even its header was written. `end`:
 * it is known to reach there at least, and nothing behind is looked at.
 *
 * @throws {WriteLogError} it cannot be read, or is no write log
 */
export async function readLog(
  path: string,
  { end = Infinity }: { end?: number } = {},
): Promise<WriteLog | undefined> {
  const file = await openLog(path);
  try {
    const head = await readAt(file, 0, LOG_HEADER_SIZE);
    const { size: there } = await file.stat();
    const size = Math.min(there, end);
    if (head.length < LOG_HEADER_SIZE || isBlank(head)) return undefined;
    const pageSize = checkHead(path, head);
    const log = await readFrames(file, { pageSize, size, crc: new Crc64().update(head) });
    const base = head.slice(BASE_OFFSET, BASE_OFFSET + BASE_SIZE);
    const view = new DataView(head.buffer, head.byteOffset);
    const crcBefore = view.getUint32(LINK_OFFSET) === 1 ? view.getBigUint64(LINK_CRC_OFFSET) : undefined;
    return { path, pageSize, base, ...log, crcBefore, rest: size - log.end };
  } catch (cause) {
    if (cause instanceof WriteLogError && cause.message.startsWith("Cannot")) throw cause;
    throw new WriteLogError(`Cannot read write log "${path}": ${(cause as Error).message}`, { cause });
  } finally {
    await file.close();
  }
}

/** A page as it was logged. */
export interface LoggedPage {
  readonly pgno: number;
  /** The reader's until it takes the next one. */
  readonly page: Uint8Array;
}

/** Reads what a TXID has, in ascending order of pgnos. */
export async function* readLogPages(
  { path, pageSize }: Pick<WriteLog, "path" | "pageSize">,
  { pages, commit }: LoggedTxid,
): AsyncGenerator<LoggedPage, void, undefined> {
  const file = await openLog(path);
  try {
    const pgnos = [...pages.keys()].filter((pgno) => pgno <= commit).sort((a, b) => a - b);
    const count = Math.max(1, Math.floor(PIECE_SIZE / pageSize));
    for (let at = 0; at < pgnos.length; at += count) {
      const places = pgnos.slice(at, at + count).map((pgno) => ({ pgno, offset: pages.get(pgno)! }));
      yield* await readPlaces(file, { path, pageSize, places });
    }
  } finally {
    await file.close();
  }
}

/** Where pages lie in a log. */
interface Places {
  readonly path: string;
  readonly pageSize: number;
  readonly places: readonly { readonly pgno: number; readonly offset: number }[];
}

/** Reads pages, frames that lie side by side at once; gives them in the order of `places`. */
async function readPlaces(file: FileHandle, { path, pageSize, places }: Places): Promise<LoggedPage[]> {
  const frameSize = LOG_FRAME_HEADER_SIZE + pageSize;
  const found = new Map<number, Uint8Array>();
  const rising = [...places].sort((a, b) => a.offset - b.offset);
  for (let from = 0, to = 0; from < rising.length; from = to) {
    const { offset } = rising[from]!;
    for (to = from + 1; rising[to]?.offset === offset + (to - from) * frameSize;) to++;
    const size = (to - from - 1) * frameSize + pageSize;
    const bytes = await readAt(file, offset, size);
    if (bytes.length < size) {
      throw new WriteLogError(`Cannot read write log "${path}": it was cut while it was read`);
    }
    for (let i = from; i < to; i++) {
      found.set(rising[i]!.pgno, bytes.subarray((i - from) * frameSize, (i - from) * frameSize + pageSize));
    }
  }
  return places.map(({ pgno }) => ({ pgno, page: found.get(pgno)! }));
}

/**
 * Has a log's file on the disk, and its name: storage must never be ahead of it.
 *
 * @throws {WriteLogError} the disk refuses
 */
export async function syncLog(path: string): Promise<void> {
  const failed = (each: string) => (cause: Error) => {
    throw new WriteLogError(`Cannot sync "${each}": ${cause.message}`, { cause });
  };
  await syncFile(path).catch(failed(path));
  await syncFolder(dirname(path)).catch(failed(dirname(path)));
}

async function openLog(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (cause) {
    throw new WriteLogError(`Cannot open write log "${path}": ${(cause as Error).message}`, { cause });
  }
}

async function readAt(file: FileHandle, offset: number, size: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(size);
  let got = 0;
  while (got < size) {
    const { bytesRead } = await file.read(bytes, got, size - got, offset + got);
    if (bytesRead === 0) break;
    got += bytesRead;
  }
  return bytes.subarray(0, got);
}

/** A header that a crash left unwritten. */
function isBlank(head: Uint8Array): boolean {
  return head.every((byte) => byte === 0);
}

function checkHead(path: string, head: Uint8Array): number {
  const view = new DataView(head.buffer, head.byteOffset);
  const magic = Buffer.from(head.subarray(0, 4)).toString("latin1");
  const refuse = (found: string) => new WriteLogError(`Cannot read write log "${path}": ${found}`);
  if (magic !== MAGIC) throw refuse(`it begins with ${JSON.stringify(magic)}, expected "${MAGIC}"`);
  const version = view.getUint32(4);
  if (version !== VERSION) throw refuse(`its version is ${version}, expected ${VERSION}`);
  if (view.getBigUint64(56) !== new Crc64().update(head.subarray(0, 56)).digest()) {
    throw refuse("its header is damaged: another checksum than its content has");
  }
  const pageSize = view.getUint32(8);
  const isSize = pageSize >= 512 && pageSize <= 65_536 && (pageSize & (pageSize - 1)) === 0;
  if (!isSize) throw refuse(`its page size is ${pageSize}, expected a power of two from 512 to 65536`);
  return pageSize;
}

/** A TXID while it is read. */
interface Collected {
  txid: bigint;
  commit: number;
  timeMs: number;
  transactions: number;
  pages: Map<number, number>;
}

async function readFrames(
  file: FileHandle,
  { pageSize, size, crc }: { pageSize: number; size: number; crc: Crc64 },
): Promise<Pick<WriteLog, "end" | "crc"> & { txids: Collected[] }> {
  const frameSize = LOG_FRAME_HEADER_SIZE + pageSize;
  const pieceSize = Math.max(1, Math.floor(PIECE_SIZE / frameSize)) * frameSize;
  const txids: Collected[] = [];
  let open = new Map<number, number>();
  let end = LOG_HEADER_SIZE;
  let crcEnd = crc.digest();
  for (let at = LOG_HEADER_SIZE; at + frameSize <= size; at += pieceSize) {
    const piece = await readAt(file, at, Math.min(pieceSize, size - at));
    for (let i = 0; i + frameSize <= piece.length; i += frameSize) {
      const frame = piece.subarray(i, i + frameSize);
      const view = new DataView(frame.buffer, frame.byteOffset);
      const computed = updated(crc, frame);
      const found = view.getBigUint64(CRC_OFFSET);
      if (found !== computed) {
        await checkEnd(file, { at: at + i, frameSize, size, last: [computed, found] });
        return { txids, end, crc: crcEnd };
      }
      open.set(view.getUint32(0), at + i + LOG_FRAME_HEADER_SIZE);
      const commit = view.getUint32(4);
      if (commit === 0) continue;
      end = at + i + frameSize;
      crcEnd = found;
      const timeMs = Number(view.getBigUint64(8));
      add(txids, { txid: view.getBigUint64(16), commit, timeMs, transactions: 1, pages: open });
      open = new Map();
    }
  }
  return { txids, end, crc: crcEnd };
}

/** The CRC up to a frame's end; the frame's own is no part of it. */
function updated(crc: Crc64, frame: Uint8Array): bigint {
  return crc.update(frame.subarray(0, CRC_OFFSET)).update(frame.subarray(LOG_FRAME_HEADER_SIZE)).digest();
}

/** A frame that does not fit to those before it. */
interface Misfit {
  readonly at: number;
  readonly frameSize: number;
  readonly size: number;
  /** The CRC that it leads to, and the one that it has: one of them is right where only it is damaged. */
  readonly last: readonly bigint[];
}

/**
 * A log that a crash cut ends with frames that were never whole: of a transaction that was given up, or of those whose
 * sync nobody waited for, of which any part may be there. A frame behind them, whole in itself, that was written when they
 * were on the disk already tells of damage instead.
 */
async function checkEnd(file: FileHandle, { at, frameSize, size, last }: Misfit): Promise<void> {
  let before = last;
  for (let next = at + frameSize; next + frameSize <= size; next += frameSize) {
    const frame = await readAt(file, next, frameSize);
    const view = new DataView(frame.buffer, frame.byteOffset);
    const found = view.getBigUint64(CRC_OFFSET);
    const isWhole = before.some((digest) => updated(Crc64.from(digest), frame) === found);
    if (isWhole && view.getBigUint64(SYNCED_OFFSET) > at) {
      throw new WriteLogError(
        `it is damaged at byte ${at}: it was written on behind there after that was on the disk, expected none of it to change`,
      );
    }
    before = [found];
  }
}

/** A transaction joins those of its TXID. */
function add(txids: Collected[], transaction: Collected): void {
  const last = txids.at(-1);
  if (last?.txid !== transaction.txid) {
    txids.push(transaction);
    return;
  }
  last.commit = transaction.commit;
  last.timeMs = transaction.timeMs;
  last.transactions++;
  for (const [pgno, offset] of transaction.pages) last.pages.set(pgno, offset);
}
