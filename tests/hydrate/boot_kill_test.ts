/**
 * A process that boots on a replica of 30 MB, writes it and brings it to a local copy, is killed in each phase
 * of its life, and the next one goes on. `BOOT_KILLS=60` for the long form.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openReplica } from "../../mod.ts";
import { until } from "../replica/following.ts";
import { rounds } from "../soak/soak_support.ts";
import { KillProxy, type Point } from "../support/kill_proxy.ts";
import { Random } from "../support/random.ts";
import { openPlain } from "../support/sqlite.ts";
import type { BootOrder } from "./boot_child.ts";
import { BOOT_SQL, digestOf, statementsOf } from "./boot_work.ts";
import { type Place, readerOf, withServedPlace } from "./hydrating.ts";

const PHASES = ["switch", "opening", "hydrating", "committed", "after", "opened"] as const;
type Phase = typeof PHASES[number];

const KILLS = rounds("BOOT_KILLS", 8);
const SEED = rounds("HYDRATE_SEED", 1);
const WAIT_MS = 60_000;

/** Where an upload is held when the process is killed. */
const UPLOAD_POINTS: readonly Point[] = ["before", "half", "late", "unanswered"];

/** One process. */
class Boot {
  readonly #process: ChildProcess;
  readonly #ended: Promise<unknown>;
  readonly lines: string[] = [];
  #rest = "";
  #complaint = "";

  constructor(order: BootOrder) {
    const script = fileURLToPath(new URL("./boot_child.ts", import.meta.url));
    const before = "Deno" in globalThis ? ["run", "-A", "--no-check"] : [];
    this.#process = spawn(process.execPath, [...before, script, JSON.stringify(order)]);
    this.#process.stdout!.on("data", (data) => {
      const lines = (this.#rest + data).split("\n");
      this.#rest = lines.pop()!;
      this.lines.push(...lines);
    });
    this.#process.stderr!.on("data", (data) => this.#complaint += data);
    this.#ended = new Promise((resolve) => this.#process.once("close", resolve));
  }

  /** The rest of each line that begins so. */
  told(word: string): string[] {
    return this.lines.filter((line) => line.startsWith(`${word} `)).map((line) =>
      line.slice(word.length + 1)
    );
  }

  /** Waits until something holds, as long as the process lives. */
  async until(what: string, holds: () => boolean): Promise<void> {
    await until(`${what}, of ${this.lines.slice(-5)}`, () => {
      assert.equal(this.#process.exitCode, null, this.#complaint);
      return holds();
    }, WAIT_MS);
  }

  async ended(): Promise<void> {
    await this.#ended;
    assert.equal(this.#process.exitCode, 0, this.#complaint);
  }

  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#ended;
  }
}

/** Whether page 1 is in the copy, which comes last. */
function hasFirstPage({ path }: Place): boolean {
  try {
    const file = openSync(path, "r");
    const byte = new Uint8Array(1);
    readSync(file, byte);
    closeSync(file);
    return byte[0] !== 0;
  } catch {
    return false;
  }
}

/** What is known of the replica from outside, from one process to the next. */
class Story {
  readonly random = new Random(SEED);
  readonly kills = new Map<Phase, number>();
  /** Reads that were looked at, and commits, by what the copy was then. */
  readonly reads = new Map<string, number>();
  readonly commits = new Map<string, number>();
  readonly #place: Place;
  readonly #proxy: KillProxy;
  /** The last commit that was told of; one more may be there. */
  #told = 0;
  /** The last one in the plain database that all is held against. */
  #last = 0;

  constructor(place: Place, proxy: KillProxy) {
    this.#place = place;
    this.#proxy = proxy;
  }

  #boot(way: BootOrder["way"]): Boot {
    const { url, access, path, folder } = this.#place;
    return new Boot({
      url,
      ...access,
      endpoint: this.#proxy.endpoint,
      hydrate: path,
      write: true,
      bufferPath: join(folder.home, "log"),
      syncIntervalMs: 50,
      pollIntervalMs: 100,
      seed: this.random.next(1e6),
      way,
    });
  }

  /** Has a process boot, and kills it in a phase. */
  async killIn(phase: Phase): Promise<void> {
    if (phase === "hydrating" || phase === "switch") this.#removeCopy();
    let isSprung = false;
    let late: Uint8Array | undefined;
    const arm = (line: RegExp, points: readonly Point[]) => {
      const point = points[this.random.next(points.length)]!;
      this.#proxy.arm({ line, point, nth: 1 + this.random.next(3) }, (held) => {
        isSprung = true;
        late = held;
      });
    };
    if (phase === "opening") arm(/^GET/, ["before", "unanswered", "answered"]);
    if (phase === "committed") arm(/^PUT [^ ]*\/0000\//, UPLOAD_POINTS);
    const boot = this.#boot(phase === "opened" ? "read" : "write");
    try {
      await this.#reach(phase, boot, () => isSprung);
    } finally {
      await boot.kill();
      this.#proxy.arm(undefined, () => {});
    }
    if (late) await this.#proxy.deliver(late);
    this.#note(boot);
    if (isIn(phase, boot)) this.kills.set(phase, (this.kills.get(phase) ?? 0) + 1);
  }

  /** Waits until a process is there. */
  async #reach(phase: Phase, boot: Boot, isSprung: () => boolean): Promise<void> {
    const { random } = this;
    const share = random.next(100) / 100;
    const way = random.next(3);
    const count = 1 + random.next(20);
    const pages = () => (boot.told("pages").at(-1) ?? "0 1").split(" ").map(Number) as [number, number];
    const seen = () => boot.told("x").length > 0 && isSprung();
    await boot.until(
      phase,
      {
        opening: isSprung,
        opened: () => boot.told("read").length > count,
        committed: seen,
        hydrating: () =>
          boot.told("x").length > 0 && pages()[0] > 0 && pages()[0] >= share * 0.9 * pages()[1],
        switch: [
          () => hasFirstPage(this.#place),
          () => pages()[0] === pages()[1],
          () => boot.lines.includes("whole"),
        ][way]!,
        after: () => boot.told("x").filter((line) => line.endsWith("whole")).length > count,
      }[phase],
    );
  }

  #removeCopy(): void {
    for (const end of ["", "-sums", "-state", "-check"]) rmSync(this.#place.path + end, { force: true });
  }

  /** Holds what a process told against what is known. */
  #note(boot: Boot): void {
    assert.deepEqual(boot.told("wrong"), []);
    const [first] = boot.told("first").map(Number);
    if (first !== undefined) {
      const told = this.#told;
      assert.ok(first === told || first === told + 1, `transaction ${first} was found, ${told} told of`);
      this.#told = first;
    }
    for (const line of boot.told("x")) {
      const [i, phase] = line.split(" ") as [string, string];
      this.#told = Number(i);
      this.commits.set(phase, (this.commits.get(phase) ?? 0) + 1);
    }
    for (const phase of boot.told("read")) this.reads.set(phase, (this.reads.get(phase) ?? 0) + 1);
  }

  /** Has a process look at everything and end; then a plain SQLite looks at the copy. */
  async check(): Promise<void> {
    const boot = this.#boot("check");
    await boot.ended();
    this.#note(boot);
    const wanted = this.#digest();
    assert.deepEqual(boot.told("digests")[0]!.split(" "), [wanted, wanted]);
    const plain = await openPlain(this.#place.path);
    try {
      assert.deepEqual(plain.all("PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
      assert.equal(digestOf({ rows: (sql) => plain.all(sql) }), wanted);
    } finally {
      plain.close();
    }
  }

  /** What all rows are after what was told of. */
  #digest(): string {
    const { source } = this.#place.folder;
    source.exec("BEGIN");
    while (this.#last < this.#told) source.exec(statementsOf(++this.#last));
    source.exec("COMMIT");
    return digestOf({ rows: (sql) => source.all(sql) });
  }

  /** Another process's disk: neither log nor copy. */
  forget(): void {
    this.#removeCopy();
    rmSync(join(this.#place.folder.home, "log"), { recursive: true, force: true });
  }

  /** A reader of storage alone has all of it. */
  async checkStored(): Promise<void> {
    await using replica = await openReplica(this.#place.url, this.#place.access);
    await using reader = await readerOf(replica);
    const [row] = await reader.ask("SELECT count(*) AS n, sum(i) AS sum FROM done");
    assert.deepEqual({ ...row }, { n: this.#told, sum: this.#told * (this.#told + 1) / 2 });
    const files =
      "SELECT count(*) AS n, sum(hits) AS hits, sum(txn) AS txn, sum(length(body)) AS size FROM file";
    assert.deepEqual(await reader.ask(files), this.#place.folder.source.all(files));
    assert.deepEqual(await reader.ask("PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
  }
}

/** Whether a process was in a phase when it was killed, by what it told. */
function isIn(phase: Phase, boot: Boot): boolean {
  const isWhole = boot.lines.includes("whole");
  switch (phase) {
    case "opening":
      return !boot.lines.includes("open");
    case "opened":
      return boot.lines.includes("open") && boot.told("x").length === 0;
    case "hydrating":
      return !isWhole;
    default:
      return boot.told("x").length > 0;
  }
}

test(
  "A boot that writes is killed in each phase: every commit it told of is there, once, and so is the copy",
  { timeout: 600_000 },
  () =>
    withServedPlace({ latencyMs: 5, bytesPerSecond: 4_000_000 }, async (place) => {
      place.folder.record(BOOT_SQL);
      place.folder.snapshot();
      place.upload();
      await using proxy = await KillProxy.start(place.s3.endpoint);
      const story = new Story(place, proxy);
      for (let kill = 0; kill < KILLS; kill++) {
        await story.killIn(PHASES[kill % PHASES.length]!);
        // others are killed upon what a kill has left
        if (story.random.next(2) > 0) continue;
        await story.check();
        if (story.random.next(3) === 0) story.forget();
      }
      await story.check();
      await story.checkStored();
      const { kills, reads, commits } = story;
      const figures = [kills, reads, commits].map((counts) => Object.fromEntries(counts));
      if (KILLS > 12) console.log(JSON.stringify({ figures, seed: SEED }));
      assert.deepEqual([...kills.keys()].sort(), [...PHASES].sort());
      for (const phase of ["under-way", "whole"]) {
        assert.ok(reads.get(phase)! > 0 && commits.get(phase)! > 0, JSON.stringify(figures));
      }
    }),
);
