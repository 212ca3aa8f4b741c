/**
 * Chaos around processes: they are stopped, killed, run out of files, memory and disk, and their clock goes wrong, while their
 * storage storms.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { OpenOptions } from "../../mod.ts";
import { noClock, SetClock } from "../replica/outage_clock.ts";
import { Random } from "../support/random.ts";
import { openPlain } from "../support/sqlite.ts";
import type { Bucket } from "./bucket.ts";
import { ChaosProxy } from "./chaos_proxy.ts";
import { evenRates } from "./fault_schedule.ts";
import { ModelPrimary } from "./model_primary.ts";
import type { ChildOrder } from "./process_child.ts";

/** What is done to a process. */
export const PROCESS_KINDS = [
  "stopped",
  "killed",
  "few files",
  "little memory",
  "full disk",
  "clock",
] as const;

/** One of them. */
export type ProcessKind = typeof PROCESS_KINDS[number];

/** Classes of errors that a process may tell of. */
const CLASSES = new Set([
  "StorageError",
  "ObjectGoneError",
  "RestorePlanError",
  "LtxFormatError",
  "DeadlineError",
  "StateGoneError",
  "ConflictError",
  "WriteLogError",
  "LocalFileError",
  "ReplicaClosedError",
]);

const DISK_SIZE = "3m";
const READY_MS = 120_000;

/**
 * How long it may try while requests go wrong, in ms: one in ten does, and a replica that was written for minutes has a hundred files,
 * of which an opening needs each. Then storage is well.
 */
const PATIENCE_MS = 60_000;

/** Lines of a process that are shown with its fault. */
const LINES_MAX = 5;

/** A process, and what it tells. */
class Child {
  readonly #process: ChildProcess;
  readonly #ended: Promise<string>;
  #complaint = "";
  isOver = false;
  onLine: (line: string) => void = () => {};
  /** What it told last. */
  readonly lastLines: string[] = [];

  constructor(order: ChildOrder, env: Record<string, string>) {
    const script = fileURLToPath(new URL("./process_child.ts", import.meta.url));
    const before = "Deno" in globalThis ? ["run", "-A", "--no-check", script] : [script];
    this.#process = spawn(process.execPath, [...before, JSON.stringify(order)], {
      env: { ...process.env, ...env },
    });
    this.#process.stderr!.on("data", (data) => this.#complaint = (this.#complaint + data).slice(-2_000));
    createInterface({ input: this.#process.stdout! }).on("line", (line) => {
      if (this.lastLines.push(line) > LINES_MAX) this.lastLines.shift();
      this.onLine(line);
    });
    this.#ended = new Promise((resolve) =>
      this.#process.once("close", (code, signal) => {
        this.isOver = true;
        resolve(signal ?? String(code));
      })
    );
  }

  get pid(): number {
    return this.#process.pid!;
  }

  signal(signal: NodeJS.Signals): void {
    if (!this.isOver) process.kill(this.pid, signal); // the child's own kill() may take it for dead from then on
  }

  /** Lets it end by itself; how it did, and what it complained of. */
  async end(): Promise<{ how: string; complaint: string }> {
    this.#process.stdin!.end();
    const timer = setTimeout(() => this.signal("SIGKILL"), READY_MS);
    const how = await this.#ended;
    clearTimeout(timer);
    return { how, complaint: this.#complaint };
  }
}

/** What a world of processes is made of. */
export interface ProcessWorldOptions {
  readonly seed: number;
  readonly bucket: Bucket;
  /** Share of requests that go wrong meanwhile. */
  readonly share: number;
}

/** Readers and writers in processes of their own, one after the other. */
export class ProcessWorld {
  readonly counts = new Map<string, number>();
  readonly broken: string[] = [];
  readonly #options: ProcessWorldOptions;
  readonly #folder: string;
  readonly #primary: ModelPrimary;
  readonly #proxy: ChaosProxy;
  readonly #random: Random;
  /** The last transaction that a writer told of, and whether one more may be there. */
  #told = 0;
  #mayBeMore = false;
  #synced = 0;

  static async make(options: ProcessWorldOptions): Promise<ProcessWorld> {
    const { seed, bucket, share } = options;
    const folder = await mkdtemp(join(tmpdir(), "chaos-processes-"));
    if (canMount) command("mount", "-t", "tmpfs", "-o", `size=${DISK_SIZE}`, "tmpfs", folder);
    await mkdir(join(folder, "disk"));
    const primary = await ModelPrimary.make({ seed, shelves: [bucket.shelf("db")] });
    const proxy = await ChaosProxy.start({
      target: bucket.endpoint,
      seed,
      rates: evenRates(share),
      lanes: 2,
    });
    return new ProcessWorld({ options, folder, primary, proxy });
  }

  private constructor(
    parts: { options: ProcessWorldOptions; folder: string; primary: ModelPrimary; proxy: ChaosProxy },
  ) {
    this.#options = parts.options;
    this.#folder = parts.folder;
    this.#primary = parts.primary;
    this.#proxy = parts.proxy;
    this.#random = new Random(parts.options.seed);
  }

  #path(name: string): string {
    return join(this.#folder, "disk", name);
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  /** One process from its beginning to its end, with so many things done to it. */
  async round(role: ChildOrder["role"], kinds: readonly ProcessKind[]): Promise<void> {
    const clock = noClock ? undefined : new SetClock(await this.#clockFolder());
    const child = new Child(this.#order(role), kinds.includes("clock") ? clock?.env ?? {} : {});
    const story = role === "write" ? this.#writer(child) : this.#reader(child);
    await this.#until(story.isReady, child, role);
    const stepping = this.#step(child);
    for (const kind of kinds) {
      if (child.isOver) break;
      await this.#inflict(kind, child, clock);
    }
    const { how, complaint } = await child.end();
    await stepping;
    story.check();
    const wasKilled = kinds.includes("killed");
    this.#count(`${role}: ended by ${how}`);
    // A runtime that finds no memory ends itself: what is on the disk must do.
    const mayEnd = wasKilled || kinds.includes("little memory");
    if (!mayEnd && how !== "0") this.broken.push(`${this.#label}: a ${role}r ended by ${how}: ${complaint}`);
  }

  get #label(): string {
    return `seed ${this.#options.seed}`;
  }

  async #clockFolder(): Promise<string> {
    return await mkdtemp(join(this.#folder, "clock-"));
  }

  #order(role: ChildOrder["role"]): ChildOrder {
    const { bucket } = this.#options;
    const random = this.#random;
    const common: OpenOptions = {
      ...bucket.access,
      openTimeoutMs: 10_000,
      readTimeoutMs: 8_000,
      requestTimeoutMs: 3_000,
    };
    const reading: OpenOptions = {
      pollIntervalMs: 30,
      ...(random.next(2) === 0 ? { hydrate: this.#path("copy.db") } : {}),
      ...(random.next(2) === 0 ? { cacheDir: this.#path("cache"), cacheDirBytesMax: 1024 * 1024 } : {}),
    };
    const writing: OpenOptions = { write: true, bufferPath: this.#path("log"), syncIntervalMs: 50 };
    return role === "write"
      ? { role, url: bucket.url("written", this.#proxy.origins[0]!), options: { ...common, ...writing } }
      : { role, url: bucket.url("db", this.#proxy.origins[1]!), options: { ...common, ...reading } };
  }

  /** The primary goes on while a process is there. */
  async #step(child: Child): Promise<void> {
    while (!child.isOver) {
      await this.#primary.step();
      await this.#primary.keepUp();
      await pause(100);
    }
  }

  #fault(line: string): void {
    const name = /^fault ([A-Za-z]+): Cannot /.exec(line)?.[1] ?? "";
    this.#count(`told: ${name || "words of the driver alone"}`);
    if (!CLASSES.has(name)) this.broken.push(`${this.#label}: ${line}`);
  }

  #writer(child: Child): { isReady: () => boolean; check: () => void } {
    let isOpen = false;
    const found = (last: number) => {
      const most = this.#told + (this.#mayBeMore ? 1 : 0);
      if (last < this.#told || last > most) {
        this.broken.push(`${this.#label}: a writer found ${last}, expected ${this.#told} to ${most}`);
      }
      this.#told = last;
      isOpen = true;
    };
    child.onLine = (line) => {
      const [word = "", value = ""] = line.split(" ");
      if (word === "found") found(Number(value));
      else if (word === "told") this.#told = Number(value);
      else if (word === "sync") this.#synced = Number(value);
      else if (word === "fault") this.#fault(line);
      if (["found", "told", "fault"].includes(word)) this.#count(`writer: ${word}`);
      this.#mayBeMore = true; // of a commit nobody knows when its process goes
    };
    return { isReady: () => isOpen, check: () => {} };
  }

  #reader(child: Child): { isReady: () => boolean; check: () => void } {
    let seen = 0n;
    child.onLine = (line) => {
      const [word, value = ""] = line.split(" ");
      if (word === "open") seen = 0n;
      if (word === "fault") this.#fault(line);
      if (word !== "seen") return;
      this.#count("reader: seen");
      const txid = BigInt(`0x${value}`);
      const state = line.slice(6 + value.length);
      if (this.#primary.stateAt(txid) !== state) {
        this.broken.push(`${this.#label}: TXID ${txid} shows ${state}`);
      }
      if (txid < seen) this.broken.push(`${this.#label}: TXID ${txid} after ${seen}`);
      seen = txid;
    };
    return { isReady: () => seen > 0n, check: () => {} };
  }

  async #until(holds: () => boolean, child: Child, role: ChildOrder["role"]): Promise<void> {
    let isCalm = false;
    for (let ms = 0; ms < READY_MS && !holds() && !child.isOver; ms += 10) {
      await pause(10);
      if (isCalm || ms < PATIENCE_MS) continue;
      isCalm = true;
      this.#count("open: only when storage was well");
      this.#proxy.calm();
    }
    if (isCalm) this.#proxy.storm();
    if (holds()) return;
    this.broken.push(`${this.#label}: a ${role}r did not open anything: ${child.lastLines.join("; ")}`);
  }

  async #inflict(kind: ProcessKind, child: Child, clock: SetClock | undefined): Promise<void> {
    const ms = 50 + this.#random.next(600);
    this.#count(`done: ${kind}`);
    if (kind === "killed") {
      await pause(ms);
      return child.signal("SIGKILL");
    }
    if (kind === "stopped") {
      child.signal("SIGSTOP");
      await pause(ms);
      child.signal("SIGCONT");
    }
    if (kind === "few files") await this.#limited(child, "nofile", await openFiles(child.pid), ms);
    if (kind === "little memory") await this.#limited(child, "data", dataSize(child.pid), ms);
    if (kind === "full disk") await this.#fullDisk(ms);
    if (kind === "clock") {
      clock?.set((this.#random.next(2) * 2 - 1) * (300 + this.#random.next(7_200)));
      await pause(ms);
      clock?.set(0);
    }
    await pause(this.#random.next(300));
  }

  /** Sets a limit to what is used now and a little, for a while. */
  async #limited(child: Child, limit: string, used: number, ms: number): Promise<void> {
    if (used === 0) return;
    const before = prlimit(child.pid, limit);
    const most = limit === "data" ? used + this.#random.next(8) * 1024 * 1024 : used + this.#random.next(3);
    command("prlimit", "--pid", String(child.pid), `--${limit}=${most}:`);
    await pause(ms);
    if (!child.isOver) spawnSync("prlimit", ["--pid", String(child.pid), `--${limit}=${before}:`]);
  }

  async #fullDisk(ms: number): Promise<void> {
    if (!canMount) return;
    const filler = join(this.#folder, "filler");
    await writeFile(filler, new Uint8Array(8 * 1024 * 1024)).catch((error) => {
      if (error.code !== "ENOSPC") throw error;
    });
    await pause(ms);
    await rm(filler);
  }

  /** Nothing goes wrong any more: a writer stores all that was told of, and Litestream restores it. */
  async settle(): Promise<void> {
    this.#proxy.calm();
    await this.round("write", []);
    const out = join(this.#folder, "restored.db");
    await rm(out, { force: true });
    await this.#options.bucket.restore("written", out, this.#folder);
    const plain = await openPlain(out);
    try {
      const [row] = plain.all("SELECT max(i) AS last, count(*) AS count FROM n");
      assert.deepEqual(
        { ...row },
        { last: this.#told, count: this.#told },
        `${this.#label}: what was restored`,
      );
      assert.ok(this.#told >= this.#synced);
      assert.deepEqual(plain.all("PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
    } finally {
      plain.close();
    }
    this.#proxy.storm();
  }

  async close(): Promise<void> {
    this.#primary.close();
    await this.#proxy.close();
    if (canMount) command("umount", "-l", this.#folder);
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** Whether a file system of its own can be made for the processes: by root, on Linux. */
export const canMount: boolean = process.platform === "linux" && process.getuid?.() === 0 &&
  spawnSync("sh", [
      "-c",
      'f=$(mktemp -d) && mount -t tmpfs -o size=64k tmpfs "$f" && umount "$f"; s=$?; rmdir "$f"; exit $s',
    ])
      .status === 0;

function command(name: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(name, args);
  assert.equal(status, 0, `${name} ${args}: ${stderr}`);
}

/** A limit of a process, as it can be set again. */
function prlimit(pid: number, limit: string): string {
  const { stdout } = spawnSync("prlimit", ["--pid", String(pid), `--${limit}`, "-o", "SOFT", "--noheadings"]);
  return String(stdout).trim();
}

async function openFiles(pid: number): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`).catch(() => [])).length;
}

/** What counts against RLIMIT_DATA, in bytes. */
function dataSize(pid: number): number {
  const { stdout } = spawnSync("sh", ["-c", `grep VmData /proc/${pid}/status`]);
  return 1024 * Number(/(\d+) kB/.exec(String(stdout))?.[1] ?? 0);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
