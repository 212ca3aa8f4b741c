/**
 * Many replicas open in this process, all followed; prints figures as JSON.
 *
 * `look` is at what: `process`: of memory, requests and time · `loop`: how late a timer comes in the core's own loop.
 *
 * @module
 */
import process from "node:process";
import { putFile } from "./load_puts.ts";
import { openReplica, type Replica } from "../../mod.ts";
import { type HistoryFile, LongHistory, writeHistory } from "../../tests/support/long_history.ts";
import { coreHere, delay, timeLoop, Times } from "./loop_times.ts";
import { median } from "./measure.ts";
import { cpuMs, poolMb, processFigures } from "./process_figures.ts";

/** What is measured. */
export interface ReplicasArgument {
  readonly look: "process" | "loop";
  /** An S3 stand-in that takes unsigned requests, with replicas `db0`, `db1` …; or a folder with them. */
  readonly endpoint?: string;
  readonly folder?: string;
  readonly count: number;
  /** What replica i has is `i * base` and the TXID together. */
  readonly base: number;
  readonly seconds: number;
}

const argument: ReplicasArgument = JSON.parse(process.argv[2]!);
const { endpoint, folder, count, base, seconds } = argument;
const credentials = "anonymous" as const;
const options = endpoint === undefined ? {} : { endpoint, credentials };
const urlOf = (i: number) => endpoint === undefined ? `file://${folder}/db${i}` : `s3://bucket/db${i}`;
const indexes = Array.from({ length: count }, (_, i) => i);
const history = await LongHistory.make();

async function put(i: number, file: HistoryFile): Promise<void> {
  if (endpoint === undefined) writeHistory(`${folder}/db${i}`, [file]);
  else await putFile(endpoint, `db${i}`, file);
}

console.log(JSON.stringify(argument.look === "loop" ? await lookAtLoop() : await lookAtProcess()));
process.exit(0);

function check(replica: Replica, i: number, txid: number): void {
  const db = replica.connect();
  const { n } = db.prepare("SELECT n FROM state").get();
  db.close();
  const wanted = history.withBase(i * base).valueAt(txid);
  if (n !== wanted) throw new Error(`replica ${i} says ${n}, expected ${wanted}`);
}

async function lookAtProcess(): Promise<Record<string, number>> {
  const first = await openReplica(urlOf(0), options); // the core and all code are there
  await delay(500);
  const before = processFigures();
  const alone = performance.now();
  await (await openReplica(urlOf(1), options)).close();
  const oneMs = performance.now() - alone;
  await first.close();
  const began = performance.now();
  const replicas = await Promise.all(indexes.map((i) => openReplica(urlOf(i), options)));
  const openMs = performance.now() - began;
  const checked = performance.now();
  replicas.forEach((replica, i) => check(replica, i, Number(replica.txid)));
  const firstRowMs = (performance.now() - checked) / count;
  await delay(2_000);
  const opened = processFigures();
  const marks = replicas.map((replica) => replica.mark());
  const [cpu, idle] = [cpuMs(), performance.now()];
  await delay(seconds * 1000);
  const idleSeconds = (performance.now() - idle) / 1000;
  const cpuShare = (cpuMs() - cpu) / 10 / idleSeconds;
  const polls = replicas.map((replica, i) => replica.stats(marks[i]!));
  const sum = (of: "polls" | "failedPolls" | "getRequests" | "listRequests") =>
    polls.reduce((sum, one) => sum + one[of], 0) / idleSeconds;
  const seenMs = await follow(replicas);
  const figures = {
    "open one ms": oneMs,
    "open all ms": openMs,
    "first row ms": firstRowMs,
    "GET /s": sum("getRequests"),
    "LIST /s": sum("listRequests"),
    "failed looks /s": sum("failedPolls"),
    "least looks of one /s": Math.min(...polls.map(({ polls }) => polls)) / idleSeconds,
    "CPU idle %": cpuShare,
    "put → seen p50 ms": median(seenMs),
    "put → seen longest ms": Math.max(...seenMs),
    ...opened,
    "KB a replica": (opened["RSS MB"] - before["RSS MB"]) * 1024 / count,
    "pool MB": await poolMb(),
    "threads for them": opened.threads - before.threads,
    "files for them": opened.files - before.files,
  };
  const closing = performance.now();
  await Promise.all(replicas.map((replica) => replica.close()));
  return { ...figures, "close all ms": performance.now() - closing };
}

/** A transaction comes to each, one after the other within two seconds; gives how long each took to be seen, in ms. */
async function follow(replicas: readonly Replica[]): Promise<number[]> {
  const txid = Number(replicas[0]!.txid) + 1; // all have as many
  const seen = replicas.map((replica) =>
    new Promise<number>((resolve) => replica.on("commit", () => resolve(performance.now())))
  );
  const putMs: number[] = [];
  for (const i of indexes) {
    await put(i, history.withBase(i * base).file(0, txid, txid));
    putMs.push(performance.now());
    await delay(2_000 / count);
  }
  const seenMs = await Promise.all(seen);
  replicas.forEach((replica, i) => check(replica, i, txid));
  return seenMs.map((ms, i) => ms - putMs[i]!);
}

async function lookAtLoop(): Promise<Record<string, number>> {
  const times = new Times();
  const core = await coreHere();
  await (await core.open(urlOf(0), options)).close();
  await timeLoop(times, delay(1_500));
  const rest = times.take("rest");
  const opening = Promise.all(indexes.map((i) => core.open(urlOf(i), options)));
  await timeLoop(times, opening);
  const opened = times.take("opening");
  await timeLoop(times, delay(seconds * 1000));
  const following = times.take("following");
  const closing = opening.then((all) => Promise.all(all.map((replica) => replica.close())));
  await timeLoop(times, closing);
  return { ...rest, ...opened, ...following, ...times.take("closing") };
}
