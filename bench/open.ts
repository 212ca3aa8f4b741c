/**
 * How long from opening a replica to the first row of a primary-key query?
 *
 * `npm run bench -- open [runs]` · ours in Bun and Deno (worker start included) and the Go VFS (library load apart), each in
 * fresh processes, through an S3 stand-in with added latency and 80 MB/s a connection.
 *
 * @module
 */
import process from "node:process";
import { goVfsLibrary } from "../tests/support/go_vfs.ts";
import { benchDatabase } from "./support/databases.ts";
import { type Figures, measure, medians, serve, table } from "./support/measure.ts";

const runs = Number(process.argv[2] ?? 5);
const databases = [
  await benchDatabase("small", 60_000),
  await benchDatabase("medium", 1_200_000),
  await benchDatabase("many", 1_200_000, 300),
];
const rows: Record<string, string | number>[] = [];
for (const database of databases) {
  for (const latencyMs of [0, 5, 20]) {
    await using server = await serve(database, latencyMs);
    const id = Math.floor(database.rows / 3);
    const ours: Record<"bun" | "deno", Figures[]> = { bun: [], deno: [] };
    const go: Figures[] = [];
    for (let run = 0; run < runs; run++) {
      for (const runtime of ["bun", "deno"] as const) {
        ours[runtime].push(
          await measure(runtime, "bench/support/open_ours.ts", { endpoint: server.endpoint, id }),
        );
      }
      if (database.name === "many" && run >= 3) continue;
      const { accessKeyId, secretAccessKey } = server.options;
      const before = server.log.length;
      const figures = await measure("bun", "bench/support/open_go.ts", { library: goVfsLibrary(), id }, {
        LITESTREAM_REPLICA_URL: `s3://bucket/db?endpoint=${server.endpoint}`,
        AWS_ACCESS_KEY_ID: accessKeyId,
        AWS_SECRET_ACCESS_KEY: secretAccessKey,
      });
      go.push({ ...figures, requests: server.log.length - before });
    }
    const peer = medians(go);
    for (const runtime of ["bun", "deno"] as const) {
      const own = medians(ours[runtime]);
      rows.push({
        data: database.name,
        "latency ms": String(latencyMs),
        runtime,
        "open ms": own.openMs!,
        "first row ms": own.rowMs!,
        requests: own.requests!,
        KiB: own.kib!,
        "round trips": own.roundTrips!,
        "RSS MB": own.rssMb!,
        "Go first row ms": peer.rowMs!,
        "Go load ms": peer.loadMs!,
        "Go requests": peer.requests!,
        "Go RSS MB": peer.rssMb!,
        "Go / ours": peer.rowMs! / own.rowMs!,
      });
    }
  }
}
console.log(table(rows));
process.exit(0);
