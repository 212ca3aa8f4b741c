/**
 * How fast is writing, and when is what was committed in storage, against the Go VFS and a local file?
 *
 * `npm run bench -- write [runs] [--latency 0,5,20] [--only flat,bulk] [--systems ours,go,local]
 * [--seconds 4] [--limit 30]` · `small` (60,000 rows, 10 MB), each point in a fresh process on a fresh replica
 * behind an S3 stand-in with added latency (ms); ours in Bun and Deno, the Go VFS with its write mode in Bun,
 * all with their default intervals (1 s). The local file is in DELETE mode, in the same temporary folder as our
 * write log.
 *
 * Works: `flat` transactions of one row, scattered, for `seconds`; `paced` the same at 50 a second; `bulk`
 * 10,000 rows in one transaction; `interval` from the call of COMMIT until the file that has it is stored,
 * nobody asking for it; `sync` until `sync()` has resolved; `durable` the COMMIT itself with `PRAGMA
 * litestream_durable`. "cold" has what its opening fetched, "warm" has read the table before, as far as
 * `limit` seconds allow (the share stands beside it). A large transaction is cut after `limit` seconds,
 * committed, and its time reckoned from the share done: those are marked ≈.
 *
 * "→ durable" is from the work's end until all is stored: ours by `sync()`, the Go VFS, which cannot be
 * asked, by its own next upload. PUTs a second are those that ended while transactions were made,
 * compaction's and those of parts included; files are those of transactions, to the last one. "times local" compares the same `synchronous` (FULL for the Go VFS) and, where a commit
 * is to be durable, the local COMMIT; "times Go" what the Go VFS does without being asked.
 *
 * After each point the replica is restored by Litestream and compared, row by row, with the same changes made
 * in a plain file: "wrong rows". Where ours or the local file has any, or fails, the bench ends with 1. A run
 * of everything draws `bench/plots/write.svg`.
 *
 * @module
 */
import { mkdir, writeFile } from "node:fs/promises";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { namedDatabase } from "./support/databases.ts";
import { type Figures, medians, table } from "./support/measure.ts";
import { barPlot } from "./support/plot.ts";
import { measureWriting, type WritePoint } from "./support/write_point.ts";
import { type Work, type WorkName, workOf, WORKS } from "./support/write_works.ts";

type Row = Record<string, string | number>;

/** Figures of all runs so far. */
class Samples {
  readonly #all = new Map<string, Figures[]>();
  readonly #failed = new Set<string>();

  add(point: WritePoint, figures: Figures): void {
    this.#all.set(nameOf(point), [...this.#all.get(nameOf(point)) ?? [], figures]);
  }

  fail(point: WritePoint): void {
    this.#failed.add(nameOf(point));
  }

  /** Medians; `undefined` where there are none. */
  of(point: WritePoint): Figures | undefined {
    const all = this.#all.get(nameOf(point));
    return all && medians(all);
  }

  hasFailed(point: WritePoint): boolean {
    return this.#failed.has(nameOf(point));
  }
}

const RUNTIMES = ["bun", "deno"] as const;
/** The Go VFS is slow, and waits for latency most of the time: its figures hardly differ. */
const GO_RUNS_MAX = 3;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    latency: { type: "string", default: "0,5,20" },
    only: { type: "string" },
    systems: { type: "string", default: "ours,go,local" },
    seconds: { type: "string", default: "4" },
    limit: { type: "string", default: "30" },
  },
});
const runs = Number(positionals[0] ?? 3);
const latencies = options.latency.split(",").map(Number);
const systems = options.systems.split(",");
const chosen = options.only?.split(",").map(workOf) ?? WORKS;
const bounds = {
  database: await namedDatabase("small"),
  seconds: Number(options.seconds),
  limitMs: Number(options.limit) * 1000,
};
const samples = new Samples();
for (let run = 0; run < runs; run++) {
  for (const point of chosen.flatMap(pointsOf)) {
    if (point.system !== "go" || run < GO_RUNS_MAX && !samples.hasFailed(point)) await take(point);
  }
}
for (const work of chosen) {
  const rows = pointsOf(work).map((point) => tableRow(point));
  console.log(`\n${work.name}: ${work.about}\n\n${table(rows)}`);
}
if (options.only === undefined && systems.length === 3) await draw();
process.exit();

/** All points of a work; a local file's latency is 0, and its pages are always at hand. */
function pointsOf(work: Work): WritePoint[] {
  const synchronous = work.name === "flat" ? ["FULL", "NORMAL"] as const : ["FULL"] as const;
  const kept = synchronous.flatMap((synchronous) =>
    RUNTIMES.map((runtime) => ({ work, runtime, synchronous }))
  );
  const local = kept.map((point) => ({ ...point, system: "local" as const, latencyMs: 0, isWarm: true }));
  const stored = latencies.flatMap((latencyMs) =>
    (work.isLong ? [false, true] : [false]).flatMap((isWarm) => [
      ...kept.map((point) => ({ ...point, system: "ours" as const, latencyMs, isWarm })),
      ...(work.isOurs ? [] : [goPoint({ work, latencyMs, isWarm })]),
    ])
  );
  return [...(work.isOurs ? [] : local), ...stored].filter(({ system }) => systems.includes(system));
}

function goPoint({ work, latencyMs, isWarm }: Pick<WritePoint, "work" | "latencyMs" | "isWarm">): WritePoint {
  return { work, latencyMs, isWarm, system: "go", runtime: "bun" };
}

/** Measures a point once more; one that fails leaves the others. Ours and a local file have to be right. */
async function take(point: WritePoint): Promise<void> {
  try {
    const figures = await measureWriting(point, bounds);
    if (figures.wrong !== 0 && point.system !== "go") {
      throw new Error(`${nameOf(point)} has ${figures.wrong} wrong rows`);
    }
    samples.add(point, figures);
    console.error(`${nameOf(point)}: ${summary(point.work.name, figures)}`);
  } catch (error) {
    samples.fail(point);
    console.error(`${nameOf(point)}: failed, ${(error as Error).message.slice(0, 2_000)}`);
    if (point.system !== "go") process.exitCode = 1;
  }
}

function nameOf({ work, system, runtime, synchronous, latencyMs, isWarm }: WritePoint): string {
  const place = system === "local" ? [] : [`${latencyMs} ms`, isWarm ? "warm" : "cold"];
  return [work.name, ...place, system, runtime, synchronous ?? ""].join(" ").trim();
}

function digits(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(3);
}

/** A share, where it is not all. */
function cut(share: number | undefined): string {
  return share === undefined || share === 1 ? "" : ` (${(share * 100).toPrecision(2)} %)`;
}

/** The time of a large transaction, marked where it is reckoned. */
function bulkTime({ ms, share }: Figures): string {
  return `${share! < 1 ? "≈ " : ""}${digits(ms!)}${cut(share)}`;
}

function summary(name: WorkName, figures: Figures): string {
  if (name === "bulk") return `${bulkTime(figures)} ms`;
  const rate = figures.perSecond === undefined ? "" : `${digits(figures.perSecond)} tx/s, `;
  return `${rate}p50 ${digits(figures.p50Ms!)} ms, max ${digits(figures.maxMs!)} ms`;
}

/** What is compared: the more the faster. */
function speedOf(name: WorkName, figures: Figures | undefined): number | undefined {
  if (figures === undefined) return undefined;
  return name === "flat" ? figures.perSecond : 1 / (name === "bulk" ? figures.ms! : figures.p50Ms!);
}

function ratio(point: WritePoint, other: WritePoint): number | string {
  const own = speedOf(point.work.name, samples.of(point));
  const theirs = speedOf(other.work.name, samples.of(other));
  return own === undefined || theirs === undefined ? "" : own / theirs;
}

function ratios(point: WritePoint): Row {
  const work = point.work.isOurs ? workOf("interval") : point.work;
  const local = { ...point, work, system: "local", latencyMs: 0, isWarm: true } as const;
  return {
    "times local": point.system === "local"
      ? ""
      : ratio(point, { ...local, synchronous: point.synchronous ?? "FULL" }),
    "times Go": point.system === "ours" ? ratio(point, goPoint({ ...point, work })) : "",
  };
}

function mainFigures(name: WorkName, figures: Figures | undefined): Row {
  const value = (figure: string) => figures?.[figure] ?? "";
  if (name === "bulk") return { ms: figures ? bulkTime(figures) : "" };
  const times = { "p50 ms": value("p50Ms"), "max ms": value("maxMs") };
  return name === "flat" || name === "paced" ? { "tx/s": value("perSecond"), ...times } : times;
}

function tableRow(point: WritePoint): Row {
  const { work, system, runtime, latencyMs, isWarm } = point;
  const figures = samples.of(point);
  const isStored = system !== "local" && figures !== undefined;
  const seen = (figure: string) => isStored ? figures[figure]! : "";
  const warmth = isWarm ? `warm${cut(figures?.warmShare)}` : "cold";
  return {
    ...(system === "local"
      ? { "latency ms": "", pages: "" }
      : { "latency ms": String(latencyMs), pages: warmth }),
    system: system === "go" ? "Go VFS" : system,
    runtime,
    synchronous: point.synchronous ?? "",
    ...mainFigures(work.name, figures),
    ...(work.isLong && { "→ durable ms": seen("durableMs") }),
    "PUTs /s": seen("putsPerSecond"),
    files: seen("files"),
    "KiB a file": isStored && figures.files! > 0 ? figures.fileKib! / figures.files! : "",
    "other PUTs": seen("otherPuts"),
    "other requests": seen("otherRequests"),
    ...ratios(point),
    "wrong rows": samples.hasFailed(point) ? "failed" : figures ? String(figures.wrong) : "",
  };
}

/** A transaction's time in each work, by latency; the long ones warm, with `synchronous=FULL`. */
async function draw(): Promise<void> {
  const works = chosen.filter(({ isOurs }) => !isOurs);
  const bar = (point: WritePoint) => {
    const figures = samples.of(point);
    if (figures === undefined) return { value: 1, label: "failed" };
    const ms = (point.work.name === "flat" ? 1000 : 1) / speedOf(point.work.name, figures)!;
    return { value: ms, label: digits(ms) };
  };
  const groups = works.flatMap((work) =>
    latencies.map((latencyMs) => {
      const ours = {
        work,
        latencyMs,
        isWarm: work.isLong ?? false,
        system: "ours",
        synchronous: "FULL",
      } as const;
      const points: WritePoint[] = [
        goPoint(ours),
        { ...ours, runtime: "bun" },
        { ...ours, runtime: "deno" },
        { ...ours, runtime: "bun", system: "local", latencyMs: 0, isWarm: true },
      ];
      return { name: `${work.about}, ${latencyMs} ms`, bars: points.map(bar) };
    })
  );
  const svg = barPlot({
    title: "Writing, by added latency: ms a transaction, shorter is better",
    series: ["Go VFS", "ours, Bun", "ours, Deno", "local file, Bun"],
    groups,
  });
  const folder = new URL("./plots/", import.meta.url);
  await mkdir(fileURLToPath(folder), { recursive: true });
  await writeFile(fileURLToPath(new URL("write.svg", folder)), svg);
}
