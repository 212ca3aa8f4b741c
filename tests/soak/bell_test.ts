import assert from "node:assert/strict";
import { test } from "node:test";
import { joinReplica, openReplica } from "../../mod.ts";
import { makeReplica, nextMessage, outcome, rounds, spawnScript, startThread } from "./soak_support.ts";

const ROWS = 20_000;

interface ReaderResult {
  reads: number;
  wrong: number;
  error: string;
  misses: number;
}

test("bell: no lost wake-up and no crash while garbage is collected all the time", async () => {
  const replica = await makeReplica(ROWS);
  try {
    const misses = rounds("BELL_ROUNDS", 2_000);
    const child = spawnScript("./bell_soak.ts", [replica.url, String(ROWS), String(misses), "2"]);
    const { how, printed } = await outcome(child, 60_000);
    assert.equal(how, "0", printed);
    const results = JSON.parse(printed.trim().split("\n").at(-1)!) as ReaderResult[];
    for (const result of results) assert.deepEqual([result.wrong, result.error], [0, ""], printed);
    assert.ok(Math.max(...results.map((result) => result.misses)) >= misses, printed);
    console.log(`bell: ${misses} waits, ${results.reduce((sum, { reads }) => sum + reads, 0)} reads`);
  } finally {
    await replica.remove();
  }
});

test("bell: a core that detaches under load ends every wait with words", async () => {
  const source = await makeReplica(ROWS);
  try {
    for (let round = 0; round < rounds("DETACH_ROUNDS", 2); round++) {
      const replica = await openReplica(source.url, { cacheBytesMax: 1024 * 1024 });
      const shared = replica.share();
      const readers = Array.from(
        { length: 4 },
        () => startThread("./reader_thread.ts", { shared, rows: ROWS, misses: 0 }),
      );
      await Promise.all(readers.map((reader) => nextMessage(reader)));
      const ends = readers.map((reader) => nextMessage<ReaderResult>(reader));
      await new Promise((resolve) => setTimeout(resolve, 50));
      await replica.close();
      for (const { wrong, error } of await Promise.all(ends)) {
        assert.equal(wrong, 0);
        assert.match(error, /disk I\/O error|ERR_SQLITE|closed/);
      }
      await assert.rejects(joinReplica(shared), /was closed/);
    }
  } finally {
    await source.remove();
  }
});
