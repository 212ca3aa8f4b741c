import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { FakeS3 } from "../support/fake_s3.ts";
import { FaultSchedule } from "../support/faults.ts";

/** What a process prints that opens a replica where every request is answered with status 503. */
async function printed(
  how: string,
  environment: Record<string, string>,
): Promise<{ out: string[]; err: string[] }> {
  const fault = { kind: "status", status: 503, code: "SlowDown" } as const;
  await using server = await FakeS3.start({ faults: new FaultSchedule([{ fault }]) });
  const script = fileURLToPath(new URL("./log_child.ts", import.meta.url));
  const before = "Deno" in globalThis ? ["run", "-A", "--no-check"] : [];
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: "1", LITESTREAM_REPLICA_URL: "s3://bucket/db" };
  for (const name of Object.keys(env)) if (/^LITESTREAM_(LOG|S3)_/.test(name)) delete env[name];
  const child = spawn(process.execPath, [...before, script, server.endpoint, how], {
    env: { ...env, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [out, err] = ["", ""];
  child.stdout.on("data", (data) => out += data);
  child.stderr.on("data", (data) => err += data);
  await new Promise((resolve) => child.on("close", resolve));
  assert.ok(!/wJalr/.test(out + err), "no secret");
  const lines = (text: string) => text.split("\n").filter((line) => line !== "");
  return { out: lines(out), err: lines(err) };
}

const ENTRY = /^\d{4}-\d\d-\d\dT[\d:.]+Z (DEBUG|INFO|WARN|ERROR) litestream-vfs: \S/;

test("without a sink nothing is told where nothing is odd", async () => {
  assert.deepEqual(await printed("", {}), { out: ["failed: DeadlineError"], err: [] });
});

test("without a sink warnings go to stderr, a line each", async () => {
  const { out, err } = await printed("", { LITESTREAM_S3_BUCKET: "other" });
  assert.deepEqual(out, ["failed: DeadlineError"]);
  assert.equal(err.length, 1);
  assert.match(err[0] ?? "", ENTRY);
  assert.match(
    err[0] ?? "",
    /WARN .*LITESTREAM_S3_BUCKET and LITESTREAM_REPLICA_URL are set: only the URL is used/,
  );
});

test("LITESTREAM_LOG_LEVEL=debug tells what the core tries again, also to stderr", async () => {
  const { out, err } = await printed("", { LITESTREAM_LOG_LEVEL: "debug" });
  assert.deepEqual(out, ["failed: DeadlineError"]);
  for (const line of err) assert.match(line, ENTRY);
  assert.ok(
    err.some((line) => /DEBUG .*Trying again: Cannot list .*status 503 SlowDown/.test(line)),
    err.join("\n"),
  );
});

test("a sink takes it all, and stderr stays empty", async () => {
  const environment = { LITESTREAM_LOG_LEVEL: "DEBUG", LITESTREAM_S3_BUCKET: "other" };
  const { out, err } = await printed("sink", environment);
  assert.deepEqual(err, []);
  assert.ok(out.some((line) => line.startsWith("sink warn LITESTREAM_S3_BUCKET and")));
  assert.ok(out.some((line) => line.startsWith("sink debug Trying again: ")));
});

test("a sink that throws ends nothing: its entries go to stderr", async () => {
  const { out, err } = await printed("throwing sink", { LITESTREAM_S3_BUCKET: "other" });
  assert.deepEqual(out, ["failed: DeadlineError"]);
  assert.equal(err.length, 2);
  assert.match(
    err[1] ?? "",
    /ERROR litestream-vfs: Cannot tell the log: its sink threw Error: the sink is full/,
  );
});

test("a level that is none is told, and warnings are", async () => {
  const { err } = await printed("", { LITESTREAM_LOG_LEVEL: "loud" });
  assert.equal(err.length, 1);
  assert.match(err[0] ?? "", /Cannot use LITESTREAM_LOG_LEVEL: "loud"/);
});
