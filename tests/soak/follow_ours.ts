/**
 * A process that follows a replica with many connections on a few threads. Its argument is a {@link ProcessStart} as JSON; a
 * line with a TXID on standard input ends it. Prints a line of JSON for each finding, and a {@link ProcessReport} last.
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { Worker } from "node:worker_threads";
import { openReplica, type ReplicaEvent, type ReplicaStats } from "../../mod.ts";
import type { Finding, ReaderReport } from "./follow_reader.ts";
import type { ThreadMessage, ThreadStart } from "./follow_thread.ts";

/** How a process begins. */
export interface ProcessStart {
  readonly name: string;
  readonly url: string;
  readonly pollIntervalMs: number;
  readonly connections: number;
  readonly threads: number;
  readonly pauseMs: number;
  /** Longest that transactions of one connection a thread stay open, in ms. */
  readonly holdMs: number;
  /** Bound on decoded pages in memory, in bytes; the default unless given. */
  readonly cacheBytesMax?: number;
  /** Whether it has a local copy, private to it. */
  readonly hydrate?: boolean;
}

/** What a process prints last. */
export interface ProcessReport {
  readonly reports: readonly ReaderReport[];
  /** TXIDs in the order they were told of, with the time: by the `"commit"` event, and by a transaction that sees it. */
  readonly told: readonly (readonly [string, number])[];
  readonly seen: readonly (readonly [string, number])[];
  /** From the writer's clock to the first transaction that sees a generation, in ms. */
  readonly delays: readonly number[];
  /** Events other than commits, and log entries. */
  readonly log: readonly string[];
  /** The longest that a thread was silent, in ms. */
  readonly longestSilenceMs: number;
  /** Threads that did not end. */
  readonly hung: number;
  readonly stats: ReplicaStats | undefined;
}

/** How long the last TXID may take, and a thread its last check, in ms. */
const END_MS = 30_000;

const LOG_MAX = 500;

const start = JSON.parse(process.argv[2]!) as ProcessStart;
const log: string[] = [];
const note = (text: string) => {
  if (log.length < LOG_MAX) log.push(`${new Date().toISOString()} ${text}`);
};
const print = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
const textOf = (value: unknown) =>
  JSON.stringify(
    value,
    (_, item) => typeof item === "bigint" ? item.toString(16) : item instanceof Error ? String(item) : item,
  );

const replica = await openReplica(start.url, {
  pollIntervalMs: start.pollIntervalMs,
  ...(start.cacheBytesMax !== undefined && { cacheBytesMax: start.cacheBytesMax }),
  ...(start.hydrate && { hydrate: true }),
  log: ({ level, message }) => note(`${level}: ${message}`),
});

const told: [string, number][] = [];
replica.on("commit", ({ txid }) => {
  told.push([txid.toString(16).padStart(16, "0"), Date.now()]);
});
const onOther = (event: ReplicaEvent) => {
  note(textOf(event));
  if (event.type === "stale-pin" || event.type === "gap") return;
  const text = event.type === "error" ? String(event.error) : textOf(event);
  const finding: Finding = {
    kind: "error",
    text: `event ${event.type}: ${text}`,
    state: undefined,
    reader: `${start.name} follower`,
    atMs: Date.now(),
    ageMs: 0,
    depth: "marks",
  };
  followerFindings.push(finding);
  print({ finding });
};
const followerFindings: Finding[] = [];
for (const type of ["gap", "stale", "stale-pin", "replaced", "error"] as const) replica.on(type, onOther);

const seen: [string, number][] = [];
const delays: number[] = [];
let longestSilenceMs = 0;

function startThread(given: Omit<ThreadStart, "shared">): { end(): Promise<readonly ReaderReport[]> } {
  const thread = new Worker(new URL("./follow_thread.ts", import.meta.url), {
    workerData: { ...given, shared: replica.share() } satisfies ThreadStart,
  });
  let beatMs = Date.now();
  const watch = setInterval(() => longestSilenceMs = Math.max(longestSilenceMs, Date.now() - beatMs), 250);
  const reports = new Promise<readonly ReaderReport[]>((resolve, reject) => {
    thread.on("error", reject);
    thread.on("message", (message: ThreadMessage) => {
      beatMs = Date.now();
      if (message.type === "finding") print({ finding: message.finding });
      if (message.type === "seen") seen.push([message.txid, message.atMs]);
      if (message.type === "delays") delays.push(...message.delays);
      if (message.type === "report") resolve(message.reports);
    });
  });
  reports.catch((error) => note(`thread ${given.name} failed: ${error}`));
  return {
    async end() {
      thread.postMessage("end");
      const timeout = new Promise<never>((_, reject) => {
        setTimeout(() => reject(new Error(`thread ${given.name} hangs`)), END_MS);
      });
      const found = await Promise.race([reports, timeout]);
      clearInterval(watch);
      return found;
    },
  };
}

const { pauseMs, holdMs } = start;
const threads = (["probe", "tail"] as const).map((role) =>
  startThread({ name: `${start.name} ${role}`, role, connections: 1, pauseMs, holdMs: 0 })
);
for (let i = 0; i < start.threads; i++) {
  const connections = Math.floor((start.connections + i) / start.threads);
  threads.push(startThread({ name: `${start.name}.${i}`, role: "readers", connections, pauseMs, holdMs }));
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    await replica.waitFor(BigInt(`0x${line.trim()}`), { timeoutMs: END_MS });
  } catch (error) {
    note(`last TXID: ${error}`);
  }
  break;
}
const ended = await Promise.allSettled(threads.map((thread) => thread.end()));
const stats = replica.stats();
for (const end of ended) if (end.status === "rejected") note(String(end.reason));
const report: ProcessReport = {
  reports: ended.flatMap((end) => end.status === "fulfilled" ? end.value : []),
  told,
  seen,
  delays,
  log,
  longestSilenceMs,
  hung: ended.filter(({ status }) => status === "rejected").length,
  stats,
};
await new Promise<void>((resolve) =>
  process.stdout.write(`${JSON.stringify({ report })}\n`, () => resolve())
);
process.exit(0);
