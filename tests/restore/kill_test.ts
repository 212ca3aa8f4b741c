/** A restore that is killed: nothing half in its place, and the next one asks for the rest alone. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { outcome, rounds } from "../soak/soak_support.ts";
import { Random } from "../support/random.ts";
import { Bucket } from "./restoring.ts";

const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);
const ROUNDS = rounds("KILL_ROUNDS", 6);

/** Longest time of one restore, in ms. */
const WAIT_MS = 60_000;

/** Bytes of a request: what was on its way when a process was killed, and what it put last, come again. */
const REQUEST_SHARE = 0.12;

function start({ s3, target }: Bucket): ChildProcess {
  const script = fileURLToPath(new URL("restore_child.ts", import.meta.url));
  const run = "Deno" in globalThis ? ["run", "-A", "--no-check"] : [];
  const line = [...run, script, "s3://bucket/db", target.path, s3.endpoint];
  return spawn(process.execPath, line, { stdio: ["ignore", "pipe", "pipe"] });
}

/** Kills a process as soon as something holds, or it has ended. */
async function killWhen(child: ChildProcess, holds: () => boolean): Promise<string> {
  const ended = outcome(child, WAIT_MS);
  while (child.exitCode === null && !holds()) await new Promise((resolve) => setTimeout(resolve, 1));
  child.kill("SIGKILL");
  return (await ended).printed;
}

/** Restores in a process of its own; gives how many bytes of the snapshot were read, as a share of it. */
async function finish(bucket: Bucket): Promise<number> {
  const since = bucket.s3.log.length;
  const { printed } = await outcome(start(bucket), WAIT_MS);
  assert.equal(printed, "done 3\n");
  bucket.target.assertIs(3);
  return bucket.snapshotBytes(since) / bucket.s3.get(bucket.key(9, 1, 1))!.length;
}

test(`a restore that is killed is gone on with (seed ${SEED})`, { timeout: 600_000 }, async () => {
  const random = new Random(SEED);
  await using bucket = await Bucket.make({ latencyMs: 2, bytesPerSecond: 15e6 });
  for (let round = 0; round < ROUNDS; round++) {
    const until = (1 + random.next(80)) / 100;
    void bucket.holdReads(0.9); // however late the signal comes, it is not done
    await killWhen(start(bucket), () => bucket.checkedShare() >= until);
    bucket.release();
    assert.ok(!existsSync(bucket.target.path), `round ${round}`);
    const came = bucket.checkedShare();
    const read = await finish(bucket);
    const where = `seed ${SEED}, round ${round}: read ${read} after ${came}`;
    assert.ok(came >= until && read <= 1 - came + REQUEST_SHARE, where);
    rmSync(bucket.target.path);
  }
});

test(`a restore that is killed again and again at any time becomes whole (seed ${SEED})`, {
  timeout: 600_000,
}, async () => {
  const random = new Random(SEED);
  await using bucket = await Bucket.make();
  for (let round = 0; round < ROUNDS; round++) {
    for (let isWhole = false; !isWhole;) {
      const since = bucket.s3.log.length;
      const until = since + 1 + random.next(25);
      let looks = random.next(200); // some are killed after their last request
      await killWhen(start(bucket), () => bucket.s3.log.length >= until && looks-- < 0);
      isWhole = existsSync(bucket.target.path);
      if (isWhole) bucket.target.assertHas(3);
    }
    rmSync(bucket.target.path);
  }
  await finish(bucket);
});

test("a path that another process restores to is taken, until that is killed", async () => {
  await using bucket = await Bucket.make();
  const held = bucket.holdReads(0.5);
  const child = start(bucket);
  const ended = outcome(child, WAIT_MS);
  await held;
  const second = await outcome(start(bucket), WAIT_MS);
  assert.match(
    second.printed,
    /^failed LocalFileError: Cannot restore to ".*out\.db": another process or call/,
  );
  child.kill("SIGKILL");
  await ended;
  bucket.release();
  await finish(bucket);
});
