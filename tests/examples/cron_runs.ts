/**
 * A process around docs/examples/deno_cron.ts whose scheduler is this module: runs the job so often as its argument says, one
 * run after the other, and prints what is left of them, where they are at least ten. In place of a count: `registered`, which only tells the jobs, and
 * `minutely`, which has Deno's own scheduler run it, each minute, until the first run has ended.
 *
 * @module
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import process from "node:process";

/** What is left, of a process that has come to rest. */
export interface Leftovers {
  readonly files: number;
  /** Unix sockets, which the runtime has for itself, too. */
  readonly sockets: number;
  /** Ports at the other end of TCP connections. */
  readonly connections: readonly number[];
  readonly workers: number;
  readonly rssBytes: number;
}

/** What is printed as the last line. */
export interface CronRuns {
  readonly jobs: readonly string[];
  /** Before the first run, after a tenth of them, after all. */
  readonly before: Leftovers;
  readonly early: Leftovers;
  readonly late: Leftovers;
}

type Handler = () => Promise<void> | void;

const [, , mode = "registered"] = process.argv;
const jobs: { name: string; schedule: string; handler: Handler }[] = [];

const real = mode === "minutely" ? Deno.cron : undefined;
Object.defineProperty(Deno, "cron", {
  value: (name: string, schedule: string, options: { backoffSchedule?: number[] }, handler: Handler) => {
    jobs.push({ name, schedule, handler });
    return real?.(name, "* * * * *", options, async () => {
      await handler();
      process.exit(); // a job of Deno's own keeps its process
    });
  },
});
if (mode !== "minutely") Object.defineProperty(Deno, "serve", { value: () => {} });

await import("../../docs/examples/deno_cron.ts");

if (mode === "registered") {
  for (const { name, schedule } of jobs) console.log(`${schedule} ${name}`);
} else if (mode !== "minutely") {
  await runs(Number(mode));
}

/** Runs the job, and looks at the process before, after a tenth of the runs and after all. */
async function runs(count: number): Promise<void> {
  if (count < 10) return await run(count);
  const before = await atRest();
  await run(count / 10);
  const early = await atRest();
  await run(count - count / 10);
  const result: CronRuns = { jobs: jobs.map(({ name }) => name), before, early, late: await atRest() };
  console.log(JSON.stringify(result));
}

async function run(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await jobs[0]!.handler();
}

/** What there is once the core, which stays for two seconds for the next opening, has ended. */
async function atRest(): Promise<Leftovers> {
  while (workers() > 0) await new Promise((resolve) => setTimeout(resolve, 50));
  (globalThis as { gc?: () => void }).gc?.();
  const targets = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ""; // that of the directory itself
    }
  });
  const remotePorts = tcpPorts();
  const sockets = targets.filter((target) => target.startsWith("socket:"));
  return {
    files: targets.filter((target) => target.startsWith("/") && !target.startsWith("/proc/")).length,
    sockets: sockets.filter((name) => !remotePorts.has(name)).length,
    connections: sockets.flatMap((name) => remotePorts.get(name) ?? []).sort(),
    workers: workers(),
    rssBytes: process.memoryUsage().rss,
  };
}

/** Remote ports of the machine's TCP connections, by what the links of their files name. */
function tcpPorts(): Map<string, number> {
  const [, ...lines] = readFileSync("/proc/self/net/tcp", "utf8").trim().split("\n");
  return new Map(lines.map((line) => {
    const words = line.trim().split(/\s+/);
    return [`socket:[${words[9]}]`, parseInt(words[2]!.split(":")[1]!, 16)];
  }));
}

/** Threads that run JavaScript beside this one. */
function workers(): number {
  const names = readdirSync("/proc/self/task").map((id) => {
    try {
      return readFileSync(`/proc/self/task/${id}/comm`, "utf8").trim();
    } catch {
      return ""; // it has just ended
    }
  });
  return names.filter((name) => name.startsWith("worker-")).length;
}
