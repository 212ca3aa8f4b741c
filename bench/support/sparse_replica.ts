/**
 * A snapshot of very many pages that takes little room on disk: header, the first frames and the page index
 * are there, the frames between are a hole in the file.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { CHECKSUM_FLAG } from "../../src/ltx/checksum.ts";
import { encodeFrame } from "../../src/ltx/frame.ts";
import { completeHeader, encodeHeader, HEADER_SIZE } from "../../src/ltx/header.ts";
import { encodePageIndex } from "../../src/ltx/page_index.ts";
import { encodeTrailer } from "../../src/ltx/trailer.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { openLocal } from "../../tests/support/local_database.ts";
import { snapshotPgnos } from "../../tests/support/ltx_files.ts";
import { nativeLz4 } from "../../tests/support/native_lz4.ts";
import { Random } from "../../tests/support/random.ts";

const FOLDER = fileURLToPath(new URL("../../.tools/bench/", import.meta.url));
const PAGE_SIZE = 4096;
/** Frames that are there: the schema's page, and as many behind it as may be loaded along. */
const FRAMES_WRITTEN = 128;
/** What each of the others would take: rows of text compress so. */
const FRAME_SIZE = 1700;

/** A replica's only object: its key below the replica's path, and the file with its bytes. */
export interface SparseReplica {
  readonly key: string;
  readonly path: string;
}

/** Makes a replica of one table whose database has so many pages, or finds the one made before. */
export async function sparseReplica(commit: number): Promise<SparseReplica> {
  const txids = { minTxid: 1n, maxTxid: 1n };
  const key = `0009/${formatLtxFileName(txids)}`;
  const path = join(FOLDER, `sparse-${commit}`, key);
  if (existsSync(path)) return { key, path };
  await mkdir(dirname(path), { recursive: true });
  const header = completeHeader({ pageSize: PAGE_SIZE, commit, ...txids, timestampMs: 1_700_000_000_000 });
  const pgnos = snapshotPgnos(commit, PAGE_SIZE);
  const frames = await firstFrames(pgnos.subarray(0, FRAMES_WRITTEN));
  const sizes = new Uint32Array(pgnos.length).fill(FRAME_SIZE);
  frames.forEach((frame, i) => sizes[i] = frame.length);
  const offsets = new Float64Array(pgnos.length);
  let end = HEADER_SIZE;
  for (const [i, size] of sizes.entries()) {
    offsets[i] = end;
    end += size;
  }
  const index = encodePageIndex({ pgnos, offsets, sizes });
  const checksums = { postApplyChecksum: 0n, fileChecksum: CHECKSUM_FLAG };
  const fileSize = end + 6 + index.length + 16;
  const trailer = encodeTrailer(checksums, { noChecksum: true, fileSize, key });
  const file = await open(`${path}.tmp`, "w");
  try {
    await file.write(encodeHeader(header), 0, HEADER_SIZE, 0);
    for (const [i, frame] of frames.entries()) await file.write(frame, 0, frame.length, offsets[i]!);
    await file.write(index, 0, index.length, end + 6);
    await file.write(trailer, 0, trailer.length, end + 6 + index.length);
  } finally {
    await file.close();
  }
  await rename(`${path}.tmp`, path);
  return { key, path };
}

/** Frames of a database with one empty table, and of pages that nothing names. */
async function firstFrames(pgnos: Uint32Array): Promise<Uint8Array[]> {
  const path = join(FOLDER, "sparse.db.tmp");
  await rm(path, { force: true });
  const database = await openLocal(path);
  database.exec(
    `PRAGMA page_size=${PAGE_SIZE}; PRAGMA journal_mode=off; CREATE TABLE t(id INTEGER PRIMARY KEY)`,
  );
  database.close();
  const bytes = new Uint8Array(await readFile(path));
  await rm(path);
  const lz4 = await nativeLz4();
  return Array.from(pgnos, (pgno) => {
    const real = bytes.subarray((pgno - 1) * PAGE_SIZE, pgno * PAGE_SIZE);
    const page = real.length === PAGE_SIZE ? real : new Random(pgno).bytes(PAGE_SIZE);
    return encodeFrame(page, { pgno, encoding: "block", lz4 });
  });
}
