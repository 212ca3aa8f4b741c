/**
 * Readers that follow a real replica while it is written, compacted and deleted from: starts all the parts, and says
 * what came of it.
 *
 * @module
 */
import type { ChildProcess } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { goVfsLibrary } from "../support/go_vfs.ts";
import { type S3Server, startDaemon, startS3Server, withFolder } from "../support/real.ts";
import { type Distribution, distribution, isPaused, type Pause, UploadWatch } from "./follow_delays.ts";
import type { ProcessReport, ProcessStart } from "./follow_ours.ts";
import { type Finding, sleep, STANDSTILL_MS } from "./follow_reader.ts";
import { onJsonLine, PrimaryWriter, startScript } from "./script_process.ts";

/** A process of readers. */
export interface FollowProcess extends Omit<ProcessStart, "url" | "pollIntervalMs"> {
  readonly system: "ours" | "go";
  readonly runtime: "bun" | "deno";
}

/** How the soak goes. */
export interface FollowOptions {
  readonly seconds: number;
  readonly pollIntervalMs: number;
  readonly processes: readonly FollowProcess[];
  /** Intervals of compaction from level 1 on, as Go durations. */
  readonly levels: readonly string[];
  readonly snapshotInterval: string;
  readonly snapshotRetention: string;
  readonly l0RetentionMs: number;
  readonly vacuumMs: number;
  /** The runtime of the writer. */
  readonly writer: "bun" | "deno";
}

/** A finding, and what lay in the replica then. */
export interface ListedFinding extends Finding {
  /** How long before the file of its TXID was made, and uploaded; in ms. */
  readonly createdAgeMs?: number;
  readonly uploadAgeMs?: number;
  readonly listing?: Record<string, string[]>;
}

/** What came of one process. */
export interface ProcessResult {
  readonly name: string;
  readonly transactions: number;
  readonly integrityChecks: number;
  /** TXIDs that its readers saw. */
  readonly txids: number;
  /** Violations by kind. */
  readonly violations: Record<string, number>;
  /** Errors by text. */
  readonly errors: Record<string, number>;
  /** Violations and errors beyond those kept whole, which are in no other count. */
  readonly unlisted: number;
  /** Transactions that lost their state after its files could be deleted. */
  readonly lost: number;
  /** Errors of transactions in which the machine stood still. */
  readonly disturbed: number;
  /** Readers that saw no new TXID for {@link STANDSTILL_MS} although there were. */
  readonly stuck: number;
  readonly longestStandstillMs: number;
  readonly slowestMs: number;
  /** Whether its last check saw the writer's last generation. */
  readonly hasArrived: boolean;
  /** Its end: an exit code or a signal, with what it printed to standard error. */
  readonly end: string;
  readonly hung: number;
  readonly longestSilenceMs: number;
  /** From the upload's end to the event and to a transaction; from the writer's clock to a transaction; in ms. */
  readonly toEvent: Distribution;
  readonly toRead: Distribution;
  readonly fromWriter: Distribution;
  /** Uploads older than {@link STANDSTILL_MS} that were never seen. */
  readonly missed: number;
  readonly findings: readonly ListedFinding[];
  readonly log: readonly string[];
  readonly stats: ProcessReport["stats"];
}

/** What came of the soak. */
export interface FollowResult {
  readonly seconds: number;
  readonly generations: number;
  readonly uploads: number;
  /** Times in which the machine stood still, in ms. */
  readonly pauses: readonly Pause[];
  /** Files that lay at each level, the most at once. */
  readonly filesMax: Record<string, number>;
  /** TXIDs that not all readers of all processes saw the same data under. */
  readonly ambiguous: readonly string[];
  readonly processes: readonly ProcessResult[];
}

const REPLICA = "follow";

/** How long a process may take to end, in ms. */
const END_MS = 75_000;

/** Findings whose listings are kept, a process. */
const LISTINGS_MAX = 10;

/** A wait of this process that took so much longer than it should, in ms: the machine stood still. */
const PAUSE_MS = 3_000;

/** How long after that its effects may show, in ms. */
const AFTER_PAUSE_MS = 10_000;

/** How exactly a store tells the time a file was made, in ms. */
const CLOCK_STEP_MS = 1_000;

/** What is kept of standard error. */
const STDERR_MAX = 8_192;

/** The files of each level by name. */
async function listFolder(folder: string): Promise<Record<string, string[]>> {
  const levels = (await readdir(folder).catch(() => [])).sort();
  const entries = levels.map(async (level) => {
    const names = (await readdir(join(folder, level)).catch(() => [])).sort();
    return [level, names.map((name) => name.replace(/0000000000|\.ltx/g, ""))] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

/** A running process of readers. */
class Readers {
  readonly #process: FollowProcess;
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #listed = new Map<string, Record<string, string[]>>();
  readonly #ended: Promise<string>;
  #report: ProcessReport | undefined;
  #errors = "";

  constructor(process: FollowProcess, server: S3Server, pollIntervalMs: number) {
    this.#process = process;
    this.#folder = join(server.folder, REPLICA);
    const url = server.url(REPLICA);
    const argument = {
      ...process,
      url,
      pollIntervalMs,
      library: process.system === "go" ? goVfsLibrary() : "",
    };
    const env = { ...server.env, ...(process.system === "go" && { LITESTREAM_REPLICA_URL: url }) };
    this.#child = startScript(process.runtime, `tests/soak/follow_${process.system}.ts`, { argument, env });
    this.#child.stderr!.on("data", (data) => this.#errors = (this.#errors + data).slice(-STDERR_MAX));
    this.#ended = new Promise((resolve) => {
      this.#child.once("error", (error) => resolve(error.message));
      this.#child.once("close", (code, signal) => resolve(signal ?? String(code)));
    });
    onJsonLine(this.#child, (line) => {
      if (line.finding) void this.#listAt(line.finding as Finding);
      if (line.report) this.#report = line.report as ProcessReport;
    });
  }

  async #listAt({ reader, atMs, text }: Finding): Promise<void> {
    if (this.#listed.size < LISTINGS_MAX) {
      this.#listed.set(`${reader} ${atMs}`, {});
      this.#listed.set(`${reader} ${atMs}`, await listFolder(this.#folder));
    }
    if (this.#listed.size < 3) console.error(`follow: ${reader}: ${text}`);
  }

  /** Has it end once it sees the TXID. */
  async end(txid: bigint): Promise<string> {
    this.#child.stdin!.write(`${txid.toString(16)}\n`);
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), END_MS);
    const end = await this.#ended;
    clearTimeout(timer);
    return end;
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  /** What came of it. */
  result(end: string, { watch, lastGeneration, l0RetentionMs, stoppedMs, pauses }: Ending): ProcessResult {
    const {
      reports = [],
      told = [],
      seen = [],
      delays = [],
      log = [],
      longestSilenceMs = 0,
      hung = 0,
      stats,
    } = this.#report ?? {};
    const found: ListedFinding[] = reports.flatMap(({ findings }) => findings).map((finding) => {
      const upload = watch.uploads.get(finding.state?.txid ?? "");
      const listing = this.#listed.get(`${finding.reader} ${finding.atMs}`);
      return {
        ...finding,
        ...(upload && {
          createdAgeMs: Math.round(finding.atMs - upload.createdMs),
          uploadAgeMs: Math.round(finding.atMs - upload.endedMs),
        }),
        ...(listing && { listing }),
      };
    });
    const failed = found.filter(({ kind }) => kind === "error");
    const isLost = ({ text, createdAgeMs = 0 }: ListedFinding) =>
      text.includes("StateGoneError") && createdAgeMs >= l0RetentionMs - CLOCK_STEP_MS;
    const isDisturbed = (each: ListedFinding) =>
      !isLost(each) && isPaused(pauses, each.atMs - each.ageMs - AFTER_PAUSE_MS, each.atMs);
    const toEvent = watch.delays(told, { untilMs: stoppedMs, pauses });
    const toRead = watch.delays(seen, { untilMs: stoppedMs, pauses });
    const isStuck = reports.filter((report) =>
      report.standstills.some(({ txid, fromMs, toMs }) =>
        !isPaused(pauses, fromMs, toMs) &&
        [...watch.uploads].some(([upload, { endedMs }]) =>
          upload > txid && endedMs < toMs - STANDSTILL_MS && endedMs > fromMs
        )
      )
    );
    return {
      name: this.#process.name,
      transactions: reports.reduce((sum, { transactions }) => sum + transactions, 0),
      integrityChecks: reports.reduce((sum, { integrityChecks }) => sum + integrityChecks, 0),
      txids: new Set(reports.flatMap(({ states }) => states.map(([txid]) => txid))).size,
      violations: countBy(found.filter(({ kind }) => kind !== "error"), ({ kind }) => kind),
      errors: countBy(
        failed.filter((each) => !isLost(each) && !isDisturbed(each)),
        ({ text }) => generic(text),
      ),
      unlisted: reports.reduce((sum, { findings, findingCount }) => sum + findingCount - findings.length, 0),
      lost: failed.filter(isLost).length,
      disturbed: failed.filter(isDisturbed).length,
      stuck: isStuck.length,
      longestStandstillMs: Math.max(0, ...reports.map((report) => report.longestStandstillMs)),
      slowestMs: Math.max(0, ...reports.map(({ slowestMs }) => slowestMs)),
      hasArrived: reports.length > 0 && reports.every(({ last }) => last?.generation === lastGeneration),
      end: end === "0" && this.#process.system === "ours"
        ? `${end}${this.#errors && `: ${this.#errors}`}`
        : end,
      hung,
      longestSilenceMs,
      toEvent: distribution(toEvent.delays),
      toRead: distribution(toRead.delays),
      fromWriter: distribution(delays),
      missed: toRead.missed.length,
      findings: found,
      log,
      stats,
    };
  }

  /** The states that its readers saw. */
  states(): (readonly [string, number])[] {
    return this.#report?.reports.flatMap(({ states }) => states) ?? [];
  }
}

interface Ending {
  readonly watch: UploadWatch;
  readonly lastGeneration: number;
  readonly l0RetentionMs: number;
  /** When the writer had ended. */
  readonly stoppedMs: number;
  readonly pauses: readonly Pause[];
}

/** An error's text without what differs from one time to the next. */
function generic(text: string): string {
  return text.replace(/[0-9a-f]{16}/g, "…").replace(/\d+/g, "#");
}

function countBy<T>(items: readonly T[], nameOf: (item: T) => string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const item of items) counts[nameOf(item)] = (counts[nameOf(item)] ?? 0) + 1;
  return counts;
}

/** Runs the soak. */
export async function runFollow(options: FollowOptions): Promise<FollowResult> {
  return await withFolder(async (folder) => {
    const server = await startS3Server();
    const db = join(folder, "primary.db");
    const writer = new PrimaryWriter(options.writer, { path: db, seed: 1, vacuumMs: options.vacuumMs });
    await writer.ready;
    const daemon = await startDaemon({
      db,
      url: server.url(REPLICA),
      env: server.env,
      levels: options.levels,
      snapshotInterval: options.snapshotInterval,
      snapshotRetention: options.snapshotRetention,
      l0Retention: `${options.l0RetentionMs}ms`,
    });
    const watch = new UploadWatch(join(server.folder, REPLICA, "0000"));
    const readers: Readers[] = [];
    const filesMax: Record<string, number> = {};
    const pauses: Pause[] = [];
    try {
      await daemon.sync();
      void watch.run();
      readers.push(...options.processes.map((each) => new Readers(each, server, options.pollIntervalMs)));
      for (const endMs = Date.now() + options.seconds * 1000; Date.now() < endMs;) {
        const fromMs = Date.now();
        await sleep(500);
        if (Date.now() - fromMs > 500 + PAUSE_MS) pauses.push([fromMs, Date.now()]);
        for (const [level, names] of Object.entries(await listFolder(join(server.folder, REPLICA)))) {
          filesMax[level] = Math.max(filesMax[level] ?? 0, names.length);
        }
      }
      await writer.stop();
      const stoppedMs = Date.now();
      const txid = await daemon.sync();
      await watch.look();
      const ends = await Promise.all(readers.map((each) => each.end(txid)));
      const ending = {
        watch,
        lastGeneration: writer.generation,
        l0RetentionMs: options.l0RetentionMs,
        stoppedMs,
        pauses,
      };
      return {
        seconds: options.seconds,
        generations: writer.generation,
        uploads: watch.uploads.size,
        pauses,
        filesMax,
        ambiguous: ambiguousTxids(readers.filter((_, i) => options.processes[i]!.system === "ours")),
        processes: readers.map((each, i) => each.result(ends[i]!, ending)),
      };
    } finally {
      watch.stop();
      for (const each of readers) each.kill();
      await writer.stop().catch(() => {});
      await daemon.stop();
      await server.close();
    }
  });
}

/** TXIDs under which readers saw different generations. */
function ambiguousTxids(readers: readonly Readers[]): string[] {
  const generations = new Map<string, number>();
  const ambiguous = new Set<string>();
  for (const [txid, generation] of readers.flatMap((each) => each.states())) {
    if ((generations.get(txid) ?? generation) !== generation) ambiguous.add(txid);
    generations.set(txid, generation);
  }
  return [...ambiguous];
}
