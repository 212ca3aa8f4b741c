/**
 * Starts all the parts of an endurance run: real ones that a replica is written by and lies at, weather between them, and the
 * processes that are meant to endure; and says what came of it.
 *
 * @module
 */
import type { ChildProcess } from "node:child_process";
import { appendFile, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { restore, type S3Server, startDaemon, startS3Server } from "../support/real.ts";
import { openPlain } from "../support/sqlite.ts";
import { digestOnce } from "./endurance_check.ts";
import type { Counts, Fault, Weather } from "./endurance_ledger.ts";
import type {
  Stored,
  SubjectCommand,
  SubjectLine,
  SubjectRole,
  SubjectSample,
  SubjectStart,
} from "./endurance_subject.ts";
import { startFront } from "./endurance_weather.ts";
import { Canary } from "./canary.ts";
import { sleep } from "./follow_reader.ts";
import { onJsonLine, PrimaryWriter, startScript } from "./script_process.ts";

/** A process that is meant to endure. */
export interface SubjectOptions {
  readonly role: SubjectRole;
  readonly runtime: "bun" | "deno";
}

/** How a run goes. */
export interface EnduranceOptions {
  readonly seconds: number;
  readonly subjects: readonly SubjectOptions[];
  /** How long storage goes wrong, and is well, in turn; no storms: 0. */
  readonly stormSeconds: number;
  readonly calmSeconds: number;
  readonly seed: number;
  /** Where samples are written as they come, a file a process; empty, or made. */
  readonly folder: string;
  readonly sampleMs: number;
  /** Pauses of all workloads are so many times as long as usual. */
  readonly pace: number;
  /** How long, from the beginning, those of the processes are shorter by a factor: what once fills fills sooner. */
  readonly hasteSeconds: number;
  readonly haste: number;
  /** The runtime of the primary's writer. */
  readonly writer: "bun" | "deno";
}

/** What came of one process. */
export interface SubjectResult extends SubjectOptions {
  readonly name: string;
  readonly samples: readonly SubjectSample[];
  readonly faults: readonly string[];
  /** Deadlines that passed in clear weather while storage was slow, for the machine was busy. */
  readonly late: readonly string[];
  /** How long each recovery took, in ms. */
  readonly recoveries: readonly number[];
  readonly done: Counts;
  /** Errors in bad weather. */
  readonly errors: Counts;
  readonly stats: Counts;
  /** Faults of storage by kind. */
  readonly weather: Counts;
  /** An exit code or a signal, with what it said on standard error. */
  readonly end: string;
}

/** Times of a storm, in ms. */
export type Storm = readonly [fromMs: number, toMs: number];

/** What came of a run. */
export interface EnduranceResult {
  readonly seconds: number;
  readonly seed: number;
  readonly beganMs: number;
  readonly storms: readonly Storm[];
  readonly generations: number;
  /** The longest that storage took for a listing that met no storm. */
  readonly slowestMs: number;
  readonly subjects: readonly SubjectResult[];
}

const REPLICA = "endured";

/** Pause of the primary's writer, in ms. */
const PRIMARY_PAUSE_MS = 400;
const VACUUM_MS = 45_000;

/** Longer than a reader that is held up by a busy machine, shorter than a storm. */
const L0_RETENTION = "100s";

/** What a machine that is too busy to serve storage, a core or a reader in time has for a consequence. */
const LATE = /DeadlineError|StateGoneError|StorageError|core does not answer/;

/** How long a process may take to do what it is told, in ms. */
const ANSWER_MS = 300_000;

/** How often processes are at rest while storage is well, at like distances; one sample varies more than memory may change. */
const RESTS = 2;

/** How often connections without a request are ended while processes are at rest, in ms. */
const HANG_UP_MS = 500;

const STDERR_MAX = 8_192;

/** Whether storage went wrong at some time between two. */
type IsStormy = (fromMs: number, toMs: number) => boolean;

/** A process that is meant to endure, and what it has said. */
class Subject {
  readonly options: SubjectOptions;
  readonly name: string;
  readonly #weather: () => Counts;
  readonly #canary: Canary;
  readonly #isStormy: IsStormy;
  readonly faults: string[] = [];
  readonly #late: string[] = [];
  readonly #samples: SubjectSample[] = [];
  readonly #recoveries: number[] = [];
  readonly #child: ChildProcess;
  readonly #ended: Promise<string>;
  readonly #path: string;
  #errors = "";
  #writing: Promise<void> = Promise.resolve();
  #report: { done: Counts; errors: Counts; stats: Counts } = { done: {}, errors: {}, stats: {} };
  #answer: ((stored: Stored | undefined) => void) | undefined;
  #rested: (() => void) | undefined;

  constructor(
    options: SubjectOptions,
    { origin, weather }: { origin: string; weather: () => Counts },
    given: Pick<EnduranceOptions, "folder" | "sampleMs" | "pace" | "haste" | "seed">,
    { server, canary, isStormy }: { server: S3Server; canary: Canary; isStormy: IsStormy },
  ) {
    this.options = options;
    this.name = `${options.role} ${options.runtime}`;
    this.#weather = weather;
    this.#canary = canary;
    this.#isStormy = isStormy;
    this.#path = join(given.folder, `${options.role}-${options.runtime}.jsonl`);
    const url = new URL(server.url(this.replica));
    url.searchParams.set("endpoint", origin);
    const start: SubjectStart = {
      role: options.role,
      url: url.href,
      seed: given.seed,
      folder: join(given.folder, `${options.role}-${options.runtime}.files`),
      sampleMs: given.sampleMs,
      pace: given.pace / given.haste,
    };
    this.#child = startScript(options.runtime, "tests/soak/endurance_subject.ts", {
      argument: start,
      env: { ...server.env, CORE_HEAP_PATH: join(start.folder, "core-heap") },
    });
    this.#child.stderr!.on("data", (data) => this.#errors = (this.#errors + data).slice(-STDERR_MAX));
    this.#ended = new Promise((resolve) => {
      this.#child.once("error", (error) => resolve(error.message));
      this.#child.once("close", (code, signal) => resolve(signal ?? String(code)));
    });
    onJsonLine(this.#child, (line) => this.#hear(line as unknown as SubjectLine));
  }

  /** Path of its replica in the bucket. */
  get replica(): string {
    return this.options.role === "writer" ? `${REPLICA}-${this.options.runtime}` : REPLICA;
  }

  #hear(line: SubjectLine): void {
    this.#writing = this.#writing.then(() => appendFile(this.#path, `${JSON.stringify(line)}\n`));
    if ("sample" in line) {
      this.#samples.push(line.sample);
      if (line.sample.kind === "rest") this.#rested?.();
    }
    if ("fault" in line) this.#judge(line.fault, line.atMs);
    if ("report" in line) this.#report = line.report;
    if ("recovered" in line) {
      this.#recoveries.push(line.tookMs);
      this.#answer?.(line.recovered);
    }
    if ("failed" in line) {
      this.fault(line.failed);
      this.#answer?.(undefined);
    }
  }

  /** A storm excuses what came of storage, even where the process had not heard of it; a slow server what came too late. */
  #judge({ text, beganMs, isOfStorage }: Fault, atMs: number): void {
    if (isOfStorage && this.#isStormy(beganMs, atMs)) return;
    if (LATE.test(text) && this.#canary.wasSlow(atMs)) this.#late.push(text);
    else this.fault(text);
  }

  /** Notes something that must not happen. */
  fault(text: string): void {
    this.faults.push(text);
    console.error(`${new Date().toISOString()} ${this.name}: ${text}`);
  }

  tell(command: SubjectCommand): void {
    this.#child.stdin!.write(`${JSON.stringify(command)}\n`);
  }

  /** Has it see or store a state; undefined where it fails to. */
  async recover(txid: bigint, act: "recover" | "end" = "recover"): Promise<Stored | undefined> {
    const answer = new Promise<Stored | undefined>((resolve) => this.#answer = resolve);
    this.tell({ do: act, txid: txid.toString(16) });
    return await this.#inTime(act, answer, () => this.#answer?.(undefined));
  }

  /** Has it hold still for a sample. */
  async rest(): Promise<void> {
    const rested = new Promise<void>((resolve) => this.#rested = resolve);
    this.tell({ do: "rest" });
    await this.#inTime("rest", rested, () => this.#rested?.());
  }

  /** Waits for an answer; gives it up after a while. */
  async #inTime<T>(act: string, answer: Promise<T>, giveUp: () => void): Promise<T> {
    const timer = setTimeout(() => {
      this.fault(`has not answered to "${act}" after ${ANSWER_MS} ms`);
      giveUp();
    }, ANSWER_MS);
    try {
      return await Promise.race([answer, this.#ended.then(() => undefined as T)]);
    } finally {
      clearTimeout(timer);
    }
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  async result(): Promise<SubjectResult> {
    const timer = setTimeout(() => {
      this.fault(`has not ended after ${ANSWER_MS} ms`);
      this.kill();
    }, ANSWER_MS);
    const end = await this.#ended;
    clearTimeout(timer);
    await this.#writing;
    if (end !== "0") this.fault(`ended with ${end}: ${this.#errors}`);
    return {
      ...this.options,
      name: this.name,
      samples: this.#samples,
      faults: this.faults,
      late: this.#late,
      recoveries: this.#recoveries,
      ...this.#report,
      weather: this.#weather(),
      end: `${end}${this.#errors && `: ${this.#errors}`}`,
    };
  }
}

/** Compares what a writer says that it has stored with what `litestream restore` gives. */
async function checkStored(
  subject: Subject,
  stored: Stored,
  server: S3Server,
  folder: string,
): Promise<void> {
  const out = join(folder, `restored-${subject.options.runtime}.db`);
  await rm(out, { force: true });
  await restore(server.url(subject.replica), out, { env: server.env, txid: BigInt(`0x${stored.txid}`) });
  const database = await openPlain(out);
  try {
    const integrity = JSON.stringify(database.all("PRAGMA integrity_check"));
    if (!/^\[\{"integrity_check":"ok"\}\]$/.test(integrity)) subject.fault(`restored: ${integrity}`);
    const { generation, digest } = digestOnce(database);
    if (generation === stored.generation && digest === stored.digest) return;
    subject.fault(
      `restored at ${stored.txid}: generation ${generation}, expected ${stored.generation}, or other rows`,
    );
  } finally {
    database.close();
    await rm(out, { force: true });
  }
}

/** Runs it. */
export async function runEndurance(options: EnduranceOptions): Promise<EnduranceResult> {
  const { folder, pace, seed } = options;
  await mkdir(folder, { recursive: true });
  const server = await startS3Server();
  const primary = join(folder, "primary.db");
  const writer = new PrimaryWriter(options.writer, {
    path: primary,
    seed,
    vacuumMs: VACUUM_MS,
    pauseMs: PRIMARY_PAUSE_MS * pace,
  });
  await writer.ready;
  const daemon = await startDaemon({
    db: primary,
    url: server.url(REPLICA),
    env: server.env,
    levels: ["5s", "20s", "60s"],
    snapshotInterval: "2m",
    snapshotRetention: "4m",
    l0Retention: L0_RETENTION,
  });
  const front = await startFront(server.endpoint, {
    seed,
    processes: options.subjects.length,
    hasStorms: options.stormSeconds > 0,
  });
  const canary = new Canary(server);
  const subjects: Subject[] = [];
  const storms: [fromMs: number, toMs: number][] = [];
  const isStormy = (fromMs: number, toMs: number) =>
    storms.some(([began, ended]) => began <= toMs && fromMs <= ended);
  const each = <T>(act: (subject: Subject) => Promise<T>) => Promise.all(subjects.map(act));
  const weather = (now: Weather) => {
    for (const subject of subjects) subject.tell({ do: "weather", weather: now });
  };
  const recover = async () => {
    weather("calming");
    const txid = await daemon.sync();
    await each(async (subject) => {
      const stored = await subject.recover(txid);
      if (stored && subject.options.role === "writer") await checkStored(subject, stored, server, folder);
    });
    weather("clear");
  };
  /** Without the buffers that runtimes keep for connections, which are now few, now 64. */
  const rest = async () => {
    const hanging = setInterval(() => front.hangUp(), HANG_UP_MS);
    await each((subject) => subject.rest());
    clearInterval(hanging);
  };
  const beganMs = Date.now();
  const untilMs = beganMs + options.seconds * 1000;
  const slowing = setTimeout(
    () => subjects.forEach((subject) => subject.tell({ do: "pace", pace })),
    options.hasteSeconds * 1000,
  );
  const wait = (seconds: number) => sleep(Math.max(0, Math.min(seconds * 1000, untilMs - Date.now())));
  try {
    await daemon.sync();
    for (const [i, subject] of options.subjects.entries()) {
      const given = { origin: front.origins[i]!, weather: () => front.counts(i) };
      subjects.push(new Subject(subject, given, options, { server, canary, isStormy }));
    }
    for (;;) {
      await recover();
      for (let i = 0; i < RESTS; i++) {
        await wait(options.calmSeconds / RESTS);
        await rest();
      }
      if (Date.now() >= untilMs) break;
      if (options.stormSeconds === 0) continue;
      weather("storm");
      storms.push([Date.now(), Infinity]);
      front.storm();
      await wait(options.stormSeconds);
      front.calm();
      storms.at(-1)![1] = Date.now();
    }
    await writer.stop();
    const txid = await daemon.sync();
    const database = await openPlain(primary);
    const last = digestOnce(database);
    database.close();
    await each(async (subject) => {
      const stored = await subject.recover(txid, "end");
      if (stored === undefined) return;
      if (subject.options.role === "writer") await checkStored(subject, stored, server, folder);
      else if (stored.generation !== last.generation || stored.digest !== last.digest) {
        subject.fault(
          `sees generation ${stored.generation} at the end, expected ${last.generation}, or other rows`,
        );
      }
    });
    const results = await each((subject) => subject.result());
    return {
      seconds: options.seconds,
      seed,
      beganMs,
      storms,
      slowestMs: canary.slowestMs,
      generations: writer.generation,
      subjects: results,
    };
  } finally {
    clearTimeout(slowing);
    for (const subject of subjects) subject.kill();
    canary.stop();
    await front[Symbol.asyncDispose]();
    await writer.stop().catch(() => {});
    await daemon.stop();
    await server.close();
  }
}
