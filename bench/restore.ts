/**
 * How long to restore a database of 207 MB to a plain file?
 *
 * `npm run bench -- restore [runs] [--latency 0,5,20] [--data medium]` · ours in Bun and Deno and `litestream restore`, each in
 * fresh processes, process start included, through an S3 stand-in with added latency and 80 MB/s a connection. Ends with 1 where
 * a file is not the database, byte for byte.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import type { FakeS3 } from "../tests/support/fake_s3.ts";
import { childEnvironment, litestreamBinary } from "../tests/support/real.ts";
import { namedDatabase } from "./support/databases.ts";
import { type Figures, measure, medians, serve, table } from "./support/measure.ts";

const { values, positionals } = parseArgs({
  options: { latency: { type: "string", default: "0,5,20" }, data: { type: "string", default: "medium" } },
  allowPositionals: true,
});
const runs = Number(positionals[0] ?? 5);
const database = await namedDatabase(values.data);
const wanted = await digest(database.path);
const folder = await mkdtemp(join(tmpdir(), "bench-restore-"));
const out = join(folder, "restored.db");
let isWrong = false;

async function digest(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest("hex");
}

/** Runs one restore; what it costs, and whether the file is right. */
async function timed(who: string, server: FakeS3, restore: () => Promise<Figures>): Promise<Figures> {
  const before = server.log.length;
  const began = performance.now();
  const figures = await restore();
  const ms = performance.now() - began;
  if (await digest(out) !== wanted) {
    console.error(`${who}: the restored file is not the database`);
    isWrong = true;
  }
  await rm(out);
  const made = server.log.slice(before);
  return { ...figures, ms, requests: made.length, mb: made.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6 };
}

/** Runs `litestream restore` to its end. */
function litestream(server: FakeS3): Promise<Figures> {
  const { accessKeyId, secretAccessKey, region } = server.options;
  const query = new URLSearchParams({ endpoint: server.endpoint, region, forcePathStyle: "true" });
  const child = spawn(litestreamBinary()!, ["restore", "-o", out, `s3://bucket/db?${query}`], {
    env: childEnvironment({ AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey }),
    stdio: ["ignore", "ignore", "inherit"],
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once(
      "close",
      (code) => code === 0 ? resolve({}) : reject(new Error(`litestream ended with ${code}`)),
    );
  });
}

const rows: Record<string, string | number>[] = [];
for (const latencyMs of values.latency.split(",").map(Number)) {
  await using server = await serve(database, latencyMs);
  const all: Record<"bun" | "deno" | "go", Figures[]> = { bun: [], deno: [], go: [] };
  for (let run = 0; run < runs; run++) {
    for (const runtime of ["bun", "deno"] as const) {
      const argument = { endpoint: server.endpoint, out };
      const ours = () => measure(runtime, "bench/support/restore_any.ts", argument);
      all[runtime].push(await timed(runtime, server, ours));
    }
    all.go.push(await timed("litestream", server, () => litestream(server)));
  }
  const peer = medians(all.go);
  for (const runtime of ["bun", "deno"] as const) {
    const own = medians(all[runtime]);
    rows.push({
      data: database.name,
      "latency ms": String(latencyMs),
      runtime,
      "process ms": own.ms!,
      "open and restore ms": own.restoreMs!,
      requests: own.requests!,
      MB: own.mb!,
      "RSS MB": own.rssMb!,
      "litestream ms": peer.ms!,
      "litestream requests": peer.requests!,
      "litestream MB": peer.mb!,
      "litestream / ours": peer.ms! / own.ms!,
    });
  }
}
await rm(folder, { recursive: true });
console.log(table(rows));
process.exit(isWrong ? 1 : 0);
