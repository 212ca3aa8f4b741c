/**
 * The invariant workload under a real Litestream, read over a copy whose process is killed again and again.
 * `HYDRATE_SECONDS=600` for the long form.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openReplica } from "../../mod.ts";
import { pause } from "../replica/following.ts";
import { rounds, spawnScript } from "../soak/soak_support.ts";
import { Random } from "../support/random.ts";
import {
  litestreamBinary,
  restore,
  s3ServerBinary,
  skipWithout,
  startDaemon,
  startS3Server,
  withFolder,
} from "../support/real.ts";

const skip = skipWithout({ litestream: litestreamBinary(), "S3 server": s3ServerBinary() });
const seconds = rounds("HYDRATE_SECONDS", 12);
/** So much longer where too little was seen, in ms: the machine may be busy. */
const MORE_MS = 60_000;

/** What the lives of a reader told, one after the other. */
interface Told {
  readonly violations: string[];
  seen: number;
  local: number;
  whole: number;
  lives: number;
  /** The last so many of them have seen nothing: on a busy machine it takes a while until one does. */
  fruitless: number;
  /** Transactions whose state was gone, after its files could be deleted. */
  lost: number;
  last: string;
}

/** One life of the reader, which ends by a kill, or well. */
async function live(argument: object, told: Told, random: Random): Promise<void> {
  const child = spawnScript("../hydrate/invariants_child.ts", [
    JSON.stringify({ ...argument, seed: random.next(1e6) }),
  ]);
  const { last: before, seen: seenBefore } = told;
  let rest = "";
  let complaint = "";
  child.stderr!.on("data", (data) => complaint += data);
  child.stdout!.on("data", (data) => {
    const lines = (rest + data).split("\n");
    rest = lines.pop()!;
    for (const line of lines.map((text) => JSON.parse(text))) {
      if (line.violation) told.violations.push(`${line.kind}: ${line.violation}`);
      if (line.lost) told.lost++;
      if (line.local > 0) told.local++;
      if (line.phase === "whole") told.whole++;
      if (!line.seen) continue;
      told.seen++;
      if (line.seen < before) told.violations.push(`TXID ${line.seen} after a restart at ${before}`);
      if (line.seen > told.last) told.last = line.seen;
    }
  });
  const ended = once(child, "close");
  await Promise.race([ended, pause((300 + random.next(4_000)) * (1 + told.fruitless))]);
  assert.equal(child.exitCode, null, complaint);
  child.kill("SIGKILL");
  await ended;
  told.lives++;
  told.fruitless = told.seen > seenBefore ? 0 : told.fruitless + 1;
}

test("The invariant workload over a copy that is killed again and again: no violation", {
  skip,
  timeout: (seconds + 180) * 1000,
}, () =>
  withFolder(async (folder) => {
    const seed = rounds("HYDRATE_SEED", 1);
    const random = new Random(seed);
    const server = await startS3Server();
    const db = join(folder, "source.db");
    const path = join(folder, "copy", "local.db");
    const { env, accessKey, secretKey, endpoint, bucket } = server;
    const url = server.url("hydrate");
    const script = fileURLToPath(new URL("../support/invariant_writer_process.ts", import.meta.url));
    const before = "Deno" in globalThis ? ["run", "-A", "--no-check"] : [];
    const writing = JSON.stringify({ path: db, seed, vacuumMs: 7_000 });
    const writer = spawn(process.execPath, [...before, script, writing]);
    try {
      await once(writer.stdout!, "data");
      const daemon = await startDaemon({
        db,
        url,
        env,
        levels: ["1s", "4s", "9s"],
        snapshotInterval: "5s",
        snapshotRetention: "6s",
        l0Retention: "3s",
      });
      try {
        await daemon.sync();
        const credentials = { accessKeyId: accessKey, secretAccessKey: secretKey };
        const place = `s3://${bucket}/hydrate`;
        const options = { endpoint, credentials, hydrate: path, pollIntervalMs: 100 };
        const told: Told = {
          violations: [],
          seen: 0,
          local: 0,
          whole: 0,
          lives: 0,
          fruitless: 0,
          lost: 0,
          last: "",
        };
        const endMs = Date.now() + seconds * 1000;
        const isEnough = () => told.seen > 10 && told.local > 0 && told.whole > 0;
        while (Date.now() < endMs || (!isEnough() && Date.now() < endMs + MORE_MS)) {
          await live({ url: place, ...options }, told, random);
        }
        writer.kill("SIGKILL");
        await daemon.sync();
        const replica = await openReplica(place, options);
        await replica.hydrated();
        await replica.close();
        await restore(url, join(folder, "restored.db"), { env });
        console.log(JSON.stringify({ ...told, violations: told.violations.length, seed }));
        assert.deepEqual(told.violations, []);
        assert.ok(isEnough(), JSON.stringify(told));
        const [found, wanted] = [readFileSync(path), readFileSync(join(folder, "restored.db"))];
        wanted[18] = wanted[19] = 1;
        assert.equal(found.compare(wanted), 0, "the copy is what litestream restores");
      } finally {
        await daemon.stop();
      }
    } finally {
      writer.kill("SIGKILL");
      await server.close();
    }
  }));
