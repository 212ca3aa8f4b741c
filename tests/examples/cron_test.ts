/**
 * docs/examples/deno_cron.ts under the conditions of Deno Deploy: the version that it is said to run and the current one, all
 * permissions, a disk of which only a scratch folder can be written to, keys that last for a while.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { bucketKey } from "../observe/observed.ts";
import { IS_BUN } from "../replica/drivers.ts";
import { until } from "../replica/following.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { FaultSchedule } from "../support/faults.ts";
import { freePort, program, skipWithout } from "../support/real.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import type { CronRuns } from "./cron_runs.ts";
import { BEST, endOf, EXAMPLES, RATINGS } from "./example.ts";

const IS_LONG = process.env.LONG === "1";
/** Runs of which nothing may be left. */
const RUNS = 100;
/** What the process may grow by meanwhile: what the runtime itself keeps. */
const GROWTH_BYTES_MAX = 40 * 1024 * 1024;
/** Rows of the large replica, in bytes about a hundred times as many. */
const ROWS = IS_LONG ? 340_000 : 20_000;
const TOKEN = "token-of-the-deployment";

const ARCHITECTURE = process.arch === "arm64" ? "arm64" : "x64";
const OLD = program(
  process.env.DENO_OLD_BIN,
  `deno-2.5.0/node_modules/@deno/linux-${ARCHITECTURE}-glibc/deno`,
);
const CURRENT = { "this Deno": process.execPath };
const DENOS = { ...CURRENT, "Deno 2.5.0": OLD };

/** Storage, and a service that gives keys for it. */
interface Cloud extends AsyncDisposable {
  readonly s3: FakeS3;
  /** Where the service was asked from. */
  readonly asked: string[];
  readonly env: Record<string, string>;
}

async function startCloud(options: { latencyMs?: number } = {}): Promise<Cloud> {
  const s3 = await FakeS3.start({ sessionToken: "session-of-the-deployment", ...options });
  const asked: string[] = [];
  const service = createServer((request, response) => {
    asked.push(request.headers.authorization ?? "");
    const { accessKeyId, secretAccessKey, sessionToken } = s3.options;
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({
      AccessKeyId: accessKeyId,
      SecretAccessKey: secretAccessKey,
      Token: sessionToken,
      Expiration: new Date(Date.now() + 3_600_000).toISOString(),
    }));
  });
  const port = await freePort();
  await new Promise<void>((resolve) => service.listen(port, "127.0.0.1", resolve));
  return {
    s3,
    asked,
    env: {
      LITESTREAM_REPLICA_URL: s3.url("/db"),
      CREDENTIALS_URL: `http://127.0.0.1:${port}/`,
      OIDC_TOKEN: TOKEN,
    },
    async [Symbol.asyncDispose]() {
      service.closeAllConnections();
      await new Promise((resolve) => service.close(resolve));
      await s3[Symbol.asyncDispose]();
    },
  };
}

/** Fills it with the ratings, and with so many more that no average is better. */
async function fill(s3: FakeS3, rows = 0): Promise<void> {
  await withReplicaFolder({}, (folder) => {
    folder.record(RATINGS);
    folder.record((source) =>
      source.exec(
        `WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i <= ${rows})
         INSERT INTO ratings (sandwich, stars) SELECT hex(randomblob(40)), 1 FROM i LIMIT ${rows}`,
      )
    );
    s3.put(bucketKey(9, 1, 2), folder.encode(1, 2));
  });
}

/** A machine of Deploy: all may be read, only the scratch folder can be written to, and there is no home. */
class Machine {
  readonly scratch = mkdtempSync(join(tmpdir(), "deploy-"));
  readonly #as: readonly string[];

  constructor() {
    chmodSync(this.scratch, 0o777);
    mkdirSync(join(this.scratch, "tmp"), { mode: 0o777 });
    chmodSync(join(this.scratch, "tmp"), 0o777);
    const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    const source = fileURLToPath(new URL("deno_cron.ts", EXAMPLES));
    const [command, ...args] = [...nobody, "test", "-r", source];
    const canBe = process.getuid?.() === 0 && spawnSync(command!, args).status === 0;
    if (!canBe) console.error("deno_cron.ts runs as this user: it can write where this user can");
    this.#as = canBe ? nobody : [];
  }

  start(deno: string, args: readonly string[], env: Record<string, string>): ChildProcess {
    const [command, ...rest] = [...this.#as, deno, ...args] as [string, ...string[]];
    const own = {
      PATH: process.env.PATH ?? "",
      TMPDIR: join(this.scratch, "tmp"),
      NO_COLOR: "1",
      DENO_NO_UPDATE_CHECK: "1",
    };
    const options = { cwd: "/", env: { ...own, DENO_DIR: join(this.scratch, "deno"), ...env } };
    return spawn(command, rest, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  }

  /** What is left in its folder for temporary files. */
  get left(): string[] {
    return readdirSync(join(this.scratch, "tmp"));
  }

  close(): void {
    rmSync(this.scratch, { recursive: true, force: true });
  }
}

const RUNNER = fileURLToPath(new URL("./cron_runs.ts", import.meta.url));
const EXAMPLE = fileURLToPath(new URL("deno_cron.ts", EXAMPLES));

type Act = (deno: string, cloud: Cloud, machine: Machine, version: string) => Promise<void>;

/** Runs a test with these versions at once, each with a cloud and a machine of its own: they mostly wait. */
function cronTest(name: string, denos: Record<string, string | undefined>, act: Act): void {
  const skip = IS_BUN ? "Deno's own scheduler" : skipWithout(denos);
  test(`deno_cron.ts ${name}`, { skip, timeout: IS_LONG ? 600_000 : 120_000 }, async () => {
    await Promise.all(
      Object.entries(denos).map(async ([version, deno]) => {
        const machine = new Machine();
        try {
          await using cloud = await startCloud();
          await act(deno!, cloud, machine, version);
        } finally {
          machine.close();
        }
      }),
    );
  });
}

cronTest(
  `${RUNS} times leaves nothing behind`,
  DENOS,
  async (deno, cloud, machine, version) => {
    await fill(cloud.s3);
    const args = ["run", "-A", "--no-check", "--v8-flags=--expose-gc", RUNNER, `${RUNS}`];
    const { code, out, err } = await endOf(machine.start(deno, args, cloud.env));
    assert.deepEqual([code, err], [0, ""], "it ends by itself");
    const lines = out.trimEnd().split("\n").map((line) => JSON.parse(line));
    const { jobs, before, early, late }: CronRuns = lines.pop();
    assert.deepEqual(jobs, ["ratings of the day"]);
    assert.equal(lines.length, RUNS);
    for (const { txid, best, requests } of lines) {
      assert.equal(txid, "0000000000000002");
      assert.deepEqual(best, BEST.map(({ sandwich, stars }) => ({ sandwich, stars })));
      assert.equal(requests, lines[0].requests);
    }
    assert.equal(cloud.asked.length, RUNS);
    assert.ok(cloud.asked.every((asked) => asked === `Bearer ${TOKEN}`));
    assert.deepEqual({ ...late, connections: [], rssBytes: 0 }, { ...early, connections: [], rssBytes: 0 });
    const portOf = (url: string) => Number(new URL(url).port);
    // Its fetch may keep the connection to the service that gives keys; the core is gone with all of its own.
    assert.deepEqual(late.connections.filter((port) => port !== portOf(cloud.env.CREDENTIALS_URL!)), []);
    assert.ok(late.files <= before.files, `${late.files} files are open, ${before.files} were`);
    const growth = late.rssBytes - early.rssBytes;
    assert.ok(growth < GROWTH_BYTES_MAX, `${growth} bytes more after ${RUNS} runs`);
    assert.deepEqual(machine.left, []);
    console.log(
      `${version}: ${RUNS} runs of ${lines[0].requests} requests, ${growth} bytes more, ${
        JSON.stringify(late)
      }`,
    );
  },
);

cronTest(
  "is evaluated without any permission to look around",
  DENOS,
  async (deno, cloud, machine) => {
    const args = [
      "run",
      "--no-prompt",
      "--no-check",
      "--allow-env",
      "--deny-net",
      "--deny-ffi",
      "--deny-write",
      "--deny-run",
      "--deny-read",
      RUNNER,
    ];
    const { code, out, err } = await endOf(machine.start(deno, args, cloud.env));
    assert.deepEqual([code, out, err], [0, "0 0 * * * ratings of the day\n", ""]);
    assert.deepEqual([cloud.s3.log.length, cloud.asked.length], [0, 0]);
  },
);

cronTest(
  "serves as it stands, under Deno's own scheduler, and ends on SIGINT",
  CURRENT,
  async (deno, cloud, machine) => {
    const port = await freePort();
    const args = ["run", "-A", "--no-check", "--unstable-cron", EXAMPLE];
    const child = machine.start(deno, args, { ...cloud.env, PORT: `${port}` });
    const ended = endOf(child);
    const status = async () => {
      const response = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
      await response?.body?.cancel();
      return response?.status;
    };
    await until("it serves", async () => await status() === 404, 30_000);
    assert.deepEqual([cloud.s3.log.length, cloud.asked.length], [0, 0]);
    child.kill("SIGINT");
    await ended;
    assert.equal(child.signalCode ?? child.exitCode, "SIGINT");
  },
);

cronTest(
  "ends on SIGINT while a run waits for storage",
  CURRENT,
  async (deno, cloud, machine) => {
    await fill(cloud.s3, 20_000);
    cloud.s3.options.faults = new FaultSchedule([{
      fault: { kind: "silence" },
      on: "object",
      key: /0009/,
      nth: [3, 4, 5, 6, 7, 8],
    }]);
    const child = machine.start(deno, ["run", "-A", "--no-check", RUNNER, "1"], cloud.env);
    const ended = endOf(child);
    await until(
      "a page is awaited",
      () => cloud.s3.log.filter(({ key }) => key.includes("0009")).length > 2,
      30_000,
    );
    child.kill("SIGINT");
    await ended;
    assert.equal(child.signalCode ?? child.exitCode, "SIGINT");
  },
);

for (const latencyMs of [0, 20]) {
  cronTest(
    `a report over ${ROWS} rows, answers ${latencyMs} ms late`,
    CURRENT,
    async (deno, cloud, machine) => {
      await fill(cloud.s3, ROWS);
      cloud.s3.options.latencyMs = latencyMs;
      const sizeBytes = cloud.s3.get(bucketKey(9, 1, 2))!.length;
      const args = ["run", "-A", "--no-check", RUNNER, "2"];
      const { code, out, err } = await endOf(machine.start(deno, args, cloud.env));
      assert.deepEqual([code, err], [0, ""]);
      const runs = out.trimEnd().split("\n").map((line) => JSON.parse(line));
      for (const { requests, bytes, ms } of runs) {
        assert.ok(bytes < sizeBytes * 1.1, `${bytes} bytes of ${sizeBytes}`);
        assert.ok(requests <= 5 + sizeBytes / (32 * 1024), `${requests} requests`);
        console.log(
          `${sizeBytes} bytes stored, ${latencyMs} ms: ${requests} requests, ${bytes} bytes, ${
            Math.round(ms)
          } ms`,
        );
      }
    },
  );
}

if (IS_LONG) {
  cronTest(
    "is run by Deno's own scheduler, in a minute",
    CURRENT,
    async (deno, cloud, machine) => {
      await fill(cloud.s3);
      const args = ["run", "-A", "--no-check", "--unstable-cron", RUNNER, "minutely"];
      const child = machine.start(deno, args, { ...cloud.env, PORT: `${await freePort()}` });
      const killer = setTimeout(() => child.kill("SIGKILL"), 150_000);
      let out = "";
      child.stdout!.on("data", (chunk) => out += chunk);
      await new Promise((resolve) => child.on("close", resolve));
      clearTimeout(killer);
      assert.equal(child.exitCode, 0);
      assert.equal(JSON.parse(out).txid, "0000000000000002");
    },
  );
}
