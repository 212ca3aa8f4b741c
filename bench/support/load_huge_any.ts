/**
 * A database of some GB is opened and read here and there; prints figures as JSON.
 *
 * @module
 */
import process from "node:process";
import { openReplica } from "../../mod.ts";
import { formatLtxFileName, lockPgno } from "../../src/ltx/txid.ts";
import { encodeFile } from "../../src/ltx/encoder.ts";
import { HugeDatabase } from "../../tests/support/huge_database.ts";
import { nativeLz4 } from "../../tests/support/native_lz4.ts";
import { Random } from "../../tests/support/random.ts";
import { coreHere, delay, timeLoop, Times } from "./loop_times.ts";
import { putFile } from "./load_puts.ts";
import { median } from "./measure.ts";
import { poolMb, processFigures } from "./process_figures.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

/** What is measured. */
export interface HugeArgument {
  readonly system: "ours" | "go" | "loop";
  readonly endpoint: string;
  readonly pages: number;
  readonly library?: string;
  readonly seconds: number;
}

const argument: HugeArgument = JSON.parse(process.argv[2]!);
const { system, endpoint, pages, library, seconds } = argument;
const database = new HugeDatabase(pages);
const options = { endpoint, credentials: "anonymous" as const };
const url = "s3://bucket/huge";
const LOOK_UPS = 200;
const RANGE = 2_000;

const lookers = { ours: readOurs, go: readGo, loop: lookAtLoop };
console.log(JSON.stringify(await lookers[system]()));
process.exit(0);

/** What is read, and how long it takes; stops when its time is over. */
function readAll(db: Any, countRequests: () => number): Record<string, number> {
  const byId = db.prepare("SELECT * FROM item WHERE id = ?");
  const byCode = db.prepare("SELECT id FROM item WHERE code = ?");
  const random = new Random(1);
  const lookUp = (of: string) => {
    const times: number[] = [];
    const before = countRequests();
    const untilMs = performance.now() + seconds * 1000;
    for (let i = 0; i < LOOK_UPS && performance.now() < untilMs; i++) {
      const wanted = database.row(1 + random.next(database.rows));
      const began = performance.now();
      const row = of === "id" ? byId.get(wanted.id) : byCode.get(wanted.code);
      times.push(performance.now() - began);
      const isRight = row?.id === wanted.id &&
        (of !== "id" || row.code === wanted.code && row.body === wanted.body);
      if (!isRight) throw new Error(`row ${wanted.id} by ${of} is ${JSON.stringify(row)}`);
    }
    return {
      [`by ${of} p50 ms`]: median(times),
      [`by ${of} longest ms`]: Math.max(...times),
      [`by ${of} requests`]: (countRequests() - before) / times.length,
    };
  };
  const byIds = lookUp("id");
  const byCodes = lookUp("code");
  const middle = lastBefore(lockPgno(database.pageSize));
  const before = countRequests();
  const began = performance.now();
  const rows = db.prepare("SELECT id, code, body FROM item WHERE id BETWEEN ? AND ?").all(
    middle - RANGE,
    middle + RANGE,
  );
  const rangeMs = performance.now() - began;
  rows.forEach((row: Any, i: number) => {
    const wanted = database.row(middle - RANGE + i);
    if (row.id !== wanted.id || row.body !== wanted.body) {
      throw new Error(`row ${wanted.id} of the range is wrong`);
    }
  });
  if (rows.length !== 2 * RANGE + 1) throw new Error(`${rows.length} rows around the lock page`);
  const range = { "range ms": rangeMs, "range requests": countRequests() - before };
  const warm = performance.now();
  const one = 1 + random.next(database.rows);
  byId.get(one);
  for (let i = 0; i < 20_000; i++) byId.get(one + i % 10 <= database.rows ? one + i % 10 : one);
  return { ...byIds, ...byCodes, ...range, "warm look-ups /s": 20_000 / (performance.now() - warm) * 1000 };
}

/** The last row before a page. */
function lastBefore(pgno: number): number {
  let id = 1;
  for (let step = 2 ** 26; step >= 1; step /= 2) {
    if (id + step <= database.rows && database.leafOf(id + step) < pgno) id += step;
  }
  return id;
}

async function readOurs(): Promise<Record<string, number>> {
  await (await openReplica("s3://bucket/tiny", options)).close(); // the core and all code are there
  const before = processFigures();
  const began = performance.now();
  const replica = await openReplica(url, options);
  const openMs = performance.now() - began;
  const { getRequests, listRequests, bytes, roundTrips } = replica.stats();
  const db = replica.connect();
  db.prepare("SELECT * FROM item WHERE id = 4711").get();
  const firstRowMs = performance.now() - began;
  const opened = processFigures();
  const read = readAll(db, () => replica.stats().getRequests);
  const after = processFigures();
  const pool = await poolMb();
  const followed = await followOne(replica, db);
  await delay(2_000);
  const closing = performance.now();
  db.close();
  await replica.close();
  return {
    "open ms": openMs,
    "first row ms": firstRowMs,
    requests: getRequests + listRequests,
    "moved MB": bytes / 1e6,
    "round trips": roundTrips,
    ...read,
    "RSS opened MB": opened["RSS MB"] - before["RSS MB"],
    "B a page": (opened["RSS MB"] - before["RSS MB"]) * 2 ** 20 / database.commit,
    ...after,
    "pool MB": pool,
    ...followed,
    "close ms": performance.now() - closing,
  };
}

/** A transaction that changes one row comes. */
async function followOne(replica: Any, db: Any): Promise<Record<string, number>> {
  const id = Math.floor(database.rows / 2);
  const pgno = database.leafOf(id);
  const page = database.page(pgno);
  const words = new TextEncoder().encode(`item ${id} `);
  page[indexOf(page, words)] = "I".charCodeAt(0);
  const fields = { pageSize: database.pageSize, commit: database.commit, timestampMs: Date.now() };
  const txid = replica.txid + 1n;
  const txids = { minTxid: txid, maxTxid: txid };
  const bytes = encodeFile({ ...fields, ...txids }, [{ pgno, page }], { lz4: await nativeLz4() });
  const name = formatLtxFileName(txids);
  await putFile(endpoint, "huge", { level: 0, name, bytes, createdMs: Date.now() });
  const mark = replica.mark();
  const began = performance.now();
  await replica.refresh();
  const ms = performance.now() - began;
  const { body } = db.prepare("SELECT body FROM item WHERE id = ?").get(id);
  if (body !== database.row(id).body.replace("item", "Item")) throw new Error(`row ${id} is not the new one`);
  const { getRequests, listRequests } = replica.stats(mark);
  return { "follow ms": ms, "follow requests": getRequests + listRequests };
}

function indexOf(bytes: Uint8Array, part: Uint8Array): number {
  for (let at = 0; at < bytes.length; at++) if (part.every((byte, i) => bytes[at + i] === byte)) return at;
  throw new Error("it is not there");
}

async function readGo(): Promise<Record<string, number>> {
  const module = "bun:sqlite";
  const { Database } = await import(module);
  const loading = performance.now();
  new Database(":memory:").loadExtension(library);
  const before = processFigures();
  const began = performance.now();
  const db = new Database("file:replica.db?vfs=litestream", 0x41);
  db.prepare("SELECT * FROM item WHERE id = 4711").get();
  const firstRowMs = performance.now() - began;
  const opened = processFigures();
  const read = readAll(db, () => 0);
  return {
    "load ms": began - loading,
    "first row ms": firstRowMs,
    "RSS opened MB": opened["RSS MB"] - before["RSS MB"],
    ...read,
    ...processFigures(),
  };
}

async function lookAtLoop(): Promise<Record<string, number>> {
  const times = new Times();
  const core = await coreHere();
  await (await core.open("s3://bucket/tiny", options)).close();
  await timeLoop(times, delay(1_000));
  const rest = times.take("rest");
  const opening = core.open(url, options);
  await timeLoop(times, opening);
  const opened = times.take("opening");
  await timeLoop(times, opening.then((replica) => replica.close()));
  return { ...rest, ...opened, ...times.take("closing") };
}
