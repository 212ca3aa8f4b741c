import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { litestreamBinary, s3ServerBinary, skipWithout } from "../support/real.ts";
import { faultsOf, reportText } from "./follow_report.ts";
import { runFollow } from "./follow_run.ts";

const skip = skipWithout({ litestream: litestreamBinary(), "S3 server": s3ServerBinary() });
const seconds = Number(process.env.FOLLOW_SECONDS ?? 20);

test("follow: readers of a replica under compaction, retention and VACUUM see whole states, in order", {
  skip,
  timeout: (seconds + 120) * 1000,
}, async () => {
  const runtime = "Bun" in globalThis ? "bun" : "deno";
  const result = await runFollow({
    seconds,
    pollIntervalMs: 500,
    levels: ["1s", "4s", "9s"],
    snapshotInterval: "5s",
    snapshotRetention: "6s",
    l0RetentionMs: 3_000,
    vacuumMs: 7_000,
    writer: runtime,
    processes: [{
      name: runtime,
      system: "ours",
      runtime,
      connections: 6,
      threads: 2,
      pauseMs: 150,
      holdMs: 3_000,
      cacheBytesMax: 1024 * 1024,
    }],
  });
  console.log(reportText(result));
  const { processes, ambiguous } = result;
  const details = JSON.stringify(
    processes.flatMap(({ findings, log }) => [...findings.slice(0, 5), ...log.slice(-20)]),
  );
  assert.deepEqual(processes.flatMap(faultsOf), [], details);
  assert.deepEqual(ambiguous, []);
});
