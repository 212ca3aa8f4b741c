import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { decodeFile } from "../../src/ltx/file.ts";
import {
  collectLogged,
  encodeLogged,
  headAfter,
  headOf,
  loggedSize,
  NEW_HEAD,
} from "../../src/write/logged_file.ts";
import { readLog, type WriteLog } from "../../src/write/write_log.ts";
import { samplePage } from "../support/ltx_files.ts";
import { lz4 } from "../support/lz4.ts";
import { withFolder } from "../support/real.ts";
import { logBytes, type MadeFrame } from "./log_bytes.ts";

async function written(folder: string, frames: readonly MadeFrame[], pageSize: number): Promise<WriteLog> {
  const path = join(folder, "log.1");
  await writeFile(path, logBytes(frames, { pageSize }));
  return (await readLog(path))!;
}

const head = { versions: [2, 2], counter: 0x01020304 } as const;

test("headOf() reads versions and counter; headAfter() counts transactions, past 32 bits from 0 on", () => {
  const page = new Uint8Array(600).fill(0xee).subarray(88);
  page.set([2, 1], 18);
  page.set([0xff, 0xff, 0xff, 0xfe], 24);
  assert.deepEqual(headOf(page), { versions: [2, 1], counter: 0xffff_fffe });
  assert.deepEqual(headAfter(headOf(page), 1), { versions: [2, 1], counter: 0xffff_ffff });
  assert.deepEqual(headAfter(headOf(page), 3), { versions: [2, 1], counter: 1 });
  assert.deepEqual(NEW_HEAD, { versions: [1, 1], counter: 0 });
});

test("encodeLogged() makes an LTX file of one TXID; page 1 has the head it is given, others stay", () =>
  withFolder(async (folder) => {
    const frames = [4, 1, 9, 2].map((pgno): MadeFrame => ({ pgno }));
    const log = await written(folder, [...frames, {
      pgno: 2,
      commit: 4,
      txid: 5n,
      timeMs: 1_700_000_000_123,
    }], 512);
    const logged = log.txids[0]!;
    const bytes = await collectLogged({ log, logged, head, lz4 });
    const { header, frames: pages } = decodeFile(bytes, lz4);
    const { flags, pageSize, commit, minTxid, maxTxid, timestampMs, walOffset, walSize, walSalt1 } = header;
    assert.deepEqual([flags, pageSize, commit, minTxid, maxTxid], [2, 512, 4, 5n, 5n]);
    assert.deepEqual([timestampMs, walOffset, walSize, walSalt1], [1_700_000_000_123, 32, 0, 0]);
    const first = samplePage(512, 1);
    first.set([2, 2], 18);
    for (const at of [24, 92]) first.set([1, 2, 3, 4], at);
    assert.deepEqual(pages.map(({ pgno, page }) => ({ pgno, page: page.slice() })), [
      { pgno: 1, page: first },
      { pgno: 2, page: samplePage(512, 2) },
      { pgno: 4, page: samplePage(512, 4) },
    ]);
    assert.equal(loggedSize({ log, logged }), 4 * 512);
    assert.deepEqual(await collectLogged({ log, logged, head, lz4 }), bytes);
  }));

test("encodeLogged() leaves the lock page out, and gives a large file in chunks", () =>
  withFolder(async (folder) => {
    const pgnos = [16_382, 16_383, 16_384, 16_385, 16_386, 16_387, 16_390];
    const frames = pgnos.map((pgno): MadeFrame => ({ pgno, page: samplePage(65_536, 3 + 4 * pgno) })); // noise
    frames[6] = { ...frames[6]!, commit: 16_390, txid: 2n };
    const log = await written(folder, frames, 65_536);
    const chunks = await Array.fromAsync(encodeLogged({ log, logged: log.txids[0]!, head, lz4 }));
    assert.ok(chunks.length > 1, `${chunks.length} chunks`);
    const { frames: pages } = decodeFile(new Uint8Array(await new Blob(chunks).arrayBuffer()), lz4);
    assert.deepEqual(pages.map(({ pgno }) => pgno), pgnos.filter((pgno) => pgno !== 16_385));
    assert.deepEqual(pages[4]!.page.slice(), frames[5]!.page);
  }));

test("encodeLogged() ends when it is told to", () =>
  withFolder(async (folder) => {
    const log = await written(folder, [{ pgno: 1, commit: 1, txid: 2n }], 512);
    const signal = AbortSignal.abort(new Error("no more"));
    await assert.rejects(collectLogged({ log, logged: log.txids[0]!, head, lz4, signal }), {
      message: "no more",
    });
  }));
