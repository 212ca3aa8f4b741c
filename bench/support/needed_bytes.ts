/**
 * What passing over a table or an index once has to move, whoever does it.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { decodeHeader, HEADER_SIZE } from "../../src/ltx/header.ts";
import { decodePageIndex } from "../../src/ltx/page_index.ts";
import { openLocal } from "../../tests/support/local_database.ts";
import { type BenchDatabase, PAGE_SIZE } from "./databases.ts";

/** B-tree page types that have children. */
const INTERIOR = new Set([0x02, 0x05]);
/** Bytes of a page of that type before its cell pointers. */
const INTERIOR_HEADER = 12;

/** Bytes, as the snapshot stores them, of all pages of a B-tree; overflow chains are not followed. */
export async function neededBytes(database: BenchDatabase, name: string): Promise<number> {
  const local = await openLocal(database.path);
  const { rootpage } = local.prepare("SELECT rootpage FROM sqlite_schema WHERE name = ?").get(name);
  local.close();
  const sizes = await frameSizes(database);
  let sum = 0;
  for (const pgno of treePages(new Uint8Array(await readFile(database.path)), rootpage)) sum += sizes[pgno]!;
  return sum;
}

/** Size of each page's frame in the snapshot, by pgno. */
async function frameSizes({ objects }: BenchDatabase): Promise<Uint32Array> {
  const [key, path] = [...objects].find(([key]) => key.startsWith("0009/"))!;
  const file = new Uint8Array(await readFile(path));
  const { commit, pageSize, minTxid } = decodeHeader(file.subarray(0, HEADER_SIZE), { key });
  const index = decodePageIndex(file, { fileSize: file.length, commit, pageSize, minTxid, key });
  if ("needBytes" in index) throw new Error(`Cannot read the index of ${key}`);
  const sizes = new Uint32Array(commit + 1);
  index.pgnos.forEach((pgno, i) => sizes[pgno] = index.sizes[i]!);
  return sizes;
}

function* treePages(bytes: Uint8Array, root: number): Generator<number> {
  const view = new DataView(bytes.buffer);
  const waiting = [root];
  for (let pgno = waiting.pop(); pgno !== undefined; pgno = waiting.pop()) {
    yield pgno;
    const start = (pgno - 1) * PAGE_SIZE;
    const header = start + (pgno === 1 ? 100 : 0);
    if (!INTERIOR.has(view.getUint8(header))) continue;
    const cells = view.getUint16(header + 3);
    for (let i = 0; i < cells; i++) {
      waiting.push(view.getUint32(start + view.getUint16(header + INTERIOR_HEADER + 2 * i)));
    }
    waiting.push(view.getUint32(header + 8));
  }
}
