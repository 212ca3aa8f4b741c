/** The command line as a process: signals, a reader that goes away, and results larger than memory. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { FakeS3 } from "../support/fake_s3.ts";
import { FaultSchedule } from "../support/faults.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { noiseSql } from "../replica/drivers.ts";
import { gather, runCli, startCli } from "./running.ts";

const ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT";
const isLinux = existsSync("/proc/self/status");

/** A replica in a bucket, of which everything but the first requests for its pages is never answered. */
async function withSilentBucket(
  use: (place: { url: string; env: Record<string, string>; fake: FakeS3 }) => Promise<void>,
  rows = 1500,
): Promise<void> {
  await withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(rows));
    folder.snapshot();
    await using fake = await FakeS3.start();
    fake.put("db/0009/0000000000000001-0000000000000001.ltx", readFileSync(folder.pathOf(9, 1, 1)));
    const { accessKeyId, secretAccessKey, region } = fake.options;
    const query = new URLSearchParams({ endpoint: fake.endpoint, region, forcePathStyle: "true" });
    const env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
    await use({ url: `s3://bucket/db?${query}`, env, fake });
  });
}

/** Runs SQL that first says that it has begun, and sends a signal then. */
async function signalled(
  { url, sql, env = {}, signal = "SIGINT", isDue = () => true }: {
    url: string;
    sql: string;
    env?: Record<string, string>;
    signal?: NodeJS.Signals;
    /** Whether it has come so far that the signal is to be sent. */
    isDue?: () => boolean;
  },
) {
  const child = startCli(["query", url, `SELECT 'begun' AS a; ${sql}`, "--list", "--timeout", "10m"], env);
  const ran = gather(child);
  await once(child.stdout!, "data");
  while (!isDue()) await delay(10);
  process.kill(child.pid!, signal);
  return await ran;
}

test("Ctrl-C ends a query that computes, and one that waits for storage, with 130", () =>
  withSilentBucket(async ({ url, env, fake }) => {
    const wanted = { code: 130, out: "a\nbegun\n", err: "interrupted\n" };
    assert.deepEqual(await signalled({ url, env, sql: `${ENDLESS} max(x) FROM c` }), wanted);
    const before = fake.log.length;
    const isDue = () => fake.log.slice(before).some(({ key, status }) => /0009/.test(key) && status === 0);
    fake.options.faults = new FaultSchedule([{
      fault: { kind: "silence" },
      on: "object",
      key: /0009/,
      nth: Array.from({ length: 1000 }, (_, i) => i + 3),
    }]);
    assert.deepEqual(await signalled({ url, env, sql: "SELECT sum(length(x)) FROM n", isDue }), wanted);
  }));

test("a restore that is interrupted says how it goes on, with the state that it had begun", () =>
  withSilentBucket(async ({ url, env, fake }) => {
    const file = join(mkdtempSync(join(tmpdir(), "cli-restore-")), "x.db");
    fake.options.faults = new FaultSchedule([
      { on: "object", nth: [4, 5, 6, 7, 8, 9, 10, 11, 12], fault: { kind: "silence" } },
    ]);
    const child = startCli(["restore", url, file], env);
    const ran = gather(child);
    const isDue = () => existsSync(`${file}.partial`) && statSync(`${file}.partial`).size > 300_000;
    while (!isDue() && child.exitCode === null) await delay(10);
    process.kill(child.pid!, "SIGINT");
    const { code, err } = await ran;
    assert.equal(code, 130, err);
    const again = /kept beside the file: the same command with (--at) (0{15}1) goes on with it/.exec(err);
    assert.ok(again, err);
    fake.options.faults = new FaultSchedule([]);
    const { code: end, out } = await runCli(["restore", url, file, ...again.slice(1)], { env });
    assert.equal(end, 0);
    assert.match(out, /^Restored .*: TXID 0{15}1, /);
    rmSync(dirname(file), { recursive: true });
  }, 20_000));

test("SIGTERM ends a query in the background with what it had written, and 143", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("CREATE TABLE t (x)");
    const ran = await signalled({ url: folder.url, sql: `${ENDLESS} max(x) FROM c`, signal: "SIGTERM" });
    assert.deepEqual(ran, { code: 143, out: "a\nbegun\n", err: "interrupted\n" });
  }));

test("a result without end is streamed: read in part, in bounded memory, and | head ends quietly", {
  skip: isLinux ? false : "reads /proc",
}, () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("CREATE TABLE t (x)");
    const child = startCli(["query", folder.url, `${ENDLESS} x, hex(zeroblob(500)) FROM c`, "--table"]);
    let [bytes, err] = [0, ""];
    child.stderr!.on("data", (data) => err += data);
    for await (const chunk of child.stdout!) {
      bytes += chunk.length;
      if (bytes > 60_000_000) break; // which closes the pipe
    }
    const mb = peakMb(child.pid!);
    child.stdout!.destroy();
    const [code] = child.exitCode === null ? await once(child, "exit") : [child.exitCode];
    assert.equal(code, 0);
    assert.equal(err, "");
    assert.ok(mb === undefined || mb < 400, `${mb} MB`);
  }));

test("what cannot be written is told, with 1: a full disk has not seen enough", {
  skip: existsSync("/dev/full") ? false : "there is no /dev/full",
}, () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("CREATE TABLE t (x)");
    const commands = [
      ["query", folder.url, `${ENDLESS} x FROM c`],
      ["query", folder.url, "SELECT 1"],
      ["shell", folder.url],
    ];
    for (const args of commands) {
      const ran = await runCli(args, { stdin: "SELECT 1; SELECT 2;", output: "/dev/full" });
      assert.deepEqual([ran.code, ran.out], [1, ""], args.join(" "));
      assert.match(ran.err, /^error: Cannot write the output: .*no space left on device[^\n]*\n$/i);
    }
  }));

/** The most memory that a process has had; undefined where it has ended. */
function peakMb(pid: number): number | undefined {
  try {
    return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1000;
  } catch {
    return undefined;
  }
}

test("a script: what fails is told and the rest runs, what is written is stored, the last code is the script's", () =>
  withReplicaFolder({}, async (folder: ReplicaFolder) => {
    const url = `file://${join(folder.home, "written")}`;
    const env = { XDG_STATE_HOME: folder.home };
    const made = await runCli(["shell", url, "--write"], {
      env,
      stdin:
        "CREATE TABLE t (x);\nINSERT INTO t VALUES (1),\n (2) RETURNING x;\nSELECT 'a\n;b' AS q;\n.sync\n",
    });
    assert.equal(made.out, 'x\r\n1\r\n2\r\nq\r\n"a\n;b"\r\nstored up to TXID 0000000000000001\n');
    assert.match(made.err, /Only one process at a time may write/);
    assert.equal(made.code, 0);
    const script = ".param least 2\nSELECT * FROM absent;\nSELECT x FROM t WHERE x >= :least\n";
    const read = await runCli(["shell", url, "--list"], { env, stdin: script });
    assert.deepEqual(read, { code: 1, out: "x\n2\n", err: "error: Cannot run SQL: no such table: absent\n" });
  }));

test("SIGTERM ends a script that writes with all stored that was committed", () =>
  withReplicaFolder({}, async (folder) => {
    const url = `file://${join(folder.home, "written")}`;
    const child = startCli(["shell", url, "--write", "--list"], { XDG_STATE_HOME: folder.home });
    const ran = gather(child);
    child.stdin!.write("CREATE TABLE t (x);\nINSERT INTO t VALUES (7) RETURNING x;\n");
    await once(child.stdout!, "data");
    process.kill(child.pid!, "SIGTERM");
    const { code, out, err } = await ran;
    assert.equal(code, 143, err);
    assert.equal(out, "x\n7\n");
    assert.equal((await runCli(["query", url, "SELECT x FROM t", "--list"])).out, "x\n7\n");
  }));

test("Deno's permissions: what a query needs, and what is said where one is missing", {
  skip: "Deno" in globalThis ? false : "permissions are Deno's",
}, () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("CREATE TABLE t (x)");
    const run = (url: string, ...permissions: string[]) =>
      runCli(["query", url, "SELECT 1 AS a", "--anonymous"], {
        permissions: ["--no-prompt", ...permissions],
      });
    const [ffi, read, env] = ["--allow-ffi", "--allow-read", "--allow-env"];
    assert.deepEqual(await run(folder.url, ffi!, read!, env!), { code: 0, out: "a\r\n1\r\n", err: "" });
    const bucket = "s3://bucket/db?endpoint=http://127.0.0.1:45678&region=us-east-1";
    const [noFfi, noNet] = await Promise.all([run(folder.url, read!, env!), run(bucket, ffi!, read!, env!)]);
    assert.match(noFfi!.err, /^error: .*--allow-ffi/);
    assert.match(noNet!.err, /^error: .*--allow-net/);
    assert.deepEqual([noFfi, noNet].map((ran) => ran!.code), [3, 3]);
  }));
