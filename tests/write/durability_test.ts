import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { loadNative } from "../../ffi/mod.ts";
import { openReplica } from "../../mod.ts";
import { findShim } from "../../src/shim_path.ts";
import { readLog } from "../../src/write/write_log.ts";
import { rounds } from "../soak/soak_support.ts";
import { Random } from "../support/random.ts";
import { CrashDisk, type Files } from "./crash_disk.ts";
import { noRecorder, type Recording, recordWriter } from "./durability_recording.ts";
import { checkDatabase } from "./numbered_work.ts";
import { Recoveries, type StoredFile } from "./recovered_store.ts";

/** States of the disk, of all recordings together. */
const STATES = rounds("DURABILITY_STATES", 600);
/** Of so many states one is recovered by a whole replica, too. */
const WHOLE_EVERY = 40;
/** Where states are kept that are not recovered as they should be; nowhere unless given. */
const KEEP = process.env.DURABILITY_KEEP;

const RECORDINGS = [
  { pageSize: 512, transactions: 50, offRun: 0 },
  { pageSize: 4096, transactions: 50, offRun: 0 },
  { pageSize: 512, transactions: 50, offRun: 3 },
  { pageSize: 4096, transactions: 50, offRun: 3 },
];

/** A moment of a recording, and one thing that a crash then may leave. */
interface CrashState {
  /** How many operations were made. */
  readonly point: number;
  readonly log: Files;
  readonly stored: readonly StoredFile[];
  /** The last transaction that must be there. */
  readonly least: number;
  /** The last one that may be there. */
  readonly most: number;
}

/** What was told up to a moment. */
class Told {
  #full = 0;
  #any = 0;

  /** All up to it were told, and it was synchronous. */
  get least(): number {
    return this.#full;
  }

  /** One more may have been committed. */
  get most(): number {
    return this.#any + 1;
  }

  add(line: Uint8Array): void {
    const [mode, number] = new TextDecoder().decode(line).trim().split(" ");
    this.#any = Number(number);
    if (mode === "full") this.#full = this.#any;
  }
}

/** States that crashes may leave, `count` of them or as many as there are, no two the same. */
function* crashStates(
  { folder, operations, stored }: Recording,
  count: number,
  random: Random,
): Generator<CrashState> {
  const disk = new CrashDisk();
  const told = new Told();
  const files = new Map(
    [...stored].map(([path, file]) => [path, { file, bytes: readFileSync(join(folder, path)) }]),
  );
  const seen = new Set<string>();
  let toldFile = "";
  for (const [i, operation] of operations.entries()) {
    disk.apply(operation);
    if (operation.kind === "create" && operation.path === "told") toldFile = operation.file;
    if (operation.kind === "write" && operation.file === toldFile) told.add(operation.bytes);
    const due = Math.ceil(count * (i + 1) / operations.length) - seen.size;
    const present = disk.names().filter((path) => files.has(path)).sort().map((path) => files.get(path)!);
    for (let left = 2 * due; left > 0 && seen.size < count * (i + 1) / operations.length; left--) {
      const log = disk.afterCrash("log", random);
      const key = hashOf(log, [told.least, present.length].join());
      if (seen.has(key)) continue;
      seen.add(key);
      yield { point: i, log, stored: present, least: told.least, most: told.most };
    }
  }
}

function hashOf(files: Files, more: string): string {
  const hash = createHash("sha1").update(more);
  for (const path of [...files.keys()].sort()) hash.update(`\n${path}\n`).update(files.get(path)!);
  return hash.digest("base64");
}

/** Lays a state's log into a folder of its own, under the name that it had. */
function layLog({ log }: CrashState, folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, "log"), { recursive: true });
  for (const [path, bytes] of log) writeFileSync(join(folder, path), bytes);
}

/** The last transaction that a replica has which is opened on a state. */
async function wholeRecovery(state: CrashState, recorded: string, folder: string): Promise<number> {
  layLog(state, folder);
  // Links, so that each has the ETag by which the log knows it.
  for (const { file } of state.stored) {
    const path = join(folder, "replica", file.key);
    mkdirSync(dirname(path), { recursive: true });
    linkSync(join(recorded, "replica", file.key), path);
  }
  const options = { write: true, bufferPath: join(folder, "log", "w"), syncIntervalMs: 0, compact: false };
  await using replica = await openReplica(`file://${folder}/replica`, { ...options, log: () => {} });
  const db = replica.connect();
  try {
    const isMade = db.prepare("SELECT count(*) AS n FROM sqlite_schema").get().n > 0;
    return isMade ? checkDatabase(db) : 0;
  } finally {
    db.close();
  }
}

/** What is wrong with a recovery; empty where nothing is. */
async function faultOf({ least, most }: CrashState, recover: () => Promise<number>): Promise<string> {
  try {
    const number = await recover();
    if (number >= least && number <= most) return "";
    return `transaction ${number} is the last one that is there, expected ${least} to ${most}`;
  } catch (error) {
    return `${(error as Error).name}: ${(error as Error).message}`;
  }
}

function keep(state: CrashState, name: string, fault: string): void {
  if (KEEP === undefined) return;
  const folder = join(KEEP, name);
  layLog(state, folder);
  for (const { file, bytes } of state.stored) {
    const path = join(folder, "replica", file.key);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
  }
  writeFileSync(join(folder, "fault.txt"), `${fault}\nexpected: ${state.least} to ${state.most}\n`);
}

/** Recovers so many states of a recording; what is wrong with any, and how many there were. */
async function recoverAll(
  recording: Recording,
  { parent, count, name, seed }: { parent: string; count: number; name: string; seed: number },
): Promise<{ faults: string[]; states: number; databases: number }> {
  const folder = recording.place;
  const store = `file://${folder}/replica`;
  const recoveries = new Recoveries(await loadNative(findShim()), { store, folder: parent });
  const faults: string[] = [];
  let states = 0;
  for (const state of crashStates(recording, count, new Random(seed))) {
    layLog(state, folder);
    let fault = await faultOf(state, () => recoveries.recover(join(folder, "log", "w"), state.stored));
    if (fault === "" && states % WHOLE_EVERY === 0) {
      fault = await faultOf(state, () => wholeRecovery(state, recording.folder, folder));
    }
    if (fault !== "") {
      faults.push(`operation ${state.point}: ${fault}`);
      keep(state, `${name}-${states}`, fault);
    }
    states++;
  }
  return { faults, states, databases: recoveries.databases };
}

for (const options of RECORDINGS) {
  const { pageSize, offRun } = options;
  const how = offRun ? "with synchronous=OFF in between" : "all synchronous";
  test(
    `a crash loses nothing that was told of: pages of ${pageSize} bytes, ${how}`,
    { skip: noRecorder, timeout: 3_600_000 },
    async () => {
      const parent = await mkdtemp(join(tmpdir(), "durability-test-"));
      try {
        const recording = await recordWriter(parent, options);
        const count = STATES / RECORDINGS.length;
        const wanted = { parent, count, name: `${pageSize}-${offRun}`, seed: pageSize + offRun };
        const { faults, states, databases } = await recoverAll(recording, wanted);
        assert.deepEqual(faults.slice(0, 5), [], `${faults.length} of ${states} states`);
        assert.ok(states > count * 0.9, `${states} states`);
        assert.ok(databases > Math.min(20, count / 20), `${databases} databases`);
      } finally {
        await rm(parent, { recursive: true, force: true });
      }
    },
  );
}

/** A log of three transactions; where each ends, and behind the last a frame of one that was rolled back. */
async function smallLog(parent: string): Promise<{ bytes: Uint8Array; ends: number[] }> {
  const bufferPath = join(parent, "small");
  const options = { write: true, bufferPath, syncIntervalMs: 0, compact: false };
  await using replica = await openReplica(`file://${parent}/small-replica`, options);
  const db = replica.connect();
  db.exec("PRAGMA page_size = 512");
  const ends: number[] = [];
  const read = () => new Uint8Array(readFileSync(`${bufferPath}.1`));
  for (
    const sql of ["CREATE TABLE t(a)", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (zeroblob(900))"]
  ) {
    db.exec(sql);
    ends.push(read().length);
  }
  db.close();
  const committed = read();
  const frame = 40 + 512;
  const left = committed.subarray(64 + frame, 64 + 2 * frame); // it follows upon another frame than the last
  return { bytes: Uint8Array.from([...committed, ...left]), ends };
}

test("a log that is damaged at any byte is told of, or lacks its last transaction, or nothing", async () => {
  const parent = await mkdtemp(join(tmpdir(), "durability-test-"));
  try {
    const { bytes, ends } = await smallLog(parent);
    const path = join(parent, "damaged.1");
    let told = 0;
    for (let at = 0; at < bytes.length; at++) {
      const damaged = bytes.slice();
      damaged[at]! ^= 1 << (at * 5) % 8;
      writeFileSync(path, damaged);
      const log = await readLog(path).catch((error) => error as Error);
      if (log instanceof Error) {
        assert.match(log.message, /^Cannot read write log ".*damaged\.1": /);
        assert.ok(at < ends.at(-1)!, `byte ${at} is behind the last commit: ${log.message}`);
        told++;
        continue;
      }
      const left = log?.txids[0]?.transactions ?? 0;
      const wanted = at < ends.at(-1)! ? ends.length - 1 : ends.length;
      assert.equal(left, wanted, `byte ${at}, and no word`);
      assert.ok(at >= ends.at(-2)!, `byte ${at}: ${left} of ${ends.length} transactions, and no word`);
    }
    assert.ok(told >= ends.at(-2)!, `${told} bytes`);
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
});
