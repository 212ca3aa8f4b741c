import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { openReplica } from "../../mod.ts";
import { spawnScript } from "../soak/soak_support.ts";
import { LTX, Outage, Rival, withBucket } from "./rival.ts";

/** Has a writer commit, sends it a signal; gives what became of it, what it printed, and how many rows are stored. */
async function ended(signal: "SIGTERM" | "SIGINT" | "SIGHUP", ...more: string[]) {
  const folder = await mkdtemp(join(tmpdir(), "exit-signal-test-"));
  try {
    const url = `file://${folder}/replica`;
    const child = spawnScript("../write/exit_signal_child.ts", [url, join(folder, "log"), ...more]);
    let printed = "";
    const begun = new Promise<void>((resolve) => {
      child.stdout!.on("data", (data) => {
        printed += data;
        if (printed.includes("committed")) resolve();
      });
      child.once("exit", () => resolve());
    });
    await begun;
    const gone = new Promise<unknown[]>((resolve) => child.once("close", (...how) => resolve(how)));
    if (!more.includes("unnamed")) child.kill(signal);
    const [code, by] = await gone;
    await using replica = await openReplica(url);
    const { n } = replica.connect().prepare("SELECT count(*) AS n FROM t").get();
    return { how: code ?? by, printed, n };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  test(`what was committed is stored before ${signal} ends the process`, async () => {
    const { how, n } = await ended(signal);
    assert.equal(how, signal);
    assert.equal(n, 1);
  });
}

for (const how of ["on", "once"]) {
  test(`an application that listens to the signal by ${how}() ends itself`, async () => {
    const { printed, n } = await ended("SIGTERM", how); // Deno's node:child_process tells of the signal sent, not of the code
    assert.match(printed, /ended by itself/);
    assert.equal(n, 1);
  });
}

test("an application that listens by once() ends itself, too, where a thread of its own has the writer", async () => {
  const { printed } = await ended("SIGTERM", "worker");
  assert.match(printed, /ended by itself/);
});

test("a runtime may not tell which signal has come", async () => {
  const { how, n } = await ended("SIGTERM", "unnamed");
  assert.equal(how, "SIGTERM");
  assert.equal(n, 1);
});

test("what was committed is stored before a signal ends a process that is just closing", () => {
  const faults = new Outage([{ method: "PUT", key: LTX, fault: { kind: "status", status: 503 } }]);
  return withBucket(async (bucket) => {
    const writer = await Rival.start(bucket.url, bucket.options("log"));
    try {
      await writer.ask({ act: "insert", who: "one" });
      bucket.server.log.length = 0;
      writer.tell({ act: "close" });
      while (!bucket.server.log.some(({ method, key }) => method === "PUT" && LTX.test(key))) await delay(2);
      const terminated = writer.terminate();
      await Promise.race([terminated, delay(300)]);
      faults.isOn = false;
      await terminated;
    } finally {
      await writer.kill();
    }
    assert.deepEqual(await bucket.rows(), ["one"]);
  }, { faults });
});
