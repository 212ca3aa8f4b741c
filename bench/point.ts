/**
 * How many warm primary-key look-ups a second, against a plain local file and the Go VFS?
 *
 * `npm run bench -- point [runs]` · autocommit, 20,000 random ids of which all pages are in memory; the local file as it is
 * opened by default, in rollback-journal mode, and with `locking_mode=EXCLUSIVE` (which saves it the lock calls that ours
 * never makes).
 *
 * @module
 */
import process from "node:process";
import { goVfsLibrary } from "../tests/support/go_vfs.ts";
import { benchDatabase } from "./support/databases.ts";
import { type Figures, measure, medians, serve, table } from "./support/measure.ts";

const runs = Number(process.argv[2] ?? 5);
const database = await benchDatabase("medium", 1_200_000);
await using server = await serve(database, 0);
const { accessKeyId, secretAccessKey } = server.options;
const rows: Record<string, string | number>[] = [];
for (const runtime of ["bun", "deno"] as const) {
  const all: Figures[] = [];
  for (let run = 0; run < runs; run++) {
    const common = { rows: database.rows, count: 20_000 };
    const ours = await measure(runtime, "bench/support/point_any.ts", {
      ...common,
      system: "ours",
      endpoint: server.endpoint,
    });
    const local = await measure(runtime, "bench/support/point_any.ts", {
      ...common,
      system: "local",
      path: database.path,
    });
    const go = await measure(runtime, "bench/support/point_any.ts", {
      ...common,
      count: 2_000,
      system: "go",
      library: goVfsLibrary(),
    }, {
      LITESTREAM_REPLICA_URL: `s3://bucket/db?endpoint=${server.endpoint}`,
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
    });
    all.push({
      "ours /s": ours.perSecond!,
      "local /s": local.perSecond!,
      "local exclusive /s": local.exclusivePerSecond!,
      "Go VFS /s": go.perSecond!,
      "ours / local": ours.perSecond! / local.perSecond!,
      "ours / exclusive": ours.perSecond! / local.exclusivePerSecond!,
      "ours / Go": ours.perSecond! / go.perSecond!,
      "requests while warm": ours.requests!,
    });
  }
  rows.push({ runtime, ...medians(all) });
}
console.log(table(rows));
process.exit(0);
