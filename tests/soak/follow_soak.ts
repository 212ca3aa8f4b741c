/**
 * The long form of the follow soak: 16 readers in each runtime on a replica that is written, compacted and deleted from.
 *
 * `FOLLOW_SECONDS=600 bun tests/soak/follow_soak.ts [result.json]` · `FOLLOW_GO=4` adds that many processes of the Go VFS,
 * for contrast: what they do fails nothing. `FOLLOW_HYDRATE=1`: ours read from local copies. Ends with 1 when
 * something of ours is wrong.
 *
 * @module
 */
import { writeFile } from "node:fs/promises";
import process from "node:process";
import { faultsOf, reportText } from "./follow_report.ts";
import { type FollowProcess, type FollowResult, runFollow } from "./follow_run.ts";

const number = (name: string, otherwise: number) => Number(process.env[name] ?? otherwise);
const pollIntervalMs = number("FOLLOW_POLL_MS", 1_000);
const connections = number("FOLLOW_CONNECTIONS", 16);
const hydrate = number("FOLLOW_HYDRATE", 0) > 0;
const ours = { system: "ours", connections, threads: 4, holdMs: 8_000, hydrate } as const;
const go = Array.from({ length: number("FOLLOW_GO", 0) }, (_, i): FollowProcess => {
  return {
    name: `go ${i}`,
    system: "go",
    runtime: "bun",
    connections: 1,
    threads: 1,
    pauseMs: 800,
    holdMs: 0,
  };
});

/** Delays of ours that are longer than promised. */
function slow({ processes }: FollowResult): string[] {
  return processes.filter(({ name }) => !name.startsWith("go")).flatMap(({ name, toRead }) => [
    ...(toRead.median <= pollIntervalMs ? [] : [`${name}: median delay ${toRead.median} ms`]),
    ...(toRead.p99 <= 2 * pollIntervalMs ? [] : [`${name}: p99 of the delay ${toRead.p99} ms`]),
  ]);
}

/** Processes of ours that should have read from a local copy and have not. */
function remote({ processes }: FollowResult): string[] {
  return processes.filter(({ name, stats }) => hydrate && !name.startsWith("go") && !stats?.localReads)
    .map(({ name }) => `${name}: nothing was read from a local copy`);
}

const result = await runFollow({
  seconds: number("FOLLOW_SECONDS", 600),
  pollIntervalMs,
  levels: ["2s", "10s", "30s"],
  snapshotInterval: "1m",
  snapshotRetention: "70s",
  l0RetentionMs: 10_000,
  vacuumMs: 40_000,
  writer: "bun",
  processes: [
    { ...ours, name: "bun", runtime: "bun", pauseMs: 1_500, cacheBytesMax: 1024 * 1024 },
    { ...ours, name: "deno", runtime: "deno", pauseMs: 800 },
    ...go,
  ],
});
console.log(reportText(result));
if (process.argv[2]) await writeFile(process.argv[2], JSON.stringify(result, null, 1));
const faults = [
  ...result.processes.filter(({ name }) => !name.startsWith("go")).flatMap(faultsOf),
  ...result.ambiguous.map((txid) => `different data under TXID ${txid}`),
  ...remote(result),
  ...slow(result),
];
for (const fault of faults) console.log(`FAILED ${fault}`);
console.log(
  JSON.stringify({
    ...result,
    processes: result.processes.map((each) => ({ ...each, findings: each.findings.length })),
  }),
);
process.exit(faults.length > 0 ? 1 : 0);
