/**
 * Several LTX files merged into one: of each page the newest version, as chunks of the new file.
 *
 * In memory are a piece of each source, a chunk, and the new file's page index (about 10 bytes a page).
 *
 * @module
 */
import { ltxFault } from "../ltx/fault.ts";
import { completeHeader, type LtxHeader } from "../ltx/header.ts";
import { LtxWriter, type WrittenFile } from "../ltx/ltx_writer.ts";
import type { Lz4 } from "../ltx/lz4.ts";
import { formatTxid } from "../ltx/txid.ts";
import { Pace } from "../pace.ts";
import type { ReplicaFile } from "../view/restore_plan.ts";
import type { CompactionStore } from "./compaction_store.ts";
import { LtxSource, type StoredFrame } from "./ltx_source.ts";

/** Bytes of all sources' pieces together, unless given. */
const PIECES_SIZE = 8 * 1024 * 1024;
const PIECE_SIZE_MIN = 16 * 1024;
const PIECE_SIZE_MAX = 2 * 1024 * 1024;

/** How files are merged. */
export interface MergeOptions {
  readonly store: Pick<CompactionStore, "read">;
  readonly lz4: Lz4;
  /** The new file's timestamp in ms since the Unix epoch, where it is not the last source's. */
  readonly timestampMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Bytes of all sources' pieces that are in memory, at 16 KiB a piece or more; 8 MiB unless given. */
  readonly piecesSize?: number;
  /** Bytes of a chunk at least, but for the last one; 256 KiB unless given. */
  readonly chunkSize?: number;
}

/**
 * Merges files that follow one another, oldest first: gives the new file in chunks, which are the caller's,
 * and says what it was in the end.
 *
 * Of each page up to the last file's commit there is the newest version; of a file that begins at TXID 1
 * every page but the lock page. The header has the first file's MinTXID, the last one's MaxTXID, commit and
 * timestamp, and the NoChecksum flag. Sources are read to their end, their checksums verified; the same
 * sources give the same bytes.
 *
 * @throws {RangeError} the files do not follow one another
 * @throws {LtxFormatError} a file breaks the format, or a page is in none of them that must be
 * @throws {ObjectGoneError} a file is not there any more
 * @see LTX format version 3, §15
 */
export async function* mergeFiles(
  files: readonly ReplicaFile[],
  options: MergeOptions,
): AsyncGenerator<Uint8Array<ArrayBuffer>, WrittenFile, undefined> {
  checkOrder(files);
  const abort = new AbortController();
  const signal = options.signal === undefined
    ? abort.signal
    : AbortSignal.any([abort.signal, options.signal]);
  try {
    const pieceSize = pieceSizeFor(files.length, options.piecesSize ?? PIECES_SIZE);
    const source = { store: options.store, lz4: options.lz4, pieceSize, signal };
    const sources = await Promise.all(files.map((file) => LtxSource.open(file, source)));
    return yield* merge(sources, options, new Pace(signal));
  } finally {
    abort.abort(new Error("Cannot read on: the merge has ended"));
  }
}

function pieceSizeFor(sources: number, piecesSize: number): number {
  // two of each source are in memory
  const size = Math.floor(piecesSize / sources / 2);
  return Math.min(PIECE_SIZE_MAX, Math.max(PIECE_SIZE_MIN, size));
}

function checkOrder(files: readonly ReplicaFile[]): void {
  if (files.length === 0) throw new RangeError("Cannot merge files: none given, expected at least one");
  for (let i = 1; i < files.length; i++) {
    const [before, file] = [files[i - 1]!, files[i]!];
    if (file.minTxid <= before.maxTxid + 1n && file.maxTxid > before.maxTxid) continue;
    throw new RangeError(
      `Cannot merge files: "${file.key}" follows "${before.key}", expected one that begins at or below ` +
        `TXID ${formatTxid(before.maxTxid + 1n)} and ends behind "${before.key}"`,
    );
  }
}

async function* merge(
  sources: readonly LtxSource[],
  { lz4, timestampMs, chunkSize }: MergeOptions,
  pace: Pace,
): AsyncGenerator<Uint8Array<ArrayBuffer>, WrittenFile, undefined> {
  const header = mergedHeader(sources, timestampMs);
  const writer = new LtxWriter(header, { chunkSize });
  for (;;) {
    await pace.turn();
    const frame = await takeNewest(sources);
    if (frame === null) break;
    if (frame.pgno > header.commit) continue;
    const { pgno, page, stored, encoding } = frame;
    const chunk = encoding === "block"
      ? writer.addFrame(pgno, page, stored)
      : writer.addPage(pgno, page, lz4);
    if (chunk !== null) yield chunk;
  }
  return yield* writer.end();
}

function mergedHeader(sources: readonly LtxSource[], timestampMs: number | undefined): LtxHeader {
  const first = sources[0]!;
  const last = sources.at(-1)!;
  for (const { header: { pageSize }, file } of sources) {
    if (pageSize === first.header.pageSize) continue;
    throw ltxFault("merge LTX file", `page size is ${pageSize}`, `${first.header.pageSize}`, file);
  }
  const { pageSize, minTxid } = first.header;
  const { commit, maxTxid } = last.header;
  // Litestream cannot write it, and takes none of it back
  if (commit === 0) throw ltxFault("merge LTX file", "commit is 0", "1 or more", last.file);
  return completeHeader({
    pageSize,
    commit,
    minTxid,
    maxTxid,
    timestampMs: timestampMs ?? last.header.timestampMs,
  });
}

/** Takes the next page of all sources that have it, and gives that of the newest; null behind the last. */
async function takeNewest(sources: readonly LtxSource[]): Promise<StoredFrame | null> {
  let pgno = 0;
  for (const source of sources) {
    if (source.pgno !== 0 && (pgno === 0 || source.pgno < pgno)) pgno = source.pgno;
  }
  if (pgno === 0) return null;
  let newest: StoredFrame | null = null;
  for (const source of sources) if (source.pgno === pgno) newest = await source.take();
  return newest;
}
