/**
 * A replica of very many files is opened, followed and looked back into; prints figures as JSON.
 *
 * @module
 */
import process from "node:process";
import { openReplica } from "../../mod.ts";
import { type HistoryFile, LongHistory, writeHistory } from "../../tests/support/long_history.ts";
import { coreHere, delay, timeLoop, Times } from "./loop_times.ts";
import { putFile } from "./load_puts.ts";
import { median } from "./measure.ts";
import { cpuMs, processFigures } from "./process_figures.ts";

/** What is measured. */
export interface FilesArgument {
  readonly system: "ours" | "go" | "loop";
  /** An S3 stand-in that takes unsigned requests, with the replica `NAME`; or a folder with it. */
  readonly endpoint?: string;
  readonly folder?: string;
  readonly name: string;
  readonly library?: string;
  /** The least that its row may say. */
  readonly least: number;
}

const argument: FilesArgument = JSON.parse(process.argv[2]!);
const { endpoint, folder, name, library, system } = argument;
const options = endpoint === undefined ? {} : { endpoint, credentials: "anonymous" as const };
const url = endpoint === undefined ? `file://${folder}/${name}` : `s3://bucket/${name}`;
const tiny = url.replace(name, "tiny");
const COMMITS = 10;
const history = await LongHistory.make();

const lookers = { ours: readOurs, go: readGo, loop: lookAtLoop };
console.log(JSON.stringify(await lookers[system]()));
process.exit(0);

async function put(file: HistoryFile): Promise<void> {
  if (endpoint === undefined) writeHistory(`${folder}/${name}`, [file]);
  else await putFile(endpoint, name, file);
}

async function readOurs(): Promise<Record<string, number>> {
  await (await openReplica(tiny, options)).close(); // the core and all code are there
  const before = processFigures();
  const began = performance.now();
  const replica = await openReplica(url, { ...options, pollIntervalMs: 0 });
  const openMs = performance.now() - began;
  const opened = replica.stats();
  const figures = processFigures();
  const txid = Number(replica.txid);
  const db = replica.connect();
  const check = (wanted: number, of = db) => {
    const { n } = of.prepare("SELECT n FROM state").get();
    if (n !== wanted) throw new Error(`the row says ${n}, expected ${wanted}`);
  };
  check(history.valueAt(txid));
  const steps: number[] = [];
  const cpu = cpuMs();
  let mark = replica.mark();
  for (let next = txid + 1; next <= txid + COMMITS; next++) {
    await put(history.file(0, next, next));
    const started = performance.now();
    await replica.waitFor(BigInt(next));
    steps.push(performance.now() - started);
    check(history.valueAt(next));
  }
  const stepCpuMs = (cpuMs() - cpu) / COMMITS;
  const stepped = replica.stats(mark);
  mark = replica.mark();
  const looking = performance.now();
  await replica.refresh();
  const refreshMs = performance.now() - looking;
  const looked = replica.stats(mark);
  mark = replica.mark();
  const middle = Math.floor(txid / 2);
  const moving = performance.now();
  const past = replica.connect({ asOf: new Date(history.timeOf(middle) + 1) });
  const asOfMs = performance.now() - moving;
  check(history.valueAt(middle), past);
  const moved = replica.stats(mark);
  past.close();
  mark = replica.mark();
  const listing = performance.now();
  const points = await replica.points();
  const pointsMs = performance.now() - listing;
  const pointed = replica.stats(mark);
  if (points.length !== txid + COMMITS) throw new Error(`${points.length} points`);
  db.close();
  const closing = performance.now();
  await replica.close();
  return {
    "open ms": openMs,
    "open LIST": opened.listRequests,
    "open GET": opened.getRequests,
    "open MB": opened.bytes / 1e6,
    "round trips": opened.roundTrips,
    "RSS opened MB": figures["RSS MB"] - before["RSS MB"],
    "peak MB": processFigures()["peak MB"],
    "commit → seen ms": median(steps),
    "CPU a commit ms": stepCpuMs,
    "requests a commit": (stepped.getRequests + stepped.listRequests) / COMMITS,
    "refresh ms": refreshMs,
    "refresh requests": looked.getRequests + looked.listRequests,
    "asOf ms": asOfMs,
    "asOf LIST": moved.listRequests,
    "asOf GET": moved.getRequests,
    "points ms": pointsMs,
    "points LIST": pointed.listRequests,
    "close ms": performance.now() - closing,
  };
}

async function readGo(): Promise<Record<string, number>> {
  const module = "bun:sqlite";
  const { Database } = await import(module);
  new Database(":memory:").loadExtension(library);
  const before = processFigures();
  const began = performance.now();
  const db = new Database("file:replica.db?vfs=litestream", 0x41);
  const { n } = db.prepare("SELECT n FROM state").get();
  const openMs = performance.now() - began;
  if (n < argument.least) throw new Error(`the row says ${n}, expected ${argument.least} or more`);
  return { "open ms": openMs, "RSS opened MB": processFigures()["RSS MB"] - before["RSS MB"] };
}

async function lookAtLoop(): Promise<Record<string, number>> {
  const times = new Times();
  const core = await coreHere();
  await (await core.open(tiny, options)).close();
  await timeLoop(times, delay(1_000));
  const rest = times.take("rest");
  const opening = core.open(url, { ...options, pollIntervalMs: 0 });
  await timeLoop(times, opening);
  const opened = times.take("opening");
  const { live, close } = await opening;
  const following = (async () => {
    const first = Number(live.position) + 1;
    for (let txid = first; txid < first + COMMITS; txid++) {
      await put(history.file(0, txid, txid));
      await live.waitFor(BigInt(txid), new AbortController().signal);
    }
  })();
  await timeLoop(times, following);
  const followed = times.take("following");
  await timeLoop(times, live.refresh());
  const looked = times.take("looking");
  await timeLoop(times, live.points());
  const pointed = times.take("points");
  await timeLoop(times, close());
  return { ...rest, ...opened, ...followed, ...looked, ...pointed, ...times.take("closing") };
}
