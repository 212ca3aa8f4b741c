import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { Compactor } from "../../src/compact/compactor.ts";
import { FolderStore } from "../../src/storage/folder.ts";
import { type FolderLocation, parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { rounds, spawnScript } from "../soak/soak_support.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { KillProxy, type Point } from "../support/kill_proxy.ts";
import { openLocal } from "../support/local_database.ts";
import { nativeLz4 } from "../support/native_lz4.ts";
import { Random } from "../support/random.ts";
import { litestreamBinary, restore } from "../support/real.ts";
import type { KillChildOptions } from "./kill_child.ts";
import { digest, type Found, inspect } from "./kill_database.ts";

/** What is stored is older than any interval of the compactor's: all is due whenever a writer opens. */
const AGE_MS = 25 * 60 * 60_000;

/** Longest wait for what is to happen, in ms. */
const WAIT_MS = 60_000;

/** After so long a trap is given up that nothing has come into, in ms. */
const TRAP_MS = 1_500;

/** Requests by what they are for. */
const KINDS = {
  upload: /^PUT [^ ]*\/0000\//,
  merge: /^PUT [^ ]*\/000[1-8]\//,
  snapshot: /^PUT [^ ]*\/0009\//,
  retention: /^POST [^ ]*\?delete|^DELETE [^ ]*\/000\d\//,
} as const;

/** A moment to kill at. */
interface Moment {
  /** Undefined: at any time. */
  readonly kind?: keyof typeof KINDS;
  readonly point: Point | "random";
  /** Which request of the kind; the first unless given. */
  readonly nth?: number;
  /** How long the writer goes on behind the request that is held, in ms at most. */
  readonly holdMs?: number;
}

const MOMENTS: readonly Moment[] = [
  { kind: "upload", point: "before", holdMs: 150, nth: 2 },
  { kind: "upload", point: "unanswered", nth: 2 },
  { kind: "merge", point: "half" },
  { kind: "retention", point: "before" },
  { kind: "upload", point: "late", holdMs: 100, nth: 3 },
  { kind: "snapshot", point: "unanswered" },
  { kind: "upload", point: "half", nth: 4 },
  { point: "random" },
  { kind: "merge", point: "late" },
  { kind: "upload", point: "answered", nth: 2 },
  { kind: "upload", point: "before", holdMs: 100 },
  { kind: "upload", point: "answered" },
  { kind: "merge", point: "before", nth: 2 },
  { kind: "merge", point: "unanswered" },
  { kind: "merge", point: "answered", nth: 2 },
  { kind: "snapshot", point: "before" },
  { kind: "upload", point: "before", holdMs: 200, nth: 3 },
  { kind: "upload", point: "unanswered", holdMs: 100 },
  { kind: "snapshot", point: "half" },
  { kind: "snapshot", point: "answered" },
  { kind: "retention", point: "unanswered" },
  { kind: "retention", point: "answered", nth: 2 },
  { kind: "retention", point: "late" },
  { kind: "upload", point: "late" },
  { point: "random" },
];

const WAYS = ["one", "two", "thread", "one", "durable"] as const;

/** A writer's process, and what it tells. */
class Victim {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #rest = "";
  #complaint = "";
  #isKilled = false;
  readonly #opened: Promise<void>;
  #onOpen: () => void = () => {};
  /** What it found when it opened the replica. */
  found: Found | undefined;
  /** The last number told of by writer. */
  readonly told: Record<string, number> = {};
  /** The last TXID told to be stored. */
  synced = 0n;
  digest = "";

  constructor(options: KillChildOptions) {
    this.#child = spawnScript("../write/kill_child.ts", [JSON.stringify(options)]);
    this.#child.stdout!.on("data", (data) => this.#take(String(data)));
    this.#child.stderr!.on("data", (data) => this.#complaint += data);
    this.#opened = new Promise((resolve) => this.#onOpen = resolve);
    this.#ended = new Promise((resolve) => this.#child.once("close", () => resolve()));
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop()!;
    for (const line of lines) {
      const [word = "", value = ""] = line.split(/ (.*)/s);
      if (word === "open") this.found = JSON.parse(value);
      else if (word === "sync") this.synced = BigInt(value);
      else if (word === "digest") this.digest = value;
      else this.told[word] = Number(value);
    }
    if (this.isOpen) this.#onOpen();
  }

  get isOpen(): boolean {
    return this.found !== undefined;
  }

  /** Waits until it has opened the replica, or is gone. */
  async opened(): Promise<void> {
    await Promise.race([this.#opened, this.#ended, pause(WAIT_MS)]);
    assert.ok(this.isOpen || this.#isKilled, `it did not open: ${this.#complaint}`);
  }

  kill(): void {
    if (this.#isKilled) return;
    assert.equal(this.#child.exitCode, null, `it ended by itself: ${this.#complaint}`);
    this.#isKilled = true;
    this.#child.kill("SIGKILL");
  }

  /** Waits for its end, which is the kill's; one that was not killed ends well. */
  async ended(): Promise<void> {
    await Promise.race([this.#ended, pause(WAIT_MS)]);
    const { exitCode, signalCode } = this.#child;
    const wanted = this.#isKilled ? [null, "SIGKILL"] : [0, null];
    if (exitCode === null && signalCode === null) this.#child.kill("SIGKILL");
    assert.deepEqual([exitCode, signalCode], wanted, this.#complaint);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    if (ms === WAIT_MS) timer.unref();
  });
}

/** What all writers of a replica have told, held against what is found. */
class Account {
  readonly #last: Record<string, number> = {};
  /** By name of a file of level 0: the digest of its content, whenever it was there. */
  readonly #contents = new Map<string, string>();
  /** How many files of each level were seen, at one look or another. */
  readonly #names = new Map<string, Set<string>>();
  transactions = 0;

  /** A file of level 0 is, or was, there. */
  saw(name: string, bytes: Uint8Array): void {
    const content = createHash("sha256").update(bytes).digest("hex");
    const before = this.#contents.get(name) ?? content;
    this.#contents.set(name, content);
    assert.equal(content, before, `${name} was stored with another content`);
  }

  /** A file of any level is there. */
  listed(name: string): void {
    const level = name.split("/")[1]!;
    const names = this.#names.get(level) ?? new Set();
    this.#names.set(level, names.add(name));
  }

  get files(): string {
    const levels = [...this.#names].sort().map(([level, names]) => `${names.size} of level ${level}`);
    return `${this.#contents.size} TXIDs stored, files listed: ${levels.join(", ")}`;
  }

  /** A writer was killed, or has ended. */
  add({ told }: Victim): void {
    for (const [writer, number] of Object.entries(told)) {
      assert.ok(number > (this.#last[writer] ?? 0), `writer ${writer} told of ${number} twice`);
      this.transactions += number - (this.#last[writer] ?? 0);
      this.#last[writer] = number;
    }
  }

  /** Of each writer one transaction may be there that it did not come to tell of. */
  check({ last, faults }: Found): void {
    assert.deepEqual(faults, []);
    for (const writer of new Set([...Object.keys(last), ...Object.keys(this.#last)])) {
      const [found, told] = [last[writer] ?? 0, this.#last[writer] ?? 0];
      assert.ok(
        found === told || found === told + 1,
        `writer ${writer} told of ${told}, and ${found} is there`,
      );
      this.#last[writer] = found;
    }
  }
}

/** Where writers write, and what is there. */
interface Place {
  readonly options: Pick<KillChildOptions, "url" | "bufferPath" | "endpoint">;
  /** The files of a replica by their names as in a folder: `ltx/0/…`. */
  files(): Promise<Map<string, Uint8Array>>;
  readonly folder: string;
}

async function look(place: Place, account: Account): Promise<bigint> {
  let newest = 0n;
  for (const [name, bytes] of await place.files()) {
    const [, level, max] = /^ltx\/(\d)\/[0-9a-f]{16}-([0-9a-f]{16})\.ltx$/.exec(name)!;
    account.listed(name);
    if (level === "0") account.saw(name, bytes);
    if (BigInt(`0x${max}`) > newest) newest = BigInt(`0x${max}`);
  }
  return newest;
}

/** A writer was killed: what is there holds against what all have told. */
async function settle(place: Place, account: Account, victim: Victim): Promise<void> {
  await victim.ended();
  if (victim.found) account.check(victim.found);
  account.add(victim);
  const newest = await look(place, account);
  assert.ok(
    newest >= victim.synced,
    `TXID ${victim.synced} was told to be stored, and ${newest} is the newest`,
  );
}

/** Opens it once more, and has Litestream restore it: the same database. */
async function finish(place: Place, account: Account): Promise<void> {
  const last = new Victim({ ...place.options, way: "check", seed: 0 });
  await last.opened();
  await settle(place, account, last);
  assert.ok(
    !(await readdir(place.folder)).some((name) => /^log\.\d/.test(name)),
    "nothing is left in the log",
  );
  if (litestreamBinary() === undefined) return;
  const copy = join(place.folder, "copy");
  for (const [name, bytes] of await place.files()) {
    await mkdir(dirname(join(copy, name)), { recursive: true });
    await writeFile(join(copy, name), bytes);
  }
  const out = join(place.folder, "out.db");
  await restore(`file://${copy}`, out);
  const restored = await openLocal(out);
  assert.deepEqual(inspect(restored), last.found);
  assert.equal(digest(restored), last.digest);
  restored.close();
  await rm(copy, { recursive: true });
  await rm(out);
}

async function inFolder(act: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "kill-test-"));
  try {
    await act(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What a soak tells at its end: how often it was killed at each moment. */
function report(counts: Map<string, number>, account: Account, seed: number): void {
  if (process.env.KILL_ROUNDS === undefined) return;
  const kills = [...counts].filter(([moment]) => !moment.startsWith("("));
  const total = kills.reduce((sum, [, count]) => sum + count, 0);
  console.log(
    `${total} kills, ${account.transactions} transactions told of, ${account.files}; seed ${seed}`,
  );
  for (const [moment, count] of [...counts].sort()) console.log(`  ${String(count).padStart(4)} ${moment}`);
}

/** A bucket whose objects are a day old, and its proxy. */
class Bucket implements Place {
  readonly #server: FakeS3;
  readonly proxy: KillProxy;
  readonly folder: string;
  readonly options: Place["options"];

  constructor(server: FakeS3, proxy: KillProxy, folder: string) {
    this.#server = server;
    this.proxy = proxy;
    this.folder = folder;
    const { endpoint } = proxy;
    this.options = { url: "s3://bucket/db", bufferPath: join(folder, "log"), endpoint };
  }

  /** Hears of all that is stored, also of what is deleted before anybody lists it. */
  watch(account: Account): void {
    const put = this.#server.put.bind(this.#server);
    this.#server.put = (key, bytes, more) => {
      const name = nameOf(key);
      if (name?.startsWith("ltx/0/")) account.saw(name, bytes);
      return put(key, bytes, more);
    };
  }

  set latencyMs(ms: number) {
    this.#server.options.latencyMs = ms;
  }

  files(): Promise<Map<string, Uint8Array>> {
    const named = this.#server.keys().map((key) => [nameOf(key), this.#server.get(key)!] as const);
    return Promise.resolve(new Map(named.filter((entry): entry is [string, Uint8Array] => !!entry[0])));
  }
}

/** An object's name as a folder has it; undefined where it is no LTX file. */
function nameOf(key: string): string | undefined {
  const [, level, file] = /^db\/000(\d)\/(.*\.ltx)$/.exec(key) ?? [];
  return level && `ltx/${level}/${file}`;
}

/** Kills at any time, the opening too; tells when it was. */
async function killAnyTime(victim: Victim, random: Random): Promise<string> {
  if (random.next(3) > 0) await victim.opened();
  await pause(random.next(300));
  const when = victim.isOpen ? "under load" : "at the opening";
  victim.kill();
  return `any time, ${when}`;
}

/** What a kill came to. */
interface Killed {
  readonly when: string;
  /** The request that has not reached the server yet. */
  readonly late?: Uint8Array | undefined;
}

/** Kills when a request is where the moment wants it; at any time where none comes. */
async function killAt(moment: Moment, victim: Victim, proxy: KillProxy, random: Random): Promise<Killed> {
  const { kind, point, nth = 1, holdMs = 0 } = moment;
  if (kind === undefined || point === "random") return { when: await killAnyTime(victim, random) };
  const sprung = new Promise<Killed>((resolve) => {
    proxy.arm({ point, line: KINDS[kind], nth }, (late) => {
      const when = `${kind} ${point}${victim.isOpen ? "" : ", at the opening"}`;
      const kill = () => {
        victim.kill();
        resolve({ when, late });
      };
      if (holdMs > 0) setTimeout(kill, random.next(holdMs + 1));
      else kill();
    });
  });
  const inVain = victim.opened().then(() => pause(TRAP_MS)).then(() => undefined);
  const killed = await Promise.race([sprung, inVain]);
  if (killed) return killed;
  proxy.arm(undefined, () => {});
  victim.kill();
  return { when: `any time, no ${kind} came` };
}

/** Rounds over S3: each writer recovers what the last one left, and is killed at the next moment. */
class S3Rounds {
  readonly #bucket: Bucket;
  readonly #account: Account;
  readonly #random: Random;
  readonly counts = new Map<string, number>();
  #late: Uint8Array | undefined;

  constructor(bucket: Bucket, account: Account, random: Random) {
    this.#bucket = bucket;
    this.#account = account;
    this.#random = random;
  }

  async run(round: number): Promise<void> {
    const moment = MOMENTS[round % MOMENTS.length]!;
    const way = WAYS[this.#random.next(WAYS.length)]!;
    const { proxy, options } = this.#bucket;
    this.#bucket.latencyMs = [0, 0, 5, 20][this.#random.next(4)]!;
    const victim = new Victim({ ...options, way, seed: this.#random.next(1e6) });
    const late = this.#late;
    const delivered = late && victim.opened().then(() => this.#deliver(late, victim));
    const killed = await killAt(moment, victim, proxy, this.#random);
    this.#count(`${killed.when}${way === "one" ? "" : ` (${way})`}`);
    await delivered;
    this.#late = killed.late ?? this.#late;
    await settle(this.#bucket, this.#account, victim);
    if (way === "durable" && victim.isOpen && !this.#late) await this.#loseLog();
  }

  /** The network brings a killed writer's request, while the next one writes. */
  async #deliver(late: Uint8Array, { isOpen }: Victim): Promise<void> {
    if (!isOpen) return;
    this.#late = undefined;
    await pause(this.#random.next(60));
    const status = await this.#bucket.proxy.deliver(late);
    this.#count(`(a request that came late: ${status})`);
  }

  /** The machine is gone with its disk: what was durable is stored. */
  async #loseLog(): Promise<void> {
    const { folder } = this.#bucket;
    for (const name of await readdir(folder)) if (name.startsWith("log.")) await rm(join(folder, name));
    this.#count("(log lost after durable commits)");
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }
}

test("a writer that is killed at any moment of its requests loses nothing that it told of", {
  timeout: 7_200_000,
}, () =>
  inFolder(async (folder) => {
    const seed = Date.now() % 100_000;
    const account = new Account();
    await using server = await FakeS3.start({ verify: false, now: () => Date.now() - AGE_MS });
    await using proxy = await KillProxy.start(server.endpoint);
    const bucket = new Bucket(server, proxy, folder);
    bucket.watch(account);
    const killed = new S3Rounds(bucket, account, new Random(seed));
    const count = rounds("KILL_ROUNDS", 9);
    try {
      for (let round = 0; round < count; round++) {
        await killed.run(round).catch((cause) => {
          throw new Error(`seed ${seed}, round ${round}: ${cause.message}`, { cause });
        });
      }
      await finish(bucket, account);
    } finally {
      report(killed.counts, account, seed);
    }
  }));

/** A replica in a folder. */
class FolderPlace implements Place {
  readonly folder: string;
  readonly options: Place["options"];

  constructor(folder: string) {
    this.folder = folder;
    this.options = { url: `file://${folder}/replica`, bufferPath: join(folder, "log") };
  }

  async files(): Promise<Map<string, Uint8Array>> {
    const files = new Map<string, Uint8Array>();
    const names = await readdir(join(this.folder, "replica"), { recursive: true }).catch(() => []);
    for (const name of names.filter((name) => name.endsWith(".ltx"))) {
      files.set(name, await readFile(join(this.folder, "replica", name)));
    }
    return files;
  }
}

test("a writer to a folder that is killed at any time loses nothing that it told of", {
  timeout: 7_200_000,
}, () =>
  inFolder(async (folder) => {
    const seed = Date.now() % 100_000;
    const random = new Random(seed);
    const [account, place] = [new Account(), new FolderPlace(folder)];
    const counts = new Map<string, number>();
    const count = Math.ceil(rounds("KILL_ROUNDS", 12) / 4);
    for (let round = 0; round < count; round++) {
      const way = WAYS[random.next(WAYS.length - 1)]!;
      const victim = new Victim({ ...place.options, way, isCompacting: true, seed: random.next(1e6) });
      const when = await killAnyTime(victim, random);
      counts.set(when, (counts.get(when) ?? 0) + 1);
      await settle(place, account, victim).catch((cause) => {
        throw new Error(`seed ${seed}, round ${round}: ${cause.message}`, { cause });
      });
    }
    await finish(place, account);
    report(counts, account, seed);
  }));

test("a log whose upload has arrived is known again when all before it was compacted meanwhile", () =>
  inFolder(async (folder) => {
    const url = `file://${folder}/replica`;
    const options = { write: true, syncIntervalMs: 0, compact: false };
    const log = join(folder, "log");
    await mkdir(log);
    const replica = await openReplica(url, { ...options, bufferPath: join(log, "log") });
    const db = replica.connect();
    db.exec("CREATE TABLE t(a)");
    await replica.sync();
    db.exec("INSERT INTO t VALUES (1)");
    const killed = join(folder, "killed");
    await cp(log, killed, { recursive: true }); // killed when the upload has arrived, and nothing tells of it
    db.close();
    await replica.close();
    const store = new FolderStore(parseReplicaUrl(url) as FolderLocation);
    const later = { now: () => Date.now() + 2 * AGE_MS };
    await new Compactor({ store, layout: "folder", lz4: await nativeLz4(), ...later }).run();
    const left = await new FolderPlace(folder).files();
    assert.ok(!left.has("ltx/0/0000000000000001-0000000000000001.ltx"), [...left.keys()].join());
    await using again = await openReplica(url, { ...options, bufferPath: join(killed, "log") });
    assert.equal(again.txid, 2n);
    const read = again.connect();
    assert.equal(read.prepare("SELECT count(*) AS n FROM t").get().n, 1);
    read.close();
  }));
