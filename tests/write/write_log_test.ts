import assert from "node:assert/strict";
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { listLogs, readLog, readLogPages, type WriteLog } from "../../src/write/write_log.ts";
import { Random } from "../support/random.ts";

/** A log of a few transactions, of one page and of many, as a writer leaves it that was killed. */
async function withLog(
  act: (path: string, bytes: Uint8Array, log: WriteLog) => Promise<void>,
  pageSize = 512,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "log-test-"));
  try {
    const bufferPath = join(folder, "log");
    const replica = await openReplica(`file://${folder}/replica`, {
      write: true,
      bufferPath,
      syncIntervalMs: 0,
    });
    const db = replica.connect();
    db.exec(`PRAGMA page_size = ${pageSize}`);
    db.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)");
    for (let i = 0; i < 6; i++) db.exec(`INSERT INTO t VALUES (${i}, printf('%.*c', ${i * i * 60}, 'x'))`);
    const [written] = await listLogs(bufferPath);
    const path = join(folder, "kept.1");
    await copyFile(written!, path);
    db.close();
    await replica.close();
    await act(path, new Uint8Array(await readFile(path)), (await readLog(path))!);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

test("readLog() reads what was committed, under its TXID", () =>
  withLog(async (path, bytes, log) => {
    assert.equal(log.pageSize, 512);
    assert.equal(log.end, bytes.length);
    assert.equal(log.rest, 0);
    assert.equal(log.txids.length, 1);
    const [logged] = log.txids;
    assert.equal(logged!.txid, 1n);
    assert.equal(logged!.transactions, 7);
    const pages = await Array.fromAsync(readLogPages(log, logged!));
    assert.deepEqual(pages.map(({ pgno }) => pgno), Array.from({ length: logged!.commit }, (_, i) => i + 1));
    assert.equal(new TextDecoder().decode(pages[0]!.page.subarray(0, 15)), "SQLite format 3");
    assert.deepEqual(await listLogs(path.slice(0, -2)), [path]);
    assert.deepEqual(await listLogs(`${path}-none`), []);
  }));

test("readLog() gives the transactions that are whole, wherever a crash has cut the log", () =>
  withLog(async (path, bytes, log) => {
    let before = 0;
    for (let size = 0; size <= bytes.length; size += size < 200 ? 1 : 37) {
      await writeFile(path, bytes.subarray(0, size));
      const cut = await readLog(path);
      if (size < 64) {
        assert.equal(cut, undefined);
        continue;
      }
      const { transactions = 0 } = cut!.txids[0] ?? {};
      assert.ok(transactions >= before && transactions <= log.txids[0]!.transactions);
      assert.equal(cut!.end + cut!.rest, size);
      before = transactions;
    }
    assert.ok(before >= log.txids[0]!.transactions - 1);
  }));

test("readLog() tells damage from a log that was cut: nothing but the last transaction is left out", () =>
  withLog(async (path, bytes, log) => {
    const { transactions } = log.txids[0]!;
    const frame = 512 + 40;
    const random = new Random(3);
    let told = 0;
    for (let at = 0; at < bytes.length; at += at < 200 ? 1 : 1 + random.next(41)) {
      const damaged = bytes.slice();
      damaged[at]! ^= 1 << random.next(8);
      await writeFile(path, damaged);
      let found: WriteLog | undefined;
      try {
        found = await readLog(path);
      } catch (error) {
        assert.equal((error as Error).name, "WriteLogError");
        assert.match((error as Error).message, /^Cannot read write log ".*kept\.1": /);
        told++;
        continue;
      }
      assert.ok(at >= 64, `byte ${at} of the header`);
      const left = found!.txids[0]?.transactions ?? 0;
      assert.ok(left >= transactions - 1, `byte ${at}: ${left} of ${transactions} transactions, and no word`);
      assert.ok(found!.rest >= frame);
    }
    assert.ok(told > 100, `${told} told`);
  }));

test("readLog() refuses what is no log, with words", () =>
  withLog(async (path, bytes) => {
    const cases: [RegExp, (copy: Uint8Array) => void][] = [
      [/begins with "LSWM"/, (copy) => copy[3]!++],
      [/version is 2/, (copy) => copy[7] = 2],
      [/header is damaged/, (copy) => copy[20]!++],
    ];
    for (const [message, change] of cases) {
      const copy = bytes.slice();
      change(copy);
      await writeFile(path, copy);
      await assert.rejects(readLog(path), { name: "WriteLogError", message });
    }
    await assert.rejects(readLog(`${path}.none`), { name: "WriteLogError", message: /no such file/i });
  }));
