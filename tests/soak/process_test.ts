import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { allDrivers } from "../support/all_drivers.ts";
import { makeReplica, outcome, processCensus, rounds, spawnScript } from "./soak_support.ts";

const ROWS = 20_000;

test("process: exits in the middle of queries neither crash nor hang", async () => {
  const replica = await makeReplica(ROWS);
  try {
    const count = rounds("EXIT_ROUNDS", 6);
    for (let i = 0; i < count; i++) {
      const thrown = i % 4 === 3;
      const child = spawnScript("./exit_child.ts", [replica.url, String(ROWS), thrown ? "throw" : "exit"]);
      const { how, printed } = await outcome(child, 30_000);
      assert.equal(how, thrown ? "1" : "0", `exit ${i}: ${printed}`);
    }
  } finally {
    await replica.remove();
  }
});

test("process: threads that load SQLite and end leave one copy of it", async () => {
  const replica = await makeReplica(ROWS);
  try {
    const { how, printed } = await outcome(spawnScript("./unload_child.ts", [replica.url]), 60_000);
    assert.equal(how, "0", printed);
    const found = JSON.parse(printed.slice(printed.indexOf("{")));
    assert.equal(found.rows, ROWS * found.threads * (await allDrivers()).length, printed);
    assert.ok(found.places <= 1, printed);
    assert.equal(found.left, found.places, `let go: ${printed}`);
  } finally {
    await replica.remove();
  }
});

test("process: opening and closing again and again leaks no thread, descriptor or memory", async () => {
  const source = await makeReplica(ROWS);
  const round = async () => {
    const replica = await openReplica(source.url);
    const database = replica.connect();
    const statement = database.prepare("SELECT count(*) AS n FROM t");
    assert.equal(statement.get().n, ROWS);
    // Bun keeps a closed connection, with SQLite's cache, until its statements are finalized or collected.
    (statement as unknown as { finalize?(): void }).finalize?.();
    database.close();
    await replica.close();
  };
  try {
    const count = rounds("OPEN_ROUNDS", 60);
    // A runtime keeps threads for file I/O: the most of the first rounds.
    const threads: number[] = [];
    for (let i = 0; i < 20; i++) {
      await round();
      threads.push(processCensus().threads);
    }
    const before = { ...processCensus(), threads: Math.max(...threads), rss: process.memoryUsage().rss };
    for (let i = 0; i < count; i++) {
      await round();
    }
    // Idle ones of a runtime's pool go after 10 s or so; one that somebody kept would stay.
    const threadsMax = before.threads + 4;
    const since = performance.now();
    while (processCensus().threads > threadsMax && performance.now() - since < 40_000) {
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    const after = { ...processCensus(), rss: process.memoryUsage().rss };
    const grown = (after.rss - before.rss) / 2 ** 20;
    console.log(`process: ${count} rounds, ${JSON.stringify(before)} → ${JSON.stringify(after)}`);
    const details = `${JSON.stringify(before)} → ${JSON.stringify(after)} in ${count} rounds`;
    assert.ok(after.threads <= threadsMax, `threads: ${details}`);
    assert.ok(after.descriptors <= before.descriptors + 8, `descriptors: ${details}`);
    assert.ok(grown < 64, `resident memory grew by ${grown.toFixed(1)} MiB`);
  } finally {
    await source.remove();
  }
});
