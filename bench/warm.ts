/**
 * What do look-ups and full scans cost once all pages are in memory, against a plain local file and the Go VFS?
 *
 * `npm run bench -- warm [runs] [--data small,medium,orders] [--latency 0]` · autocommit, 20,000 random ids; with SQLite's
 * default cache and with `cache_size=0`; the local file as it is opened by default, in rollback-journal mode, and with
 * `locking_mode=EXCLUSIVE`, which saves it the lock calls that ours never makes: what we gain against the first and not
 * against the second is those. The scan is `orders` as a whole, with a buffer pool that holds it; the Go VFS, whose cache
 * does not grow, scans `small` only.
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { goVfsLibrary } from "../tests/support/go_vfs.ts";
import { namedDatabase } from "./support/databases.ts";
import { type Figures, measure, medians, serve, table } from "./support/measure.ts";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: "string", default: "small,medium,orders" },
    latency: { type: "string", default: "0" },
  },
});
const runs = Number(positionals[0] ?? 5);
const script = "bench/support/warm_any.ts";
const library = goVfsLibrary();
const rows: Record<string, string | number>[] = [];
for (const name of options.data.split(",")) {
  const database = await namedDatabase(name);
  await using server = await serve(database, Number(options.latency));
  const { accessKeyId, secretAccessKey } = server.options;
  const env = {
    LITESTREAM_REPLICA_URL: `s3://bucket/db?endpoint=${server.endpoint}`,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
  };
  const work = { rows: database.rows, lookUps: 20_000, scans: true };
  for (const runtime of ["bun", "deno"] as const) {
    const all: Record<"ours" | "local" | "go", Figures[]> = { ours: [], local: [], go: [] };
    for (let run = 0; run < runs; run++) {
      const { endpoint } = server;
      const ours = { ...work, system: "ours", endpoint, cacheBytesMax: 512 * 2 ** 20 };
      all.ours.push(await measure(runtime, script, ours));
      all.local.push(await measure(runtime, script, { ...work, system: "local", path: database.path }));
      const go = { ...work, system: "go", library, lookUps: 2_000, scans: name === "small" };
      all.go.push(await measure(runtime, script, go, env));
    }
    const [ours, local, go] = [medians(all.ours), medians(all.local), medians(all.go)];
    const line = (what: string, figure: string, slower: boolean) => {
      const [own, plain, exclusive, peer] = [
        ours[figure]!,
        local[figure]!,
        local[`exclusive ${figure}`]!,
        go[figure],
      ];
      const times = (other: number | undefined) => {
        if (other === undefined) return "";
        return slower ? other / own : own / other;
      };
      rows.push({
        data: name,
        runtime,
        what,
        ours: own,
        local: plain,
        "local exclusive": exclusive,
        "Go VFS": peer ?? "",
        "faster than local, times": times(plain),
        "than exclusive": times(exclusive),
        "than Go": times(peer),
        "requests while warm": ours.requests!,
      });
    };
    line("look-ups /s, default cache", "perSecond", false);
    line("look-ups /s, cache_size=0", "uncachedPerSecond", false);
    line("full scan, ms", "scanMs", true);
  }
}
console.log(table(rows));
process.exit(0);
