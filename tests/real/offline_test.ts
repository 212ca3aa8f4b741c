/** A process in a network namespace of its own: no route at all, then one, then none again. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { OpenOptions } from "../../mod.ts";
import { CachedPlace } from "../cache/cached_place.ts";
import { recordValue, until } from "../replica/following.ts";
import type { OfflineOrder, Sight } from "./offline_child.ts";

const SQL = "SELECT x, pad FROM v, w";
const TIMEOUT = { timeout: 180_000 } as const;
const WAIT_MS = 30_000;

const canLeave = process.platform === "linux" &&
  spawnSync("unshare", ["-n", "ip", "link", "set", "lo", "up"]).status === 0;
const skip = canLeave
  ? false
  : "Network namespaces cannot be made here: Linux, root, unshare and ip are needed";
if (skip) console.error(`skipped: ${skip}`);

/** A process that `before` starts. */
class Child {
  readonly process: ChildProcess;
  readonly #ended: Promise<unknown>;
  readonly lines: string[] = [];
  #complaint = "";

  constructor(before: readonly string[], order: OfflineOrder) {
    const script = fileURLToPath(new URL("./offline_child.ts", import.meta.url));
    const runtime = [process.execPath, ...("Deno" in globalThis ? ["run", "-A", "--no-check"] : [])];
    const [program, ...args] = [...before, ...runtime, script, JSON.stringify(order)];
    this.process = spawn(program!, args);
    let rest = "";
    this.process.stdout!.on("data", (data) => {
      const lines = (rest + data).split("\n");
      rest = lines.pop()!;
      this.lines.push(...lines);
    });
    this.process.stderr!.on("data", (data) => this.#complaint += data);
    this.#ended = new Promise((resolve) => this.process.once("close", resolve));
  }

  /** Waits for a line that begins so, from a place on. */
  async line(beginning: string, from = 0): Promise<string> {
    const found = () => this.lines.slice(from).find((line) => line.startsWith(beginning));
    await until(`"${beginning}": ${this.lines}, ${this.#complaint}`, () => found() !== undefined, WAIT_MS);
    return found()!;
  }

  /** What it sees now. */
  async look(): Promise<Sight> {
    const from = this.lines.length;
    this.process.stdin!.write("\n");
    return JSON.parse(await this.line("{", from));
  }

  /** Has it close the replica. */
  async close(): Promise<void> {
    this.process.stdin!.end();
    await this.#ended;
    assert.equal(this.process.exitCode, 0, this.#complaint);
  }

  async kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.#ended;
  }
}

/** The world of a process that is alone until it is given a way out. */
class Namespace {
  readonly #place: CachedPlace;
  readonly #port: number;
  readonly #socket: string;
  #outside: Server | undefined;
  #way: Child | undefined;

  constructor(place: CachedPlace) {
    this.#place = place;
    this.#port = Number(new URL(place.gate.endpoint).port);
    this.#socket = join(place.folder.home, "outside");
  }

  /** Starts a process in a namespace of its own. */
  start(options: OpenOptions): Child {
    const { s3: { options: { bucket, accessKeyId, secretAccessKey } }, gate: { endpoint } } = this.#place;
    const credentials = { accessKeyId, secretAccessKey };
    return new Child(["unshare", "-n"], {
      url: `s3://${bucket}/db/?endpoint=${endpoint}`,
      endpoint,
      sql: SQL,
      options: { credentials, pollIntervalMs: 50, ...options },
    });
  }

  /** Gives its loopback interface an address, at which the server of this place answers. */
  async open({ process: { pid } }: Child): Promise<void> {
    this.#outside = createServer((client) => {
      const server = connect(this.#port, "127.0.0.1");
      for (const [one, other] of [[client, server], [server, client]] as const) {
        one.on("error", () => other.destroy());
        one.on("close", () => other.destroy());
        one.pipe(other);
      }
    });
    await new Promise<void>((resolve) => this.#outside!.listen(this.#socket, () => resolve()));
    within(pid!, "up");
    this.#way = new Child(["nsenter", "-t", `${pid}`, "-n"], { socket: this.#socket, port: this.#port });
    await this.#way.line("listening");
  }

  /** Takes it all away. */
  async shut({ process: { pid } }: Child): Promise<void> {
    within(pid!, "down");
    await this.close();
  }

  async close(): Promise<void> {
    await this.#way?.kill();
    const outside = this.#outside;
    this.#way = this.#outside = undefined;
    await new Promise((resolve) => outside ? outside.close(resolve) : resolve(undefined));
  }
}

/** Sets the loopback interface of a process's namespace. */
function within(pid: number, state: "up" | "down"): void {
  const { status, stderr } = spawnSync("nsenter", [
    "-t",
    `${pid}`,
    "-n",
    "ip",
    "link",
    "set",
    "lo",
    state,
  ]);
  assert.equal(status, 0, String(stderr));
}

/** Makes a few transactions and has them brought to disk; gives when they were seen last. */
async function prepare(place: CachedPlace, options: OpenOptions): Promise<number> {
  recordValue(place.folder, 2);
  place.folder.record("CREATE TABLE w (pad); INSERT INTO w VALUES (hex(randomblob(5000)))");
  place.folder.snapshot();
  place.folder.step("UPDATE v SET x = 4");
  place.push();
  await place.with(options, async (replica, rows) => {
    assert.deepEqual(await rows(SQL), place.folder.rows(SQL));
    if (options.hydrate) await replica.hydrated();
  });
  return Date.now();
}

const WAYS = {
  "a disk cache": ({ cacheDir }: CachedPlace) => ({ cacheDir }),
  "a local copy": ({ cacheDir }: CachedPlace) => ({
    cacheDir: undefined,
    hydrate: join(cacheDir, "copy.db"),
  }),
};

for (const [name, optionsOf] of Object.entries(WAYS)) {
  test(`a namespace without a route: opened from ${name}, queried, and followed once there is one`, {
    skip,
    ...TIMEOUT,
  }, () =>
    CachedPlace.with(async (place) => {
      const kept = optionsOf(place);
      const seenMs = await prepare(place, kept);
      const world = new Namespace(place);
      const refused = world.start({ ...kept, requestTimeoutMs: 500 });
      assert.match(await refused.line("failed"), /Cannot list/);
      await refused.kill();
      const requests = place.s3.log.length;
      const child = world.start({ ...kept, offline: "serve-stale" });
      try {
        assert.equal(await child.line("reachable"), "reachable false");
        await child.line("{");
        const ageMs = Date.now() - seenMs;
        const away = await child.look();
        assert.deepEqual(away.rows, place.folder.rows(SQL));
        assert.equal(away.txid, "4");
        assert.ok(away.lagMs >= ageMs && away.lagSeconds * 1000 >= ageMs - 1_000, JSON.stringify(away));
        await until("a look that failed", async () => (await child.look()).failedPolls > 0);
        place.folder.step("UPDATE v SET x = 5");
        place.push();
        assert.equal(place.s3.log.length, requests, "nothing comes out of the namespace");

        await world.open(child);
        await until("the new transaction", async () => (await child.look()).txid === "5", WAIT_MS);
        const back = await child.look();
        assert.deepEqual(back.rows, place.folder.rows(SQL));
        await until("it is young again", async () => (await child.look()).lagMs < 1_000, WAIT_MS);

        await world.shut(child);
        const { failedPolls } = await child.look();
        await until("looks fail again", async () => (await child.look()).failedPolls > failedPolls, WAIT_MS);
        assert.deepEqual((await child.look()).rows, place.folder.rows(SQL));
        await child.close();
      } finally {
        await child.kill();
        await world.close();
      }
      const again = world.start({ ...kept, offline: "serve-stale" });
      assert.equal(JSON.parse(await again.line("{")).txid, "5");
      await again.close();
    }));
}
