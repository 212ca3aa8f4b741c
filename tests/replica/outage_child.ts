/**
 * The process that reads in `outage_test.ts`: one replica opened twice, with and without a bound on its age, queried all
 * the time from memory, and now and then for a page that is not there.
 *
 * `outage_child.ts SETTINGS`; is asked in lines of JSON on standard input and answers so on standard output.
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { openReplica, type Replica, type StaticCredentials } from "../../mod.ts";
import { rowsOf, valueOf } from "./drivers.ts";
import type { Ask, ChildSettings, HotReport, PinnedAnswer, Recovery, Told } from "./outage_world.ts";
import { Reader } from "./reader.ts";

const HOT = "SELECT (SELECT v FROM a) AS a, (SELECT v FROM b) AS b";
const HOT_MS = 20;
/** Rows of a neighbourhood and more: each cold query needs a page that none before brought. */
const COLD_STEP = 60;

const settings = JSON.parse(process.argv[2]!) as ChildSettings;
const unhandled: string[] = [];
process.on("unhandledRejection", (reason) => unhandled.push(String(reason)));

let credentialsCalls = 0;
/** Looks that were over when the function was called last. */
let pollsAtKeys = 0;

function credentials(): StaticCredentials {
  const { accessKeyId, secretAccessKey, lifeMs } = settings;
  pollsAtKeys = opened?.stats().polls ?? 0;
  const keys = { accessKeyId, secretAccessKey };
  if (lifeMs === undefined) return keys;
  const ms = lifeMs[Math.min(credentialsCalls++, lifeMs.length - 1)]!;
  const expiration = new Date(Date.now() + ms);
  return { ...keys, sessionToken: `token-${credentialsCalls}`, ...(ms > 0 ? { expiration } : {}) };
}

const told: Told[] = [];
let markedMs = performance.now();

function listen(name: Told["by"], replica: Replica): void {
  const since = () => Math.round(performance.now() - markedMs);
  replica.on(
    "error",
    ({ error }) => told.push({ by: name, type: "error", ms: since(), text: String(error) }),
  );
  replica.on(
    "stale",
    ({ lagMs }) => told.push({ by: name, type: "stale", ms: since(), text: String(lagMs) }),
  );
  replica.on(
    "gap",
    ({ nextTxid }) => told.push({ by: name, type: "gap", ms: since(), text: String(nextTxid) }),
  );
}

async function open(name: Told["by"], more: { maxStaleMs?: number }): Promise<Replica> {
  const given = settings.lifeMs ? credentials : credentials();
  const replica = await openReplica(settings.url, { ...settings.options, ...more, credentials: given });
  listen(name, replica);
  return replica;
}

let opened: Replica | undefined;
const replica = opened = await open("plain", {});
const strict = settings.maxStaleMs === 0
  ? undefined
  : await open("strict", { maxStaleMs: settings.maxStaleMs });
const [db, strictDb] = [replica.connect(), strict?.connect()];
const reader = await Reader.start({ shared: replica.share() });
let coldRow = 100;

// ---------------------------------------------------------------------------------------------- from memory

let hot: HotReport = noHot();
let newest = 0;

function noHot(): HotReport {
  return { count: 0, slowestMs: 0, faults: [], staleCount: 0, staleText: "", lagMsMax: 0 };
}

function ask(connection: typeof db): number {
  const { a, b } = rowsOf(connection, HOT)[0] as { a: number; b: number };
  if (a !== b) hot.faults.push(`a mixture: ${a} and ${b}`);
  return a;
}

function sample(): void {
  const beganMs = performance.now();
  try {
    const value = ask(db);
    if (value < newest) hot.faults.push(`a step back from ${newest} to ${value}`);
    newest = Math.max(newest, value);
    hot.count++;
    hot.lagMsMax = Math.max(hot.lagMsMax, replica.lagMs);
    if (valueOf(db, "SELECT litestream_lag()") !== Math.floor(replica.lagMs / 1000)) {
      // A second, or a look, may have passed in between: only a difference that lasts is one.
      const [words, ms] = [Number(valueOf(db, "SELECT litestream_lag()")), replica.lagMs];
      if (Math.abs(words - ms / 1000) > 2) hot.faults.push(`litestream_lag() is ${words}, lagMs ${ms}`);
    }
  } catch (error) {
    hot.faults.push(`${error}: ${replica.lastError}`);
  }
  hot.slowestMs = Math.max(hot.slowestMs, Math.round(performance.now() - beganMs));
  if (strict && strictDb) sampleStrict(strict, strictDb);
}

/** The bound must hold, and its error must say why. */
function sampleStrict(strict: Replica, strictDb: typeof db): void {
  const beforeMs = strict.lagMs;
  try {
    ask(strictDb);
    if (beforeMs > settings.maxStaleMs && strict.lagMs > settings.maxStaleMs) {
      hot.faults.push(`a transaction began at a lag of ${beforeMs} ms`);
    }
  } catch {
    hot.staleCount++;
    hot.staleText = String(valueOf(strictDb, "PRAGMA litestream_error"));
    if (!hot.staleText.startsWith("StaleError")) hot.faults.push(hot.staleText);
  }
}

const sampling = setInterval(sample, HOT_MS);

// ------------------------------------------------------------------------------------------------- commands

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function coldSql(): string {
  return `SELECT sum(length(x)) AS n FROM n WHERE id = ${coldRow}`;
}

async function cold(): Promise<{ ms: number; error: string; driver: string }> {
  const { ms, error } = await reader.ask(coldSql());
  if (error === undefined) coldRow += COLD_STEP;
  return { ms, error: error?.lastError ?? "", driver: error?.message ?? "" };
}

/** The same on this thread, which it blocks. */
function blocked(): { ms: number; error: string; driver: string } {
  const beganMs = performance.now();
  const ms = () => Math.round(performance.now() - beganMs);
  try {
    rowsOf(db, coldSql());
    coldRow += COLD_STEP;
    return { ms: ms(), error: "", driver: "" };
  } catch (error) {
    const text = String(valueOf(db, "PRAGMA litestream_error"));
    return { ms: ms(), error: text, driver: (error as Error).message };
  }
}

let pin: { db: typeof db; before: unknown } | undefined;
const PINNED = "SELECT (SELECT v FROM a) AS a, (SELECT v FROM b) AS b, (SELECT count(*) FROM n) AS n";

/** Opens a transaction that stays open. */
function begin(): number {
  const db = replica.connect();
  db.exec("BEGIN");
  pin = { db, before: rowsOf(db, PINNED) };
  return 0;
}

/** Goes on in it: from memory, then with every page there is. It sees what it saw, or says why it cannot. */
function goOn(): PinnedAnswer {
  const { db, before } = pin!;
  try {
    const isSame = JSON.stringify(rowsOf(db, PINNED)) === JSON.stringify(before);
    const check = JSON.stringify(rowsOf(db, "PRAGMA integrity_check"));
    return { isSame, check, error: "" };
  } catch {
    return { isSame: true, check: "", error: String(valueOf(db, "PRAGMA litestream_error")) };
  } finally {
    db.close();
  }
}

/** SQLite's own check of all that is there now. */
function check(): string {
  return JSON.stringify(rowsOf(db, "PRAGMA integrity_check"));
}

/** Waits until both have seen `txid`, and tells how many looks that took. */
async function recovery(txid: bigint, timeoutMs: number): Promise<Recovery> {
  const beganMs = performance.now();
  const before = replica.stats();
  let seen: Recovery | undefined;
  for (; performance.now() - beganMs < timeoutMs; await pause(10)) {
    const { polls, failedPolls } = replica.stats(before);
    const ms = Math.round(performance.now() - beganMs);
    if (replica.txid >= txid) {
      // Before there was something new to see, no look could see it.
      const pollsSinceKeys = Math.min(polls, replica.stats().polls - pollsAtKeys);
      seen ??= { ms, polls, failedPolls, pollsSinceKeys };
    }
    if (seen && (strict === undefined || (strict.txid >= txid && strict.lagMs < settings.maxStaleMs))) {
      return seen;
    }
  }
  throw new Error(`TXID ${txid} not seen after ${timeoutMs} ms: at ${replica.txid}, ${replica.lastError}`);
}

async function perform(call: Ask): Promise<unknown> {
  switch (call.kind) {
    case "mark":
      markedMs = performance.now();
      hot = noHot();
      told.length = 0;
      return 0;
    case "cold":
      return await cold();
    case "blocked":
      return blocked();
    case "begin":
      return begin();
    case "goOn":
      return goOn();
    case "check":
      return check();
    case "recover":
      return await recovery(BigInt(call.txid), call.timeoutMs);
    case "status": {
      const { listRequests, getRequests, polls, failedPolls } = replica.stats();
      return {
        txid: String(replica.txid),
        lagMs: replica.lagMs,
        lastError: String(replica.lastError ?? ""),
        pragmaError: String(valueOf(db, "PRAGMA litestream_error") ?? ""),
        counts: { listRequests, getRequests, polls, failedPolls },
        told,
        hot,
        credentialsCalls,
        now: new Date().toISOString(),
        unhandled,
      };
    }
    case "end": {
      clearInterval(sampling);
      const beganMs = performance.now();
      await Promise.all([replica.close(), strict?.close()]);
      const ms = Math.round(performance.now() - beganMs);
      await reader.close();
      db.close();
      strictDb?.close();
      lines.close();
      return ms;
    }
  }
}

const lines = createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const call = JSON.parse(line) as Ask & { id: number };
  try {
    answer({ id: call.id, value: await perform(call) });
  } catch (error) {
    answer({ id: call.id, error: String(error) });
  }
});

function answer(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

answer({ id: 0, value: String(replica.txid) });
