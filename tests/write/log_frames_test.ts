/** What is read of write logs that are made up byte by byte. */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { WriteLogError } from "../../src/errors.ts";
import { listLogs, readLog, readLogPages, syncLog, type WriteLog } from "../../src/write/write_log.ts";
import { samplePage } from "../support/ltx_files.ts";
import { withFolder } from "../support/real.ts";
import { frameOffset, logBytes, type MadeFrame } from "./log_bytes.ts";

/** Writes a log, and reads it. */
async function written(folder: string, bytes: Uint8Array, end?: number): Promise<WriteLog | undefined> {
  const path = join(folder, "log.1");
  await writeFile(path, bytes);
  return await readLog(path, end === undefined ? {} : { end });
}

const two: MadeFrame[] = [
  { pgno: 1 },
  { pgno: 3 },
  { pgno: 2, commit: 3, txid: 7n, timeMs: 1_700_000_000_001 },
  { pgno: 2, commit: 4, txid: 7n, timeMs: 1_700_000_000_002 },
  { pgno: 4, commit: 4, txid: 7n, timeMs: 1_700_000_000_003 },
  { pgno: 4 },
  { pgno: 1, commit: 2, txid: 8n, timeMs: 1_700_000_000_004 },
];

test("readLog() gives what each TXID has: the newest place of each page, the last size and time", () =>
  withFolder(async (folder) => {
    const base = Uint8Array.from({ length: 24 }, (_, i) => i + 1);
    const log = await written(folder, logBytes(two, { base }));
    const at = (index: number) => frameOffset(index) + 40;
    assert.deepEqual(log, {
      path: join(folder, "log.1"),
      pageSize: 512,
      base,
      end: frameOffset(7),
      crc: new DataView(logBytes(two, { base }).buffer).getBigUint64(frameOffset(6) + 32),
      crcBefore: undefined,
      rest: 0,
      txids: [
        {
          txid: 7n,
          commit: 4,
          timeMs: 1_700_000_000_003,
          transactions: 3,
          pages: new Map([[1, at(0)], [3, at(1)], [2, at(3)], [4, at(4)]]),
        },
        {
          txid: 8n,
          commit: 2,
          timeMs: 1_700_000_000_004,
          transactions: 1,
          pages: new Map([[4, at(5)], [1, at(6)]]),
        },
      ],
    });
  }));

test("readLog() leaves out what has no commit, and looks at nothing behind the end it is told", () =>
  withFolder(async (folder) => {
    const bytes = logBytes([...two, { pgno: 9 }, { pgno: 10 }]);
    const whole = await written(folder, bytes);
    assert.deepEqual([whole!.end, whole!.rest], [frameOffset(7), 2 * 552]);
    assert.deepEqual(whole!.txids[1]!.pages.size, 2);
    const [first] = (await written(folder, bytes, frameOffset(3)))!.txids;
    assert.deepEqual([first!.commit, first!.transactions], [3, 1]);
    assert.deepEqual((await written(folder, bytes, frameOffset(3) - 1))!.txids, []);
    assert.equal((await written(folder, bytes, frameOffset(3) - 1))!.rest, frameOffset(3) - 1 - 64);
  }));

test("readLog() gives undefined where not even a header was written", () =>
  withFolder(async (folder) => {
    const bytes = logBytes(two);
    assert.equal(await written(folder, bytes.subarray(0, 63)), undefined);
    assert.equal(await written(folder, new Uint8Array(0)), undefined);
    assert.equal(await written(folder, new Uint8Array(600)), undefined);
    assert.deepEqual((await written(folder, bytes.subarray(0, 64)))!.txids, []);
  }));

test("readLog() takes page sizes that SQLite has, and no others", () =>
  withFolder(async (folder) => {
    for (const pageSize of [512, 1024, 4096, 65_536]) {
      const log = await written(folder, logBytes([{ pgno: 1, commit: 1, txid: 2n }], { pageSize }));
      assert.equal(log!.pageSize, pageSize);
      assert.deepEqual([...log!.txids[0]!.pages], [[1, 104]]);
    }
    for (const pageSize of [0, 1, 256, 511, 513, 768, 65_535, 65_537, 131_072]) {
      await assert.rejects(written(folder, logBytes([], { pageSize })), {
        name: "WriteLogError",
        message: new RegExp(
          `^Cannot read write log "[^"]*": its page size is ${pageSize}, expected a power of two from 512 to 65536$`,
        ),
      });
    }
  }));

test("readLog() reads logs of more frames than it reads at once, to the last byte", () =>
  withFolder(async (folder) => {
    for (const count of [1898, 1899, 1900, 3799]) { // 1899 frames are a piece
      const frames = Array.from({ length: count }, (_, i): MadeFrame => ({
        pgno: i + 1,
        page: new Uint8Array(512).fill(i & 0xff),
        ...(i % 100 === 99 || i === count - 1 ? { commit: i + 1, txid: 2n, timeMs: i } : {}),
      }));
      const log = await written(folder, logBytes(frames));
      const [logged] = log!.txids;
      assert.deepEqual([log!.end, log!.rest], [frameOffset(count), 0]);
      assert.deepEqual([logged!.transactions, logged!.commit], [Math.ceil(count / 100), count]);
      const pages = await Array.fromAsync(
        readLogPages(log!, logged!),
        ({ pgno, page }) => [pgno, page[0], page[511]],
      );
      assert.deepEqual(pages, frames.map((_, i) => [i + 1, i & 0xff, i & 0xff]));
    }
  }));

test("readLogPages() gives pages up to the size in pages, ascending, wherever they lie", () =>
  withFolder(async (folder) => {
    const frames = [5, 6, 2, 9, 1, 7, 3].map((pgno): MadeFrame => ({ pgno }));
    const log = await written(folder, logBytes([...frames, { pgno: 8, commit: 7, txid: 2n }]));
    const pages = await Array.fromAsync(
      readLogPages(log!, log!.txids[0]!),
      ({ pgno, page }) => ({ pgno, page: page.slice() }),
    );
    assert.deepEqual(pages, [1, 2, 3, 5, 6, 7].map((pgno) => ({ pgno, page: samplePage(512, pgno) })));
  }));

test("readLogPages() tells where the log was cut since", () =>
  withFolder(async (folder) => {
    const bytes = logBytes(two);
    const log = await written(folder, bytes);
    await writeFile(log!.path, bytes.subarray(0, frameOffset(7) - 1));
    await assert.rejects(Array.fromAsync(readLogPages(log!, log!.txids[1]!)), {
      name: "WriteLogError",
      message: /^Cannot read write log ".*log\.1": it was cut while it was read$/,
    });
  }));

/** A log whose frame 1 of 4, each a transaction, was damaged; the later ones were written when so much was on the disk. */
function damaged(synced: number, damage: (frame: Uint8Array) => void): Uint8Array {
  const frames = [1, 2, 3, 4].map((pgno): MadeFrame => ({
    pgno,
    commit: 4,
    txid: 2n,
    synced: pgno > 2 ? synced : 0,
  }));
  const bytes = logBytes(frames);
  damage(bytes.subarray(frameOffset(1), frameOffset(2)));
  return bytes;
}

const damages: [string, (frame: Uint8Array) => void][] = [
  ["its page", (frame) => frame[50]!++],
  ["its page number", (frame) => frame[3]!++],
  ["its checksum", (frame) => frame[39]!++],
];
for (const [what, damage] of damages) {
  test(`readLog() tells damage of a frame in ${what} by later ones that were written when it was on the disk`, () =>
    withFolder(async (folder) => {
      await assert.rejects(written(folder, damaged(frameOffset(1) + 1, damage)), (error) => {
        assert.ok(error instanceof WriteLogError);
        assert.match(
          error.message,
          new RegExp(`^Cannot read write log ".*": it is damaged at byte ${frameOffset(1)}: `),
        );
        assert.ok(error.cause instanceof WriteLogError);
        return true;
      });
      const torn = await written(folder, damaged(frameOffset(1), damage));
      assert.deepEqual([torn!.end, torn!.txids[0]!.transactions], [frameOffset(1), 1]);
      assert.equal(torn!.rest, 3 * 552);
    }));
}

test("readLog() knows damage also where only the last frame of all tells of it, and not where that is torn too", () =>
  withFolder(async (folder) => {
    const frames = Array.from({ length: 5 }, (_, i): MadeFrame => ({ pgno: i + 1, commit: 5, txid: 2n }));
    const bytes = logBytes([...frames, { pgno: 6, commit: 6, txid: 2n, synced: frameOffset(5) }]);
    bytes[frameOffset(2) + 60]!++;
    await assert.rejects(written(folder, bytes), /it is damaged at byte/);
    const left = await written(folder, bytes.subarray(0, bytes.length - 1));
    assert.equal(left!.end, frameOffset(2));
    bytes[frameOffset(5) + 60]!++;
    assert.equal((await written(folder, bytes))!.end, frameOffset(2));
  }));

test("readLog() says why a log cannot be opened or read", () =>
  withFolder(async (folder) => {
    await assert.rejects(readLog(join(folder, "none.1")), (error) => {
      assert.ok(error instanceof WriteLogError);
      assert.match(error.message, /^Cannot open write log ".*none\.1": .*no such file/i);
      assert.equal((error.cause as { code?: string }).code, "ENOENT");
      return true;
    });
    await mkdir(join(folder, "folder.1"));
    await assert.rejects(readLog(join(folder, "folder.1")), (error) => {
      assert.ok(error instanceof WriteLogError);
      assert.match(error.message, /^Cannot (?:open|read) write log ".*folder\.1": /);
      assert.ok(error.cause instanceof Error);
      return true;
    });
  }));

test("listLogs() gives the files of one log by their numbers, and no others", () =>
  withFolder(async (folder) => {
    const path = join(folder, "log");
    const names = [
      "log.2",
      "log.10",
      "log.1",
      "log.0",
      "log.01",
      "log.base",
      "log.3x",
      "log.x3",
      "log.",
      "log",
      "xlog.4",
      "lag.6",
      "logs.5",
    ];
    for (const name of names) await writeFile(join(folder, name), "");
    assert.deepEqual(await listLogs(path), [`${path}.1`, `${path}.2`, `${path}.10`]);
    assert.deepEqual(await listLogs(join(folder, "none", "log")), []);
    await assert.rejects(listLogs(join(path, "log")), (error) => {
      assert.ok(error instanceof WriteLogError);
      assert.match(error.message, /^Cannot list write logs ".*log.log": /);
      assert.equal((error.cause as { code?: string }).code, "ENOTDIR");
      return true;
    });
  }));

test("syncLog() says what the disk refuses", () =>
  withFolder(async (folder) => {
    const path = join(folder, "log.1");
    await assert.rejects(syncLog(path), (error) => {
      assert.ok(error instanceof WriteLogError);
      assert.match(error.message, /^Cannot sync ".*log\.1": /);
      assert.equal((error.cause as { code?: string }).code, "ENOENT");
      return true;
    });
    await writeFile(path, "");
    await syncLog(path);
  }));
