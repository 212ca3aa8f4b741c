/**
 * A replica with a very large index is opened in this process, while something else goes on; prints figures
 * as JSON.
 *
 * `look` is at what: `memory`: of the index · `timer`: how late a timer of the user's thread comes · `warm`:
 * how long a look-up of a page in memory takes on another replica · `misses`: how long one takes that has to
 * wait for a page · `loop`: how late a timer comes in the core's own loop. All but the first at rest too,
 * and while it is closed.
 *
 * @module
 */
import process from "node:process";
import { loadNative } from "../../ffi/mod.ts";
import { openReplica, type Replica } from "../../mod.ts";
import { findShim } from "../../src/shim_path.ts";
import { coreHere, delay, timeLoop, Times } from "./loop_times.ts";
import { peakMb } from "./process_figures.ts";

const LARGE = "s3://bucket/large";
/** So long is looked at what it is like at rest, in ms. */
const REST_MS = 1_500;
/** Where the shim's census has chunks of page maps. */
const CHUNKS = 3;
/** So many look-ups in memory between two turns of the loop. */
const LOOK_UPS = 5_000;

const { look, endpoint, rows, pages } = JSON.parse(process.argv[2]!);
const options = {
  endpoint,
  credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "any" },
  pollIntervalMs: 0,
};

const times = new Times();
/** What goes on beside. */
const besides = { timer: beTimed, loop: beTimed, warm: await lookerUp(), misses: await misser() };
if (look === "timer") await openReplica("s3://bucket/db", options); // the core and all code are there
const figures = look === "memory" ? await weigh() : await whileOpened(besides[look as keyof typeof besides]);
console.log(JSON.stringify(figures));
process.exit(0);

/** How something goes at rest, while the large replica is opened, and while it is closed. */
async function whileOpened(
  beside: (until: Promise<unknown>) => Promise<void>,
): Promise<Record<string, number>> {
  const opener = look === "loop" ? await ownLoop() : async () => await openReplica(LARGE, options);
  await beside(delay(REST_MS));
  const rest = times.take("rest");
  const began = performance.now();
  const opening = opener();
  await beside(opening);
  const openMs = performance.now() - began;
  const opened = { openMs, ...times.take("opening") };
  await beside(delay(REST_MS));
  times.take("");
  const replica = await opening;
  await beside(delay(20).then(() => replica.close()).then(() => delay(100)));
  return { ...rest, ...opened, ...times.take("closing") };
}

/** The core on this thread, so that its loop can be asked; all code is there. */
async function ownLoop(): Promise<() => Promise<{ close(): Promise<void> }>> {
  const core = await coreHere();
  await core.open("s3://bucket/db", options);
  return () => core.open(LARGE, options);
}

async function beTimed(until: Promise<unknown>): Promise<void> {
  await timeLoop(times, until);
}

/** Look-ups without a pause, but for the turns of the loop that messages need. */
async function repeated(one: () => void, count: number, until: Promise<unknown>): Promise<void> {
  let isOver = false;
  until.then(() => isOver = true);
  while (!isOver) {
    for (let i = 0; i < count && !isOver; i++) {
      const began = performance.now();
      one();
      times.add(performance.now() - began);
    }
    await delay(0);
  }
}

async function lookerUp(): Promise<(until: Promise<unknown>) => Promise<void>> {
  const other = await openOther("warm", { prefetch: "off" });
  const statement = other?.connect().prepare("SELECT amount FROM orders WHERE id = ?");
  let id = 0;
  const one = () => statement!.get(1 + (id = (id + 7919) % 20_000));
  for (let i = 0; other && i < 20_000; i++) one();
  return (until) => repeated(one, LOOK_UPS, until);
}

async function misser(): Promise<(until: Promise<unknown>) => Promise<void>> {
  const other = await openOther("misses", { prefetch: "off", cacheBytesMax: 4 * 2 ** 20 });
  const statement = other?.connect().prepare("SELECT amount FROM orders WHERE id = ?");
  let id = 0;
  const one = () => statement!.get(1 + (id = (id + 104_729 * 3) % rows));
  for (let i = 0; other && i < 100; i++) one();
  return (until) => repeated(one, 1, until);
}

async function openOther(wanted: string, more: object): Promise<Replica | undefined> {
  return look === wanted ? await openReplica("s3://bucket/db", { ...options, ...more }) : undefined;
}

/** What the index takes. */
async function weigh(): Promise<Record<string, number>> {
  await openReplica("s3://bucket/db", options); // the core and all code are there
  await delay(REST_MS);
  const before = process.memoryUsage().rss;
  const { calls } = await loadNative(findShim());
  const chunksBefore = chunkCount(calls);
  const replica = await openReplica(LARGE, options);
  const opened = process.memoryUsage().rss;
  await delay(2 * REST_MS);
  const after = process.memoryUsage().rss;
  const { bytes, getRequests, roundTrips } = replica.stats();
  const row = replica.connect().prepare("SELECT count(*) AS n FROM sqlite_schema").get();
  if (row?.n !== 1) throw new Error(`the schema has ${row?.n} rows, expected 1`);
  // An offset and a run a frame, a base and an object each 64; chunks of the page map, and pointers to them.
  const counted = 4 + 4 + 8 / 64 + 8 / 64 + (chunkCount(calls) - chunksBefore) * (4 + 1024 * 4 + 8) / pages;
  return {
    "B a page": counted,
    "RSS B a page at once": (opened - before) / pages,
    "RSS B a page later": (after - before) / pages,
    "RSS peak MB": peakMb(),
    "moved MB": bytes / 1e6,
    "GETs": getRequests,
    "round trips": roundTrips,
  };
}

function chunkCount(calls: Awaited<ReturnType<typeof loadNative>>["calls"]): number {
  const words = new Uint32Array(8);
  calls.ls_census(new Uint8Array(words.buffer), words.length);
  return words[CHUNKS]!;
}
