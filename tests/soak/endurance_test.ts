/**
 * The short form of the endurance run, in one process; and what its long form judges by.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { AwsClient } from "aws4fetch";
import { type OpenOptions, openReplica } from "../../mod.ts";
import { ChaosProxy } from "../chaos/chaos_proxy.ts";
import { evenRates } from "../chaos/fault_schedule.ts";
import { InvariantWriter } from "../support/invariant_writer.ts";
import { Random } from "../support/random.ts";
import { type S3Server, s3ServerBinary, skipWithout, startS3Server, withFolder } from "../support/real.ts";
import { Ledger } from "./endurance_ledger.ts";
import { openRound, QUIET, threadRound } from "./endurance_round.ts";
import { type Held, ProcessWatch } from "./endurance_sample.ts";
import { cycleMeans, minuteMedians, type Point, trendOf } from "./endurance_trend.ts";
import { sleep } from "./follow_reader.ts";
import { rounds, SNAPSHOT_NAME, snapshotOf } from "./soak_support.ts";

const skip = skipWithout({ "S3 server": s3ServerBinary() });

/** Connections that a runtime keeps for the whole process. */
const SOCKETS_MAX = 64;

/** How long threads of a runtime's pools live without work, and a core without replicas, at most; in ms. */
const LINGER_MS = 30_000;

/** Errors come soon: it is the rounds that count. */
const OPTIONS: OpenOptions = {
  cacheBytesMax: 1024 * 1024,
  requestTimeoutMs: 1_000,
  openTimeoutMs: 1_500,
  readTimeoutMs: 1_500,
};

/** Stores a replica of a database that tells of itself whether it is whole. */
async function storeReplica(server: S3Server, folder: string): Promise<void> {
  const path = join(folder, "source.db");
  const writer = await InvariantWriter.open(path);
  for (let i = 0; i < 5; i++) writer.step();
  writer.close();
  const { accessKey: accessKeyId, secretKey: secretAccessKey, region } = server;
  const client = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3" });
  const stored = await client.fetch(`${server.endpoint}/${server.bucket}/db/0009/${SNAPSHOT_NAME}`, {
    method: "PUT",
    body: snapshotOf(await readFile(path)) as BodyInit,
  });
  assert.equal(stored.status, 200);
}

/** What is held once the core has ended, and threads that only linger have. */
async function settled(watch: ProcessWatch, isSettled: (held: Held) => boolean): Promise<Held> {
  const untilMs = performance.now() + LINGER_MS;
  for (;;) {
    const held = watch.look();
    if (isSettled(held) || performance.now() > untilMs) return held;
    await sleep(100);
  }
}

test("endurance: rounds of opening, reading and closing leave nothing behind, in storms neither", {
  skip,
  timeout: 120_000 + 20_000 * rounds("ENDURANCE_ROUNDS", 0),
}, async () => {
  const count = rounds("ENDURANCE_ROUNDS", 5);
  const server = await startS3Server();
  try {
    await withFolder(async (folder) => {
      await storeReplica(server, folder);
      await using proxy = await ChaosProxy.start({
        target: server.endpoint,
        seed: 1,
        rates: evenRates(0.3, ["stall", "drip", "flipped"]),
      });
      const url = server.url("db").replace(
        encodeURIComponent(server.endpoint),
        encodeURIComponent(proxy.origin),
      );
      const options = {
        ...OPTIONS,
        credentials: { accessKeyId: server.accessKey, secretAccessKey: server.secretKey },
      };
      const faults: string[] = [];
      const ledger = new Ledger(({ text }) => faults.push(text));
      const context = { ledger, random: new Random(1) };
      const round = async () => {
        await openRound("open", { url, options }, context);
        await openRound(
          "disk cache",
          { url, options: { ...options, cacheDir: join(folder, "cache") } },
          context,
        );
        await openRound("copy", { url, options: { ...options, hydrate: true } }, context);
      };
      const joinOnce = async () => {
        await using replica = await openReplica(url, { ...QUIET, ...options });
        await threadRound("joined thread", { shared: replica.share() }, ledger);
      };
      const watch = await ProcessWatch.start(folder);
      proxy.calm();
      ledger.weather = "clear";
      await round();
      await joinOnce();
      const before = watch.look();
      proxy.storm();
      ledger.weather = "storm";
      for (let i = 0; i < count; i++) await round();
      proxy.calm();
      ledger.weather = "clear";
      await round();
      await joinOnce();
      const { threads, files } = before;
      const isSettled = (held: Held) =>
        held.threads <= threads + 4 && held.files <= files + 4 && held.replicas === 0;
      const after = await settled(watch, isSettled);
      assert.deepEqual(faults, []);
      const { views, objects, runs, chunks, replicas, connections, hiddenNames, poolBytes } = after;
      assert.deepEqual({ views, objects, runs, chunks, replicas, connections, hiddenNames, poolBytes }, {
        views: 0,
        objects: 0,
        runs: 0,
        chunks: 0,
        replicas: 0,
        connections: 0,
        hiddenNames: 0,
        poolBytes: 0,
      });
      assert.ok(after.threads <= threads + 4, `threads: ${threads} → ${after.threads}`);
      assert.ok(after.files <= files + 4, `files: ${files} → ${after.files}`);
      assert.ok(after.sockets <= SOCKETS_MAX + 16, `sockets: ${before.sockets} → ${after.sockets}`);
      assert.ok(ledger.done.open! >= 2, JSON.stringify(ledger.done));
      console.log(`endurance: ${JSON.stringify({ ...ledger.done, ...ledger.errors })}`);
    });
  } finally {
    await server.close();
  }
});

/** An hour of samples every 5 s: 100 MiB with noise, sawteeth and a peak, and what grows by the minute. */
function hour(growthOf: (minute: number) => number): Point[] {
  const random = new Random(7);
  return Array.from({ length: 720 }, (_, i) => {
    const minute = i / 12;
    const peak = i % 97 === 0 ? 80 : 0;
    return [i * 5_000, 100 + growthOf(minute) + random.next(1000) / 250 + (i % 40) / 20 + peak];
  });
}

test("trendOf() tells growth of a per cent an hour from noise", () => {
  const slopeOf = (growthOf: (minute: number) => number) => trendOf(minuteMedians(hour(growthOf)));
  const flat = slopeOf(() => 0);
  assert.ok(Math.abs(flat.slope) < 0.005 && flat.low < 0 && flat.high > 0, JSON.stringify(flat));
  const grown = slopeOf((minute) => 3 * minute / 60);
  assert.ok(Math.abs(grown.slope - 0.03) < 0.006 && grown.low > 0.01, JSON.stringify(grown));
  assert.ok(Math.abs(grown.level - 104.5) < 1, JSON.stringify(grown));
});

test("cycleMeans() leaves a storm's memory out of the trend", () => {
  const beginningsMs = Array.from({ length: 28 }, (_, i) => i * 131_000);
  const slopeOf = (growthOf: (minute: number) => number) => {
    const stormy = hour(growthOf).map(([atMs, value]): Point => [
      atMs,
      value + (atMs % 131_000 < 60_000 ? 40 + atMs % 5 : 0),
    ]);
    return trendOf(cycleMeans(stormy, beginningsMs));
  };
  const flat = slopeOf(() => 0);
  assert.ok(Math.abs(flat.slope) < 0.005 && flat.low < 0 && flat.high > 0, JSON.stringify(flat));
  const grown = slopeOf((minute) => 3 * minute / 60);
  assert.ok(Math.abs(grown.slope - 0.025) < 0.005 && grown.low > 0.01, JSON.stringify(grown));
});
