/**
 * A logged TXID → the LTX file that it becomes: the same bytes each time, so that what was stored before a crash is known
 * again.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { completeHeader } from "../ltx/header.ts";
import { LtxWriter } from "../ltx/ltx_writer.ts";
import type { Lz4 } from "../ltx/lz4.ts";
import { lockPgno } from "../ltx/txid.ts";
import { Pace } from "../pace.ts";
import { type LoggedTxid, readLogPages, type WriteLog } from "./write_log.ts";

/** What of page 1 SQLite is not told as it is stored, and so cannot write. */
export interface DatabaseHead {
  /** File format versions: bytes 18 and 19; 2 in a database in WAL mode. */
  readonly versions: readonly [number, number];
  /** The change counter: bytes 24 to 27, and 92 to 95. */
  readonly counter: number;
}

/**
 * As a file has it that was written before the source's WAL had any frame: a daemon that takes over then begins with all
 * pages. At 0 it fails ("prev WAL offset is less than the header size").
 */
const WAL_HEADER_SIZE = 32;

/** A database that was never stored. */
export const NEW_HEAD: DatabaseHead = { versions: [1, 1], counter: 0 };

/** What stands at those places of page 1. */
export function headOf(page: Uint8Array): DatabaseHead {
  const view = new DataView(page.buffer, page.byteOffset);
  return { versions: [page[18]!, page[19]!], counter: view.getUint32(24) };
}

/** The head after so many transactions. */
export function headAfter({ versions, counter }: DatabaseHead, transactions: number): DatabaseHead {
  return { versions, counter: (counter + transactions) >>> 0 };
}

function setHead(page: Uint8Array, { versions, counter }: DatabaseHead): void {
  page.set(versions, 18);
  const view = new DataView(page.buffer, page.byteOffset);
  view.setUint32(24, counter);
  view.setUint32(92, counter);
}

/** A TXID of a log, and what its file is made with. */
export interface LoggedFile {
  readonly log: Pick<WriteLog, "path" | "pageSize">;
  readonly logged: LoggedTxid;
  /** What its page 1 is to have. */
  readonly head: DatabaseHead;
  readonly lz4: Lz4;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Encodes what was logged under a TXID, in chunks.
 *
 * @throws {WriteLogError} the log cannot be read any more
 */
export async function* encodeLogged(
  { log, logged, head, lz4, signal }: LoggedFile,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const { txid, commit, timeMs } = logged;
  const { pageSize } = log;
  const writer = new LtxWriter(completeHeader({
    pageSize,
    commit,
    minTxid: txid,
    maxTxid: txid,
    timestampMs: timeMs,
    walOffset: WAL_HEADER_SIZE,
  }));
  const pace = new Pace(signal);
  for await (const { pgno, page } of readLogPages(log, logged)) {
    if (pgno === lockPgno(pageSize)) continue;
    if (pgno === 1) setHead(page, head);
    const chunk = writer.addPage(pgno, page, lz4);
    if (chunk !== null) yield chunk;
    await pace.turn();
  }
  yield* writer.end();
}

/** Bytes of the pages that a TXID's file has, before they are compressed. */
export function loggedSize({ log, logged }: Pick<LoggedFile, "log" | "logged">): number {
  return logged.pages.size * log.pageSize;
}

/** The same as one piece. */
export async function collectLogged(file: LoggedFile): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of encodeLogged(file)) chunks.push(chunk);
  return Buffer.concat(chunks);
}
