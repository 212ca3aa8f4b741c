import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openReplica, ReplicaError } from "../../mod.ts";
import { makeReplica } from "../soak/soak_support.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { type Fault, FaultSchedule } from "../support/faults.ts";
import { Random } from "../support/random.ts";
import { Reader } from "./reader.ts";

const ROWS = 4_000;
const NAME = "0000000000000001-0000000000000001.ltx";
const DEADLINE_MS = 1_000;

/** Names of the errors that a user may meet here; a TypeError would be a fault of ours. */
const NAMES = [
  "StorageError",
  "ObjectGoneError",
  "LtxFormatError",
  "RestorePlanError",
  "StateGoneError", // a read answered 404, and then a listing without the file: it looks deleted
  "DeadlineError",
  "ReplicaError",
];

/** A fault drawn at random, over everything that a server or what lies before it may do wrong. */
function draw(random: Random): Fault {
  const statuses = [301, 307, 400, 403, 404, 405, 412, 416, 429, 500, 502, 503, 504, 206, 204, 418];
  const faults: Fault[] = [
    { kind: "status", status: statuses[random.next(statuses.length)]!, code: "Drawn" },
    { kind: "status", status: 503, code: "SlowDown", headers: { "retry-after": String(random.next(2)) } },
    { kind: "status", status: 200, body: "<ListBucketResult><Contents><Key>x" },
    { kind: "status", status: 200, body: String.fromCharCode(...random.bytes(random.next(200))) },
    { kind: "reset" },
    { kind: "resetAfterHeaders" },
    { kind: "cut", after: random.next(5_000) },
    { kind: "stall", after: random.next(5_000) },
    { kind: "silence" },
    { kind: "contentRange", value: ["", "bytes 0-9/10", "bytes */7", "nonsense"][random.next(4)]! },
    { kind: "ignoreRange" },
    { kind: "lyingLength", by: random.next(200) - 100 },
    { kind: "longerBody", by: 1 + random.next(1_000) },
    { kind: "chunked", by: random.next(200) - 100 },
    { kind: "gzip" },
    { kind: "headers", headers: { etag: '"another"' } },
    { kind: "headers", headers: { "content-encoding": "br" } },
    { kind: "staleListing", hide: /000\d/ },
    { kind: "slow", delayMs: random.next(300) },
  ];
  return faults[random.next(faults.length)]!;
}

test("openReplica() and queries over drawn faults: the right rows or an error of ours, in time", async () => {
  const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);
  const count = Number(process.env.HTTP_FUZZ_ROUNDS ?? 40);
  console.log(`http fuzz: seed ${seed}, ${count} rounds`);
  const random = new Random(seed);
  const source = await makeReplica(ROWS);
  const file = await readFile(fileURLToPath(`${source.url}/ltx/9/${NAME}`));
  const tally = { right: 0, refused: 0 };
  try {
    for (let round = 0; round < count; round++) {
      const rules = Array.from({ length: 1 + random.next(4) }, () => ({
        fault: draw(random),
        probability: [0.02, 0.1, 0.5, 1][random.next(4)]!,
        on: (["list", "object"] as const)[random.next(2)]!,
      }));
      await using server = await FakeS3.start({ faults: new FaultSchedule(rules, seed + round) });
      server.put(`db/0009/${NAME}`, file);
      const { endpoint, options: { accessKeyId, secretAccessKey } } = server;
      const begin = performance.now();
      const where = `seed ${seed}, round ${round}, ${JSON.stringify(rules)}`;
      try {
        await using replica = await openReplica("s3://bucket/db", {
          endpoint,
          credentials: { accessKeyId, secretAccessKey },
          requestTimeoutMs: DEADLINE_MS,
          openTimeoutMs: DEADLINE_MS,
          readTimeoutMs: DEADLINE_MS,
        });
        // Another thread must ask: this one serves.
        const reader = await Reader.start({ shared: replica.share() });
        const answer = await reader.ask("SELECT count(*) AS n, sum(length(body)) AS bytes FROM t");
        await reader.close();
        if (answer.error === undefined) {
          assert.deepEqual(answer.rows.map(({ n, bytes }) => [n, bytes]), [[ROWS, ROWS * 200]], where);
          tally.right++;
        } else {
          assert.ok(
            NAMES.some((name) => answer.error!.lastError.includes(name)),
            `${where}: ${JSON.stringify(answer.error)}`,
          );
          tally.refused++;
        }
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error;
        assert.ok(error instanceof ReplicaError && NAMES.includes(error.name), `${where}: ${error}`);
        assert.ok(!error.message.includes(secretAccessKey), where);

        tally.refused++;
      }
      const tookMs = performance.now() - begin;
      assert.ok(tookMs < 60 * DEADLINE_MS, `${where}: took ${tookMs.toFixed(0)} ms`);
    }
    console.log(`http fuzz: ${JSON.stringify(tally)}`);
    assert.ok(tally.right > 0 && tally.refused > 0);
  } finally {
    await source.remove();
  }
});
