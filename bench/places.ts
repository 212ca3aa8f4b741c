/**
 * How long to the first row, and how many requests, wherever a replica lies?
 *
 * `npm run bench -- places [runs] [--only NAME]` · a database of 8 MB that a real Litestream writes to a real server of each kind,
 * all on this machine; fresh processes, from the call of openReplica() to the first row of a look-up, then a full scan. Needs
 * `node scripts/setup.mjs test`; a kind whose server is missing is told and left out.
 *
 * @module
 */
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { ALL_PLACES, type PlaceKind } from "../tests/support/all_places.ts";
import { litestreamBinary, startDaemon } from "../tests/support/real.ts";
import { openPlain } from "../tests/support/sqlite.ts";
import { benchDatabase } from "./support/databases.ts";
import { type Figures, measure, medians, table } from "./support/measure.ts";

const ROWS = 45_000;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: "string", default: "" } },
});
const runs = Number(positionals[0] ?? 5);
if (litestreamBinary() === undefined) throw new Error("Missing litestream: run node scripts/setup.mjs test");
const database = await benchDatabase("places", ROWS);
const rows: Record<string, string | number>[] = [];
for (const kind of ALL_PLACES.filter(({ name }) => name.includes(values.only))) {
  const missing = Object.keys(kind.parts).filter((name) => kind.parts[name] === undefined);
  if (missing.length > 0) console.error(`${kind.name}: missing ${missing.join(", ")}`);
  else rows.push(...await measured(kind));
}
console.log(table(rows));
process.exit(0);

async function measured({ name, start }: PlaceKind): Promise<Record<string, string | number>[]> {
  const server = await start();
  const folder = await mkdtemp(join(tmpdir(), "bench-places-"));
  try {
    const place = await server.place("bench");
    const path = join(folder, "primary.db");
    await copyFile(database.path, path);
    const sqlite = await openPlain(path);
    sqlite.all("PRAGMA journal_mode = WAL");
    const daemon = await startDaemon({ db: path, levels: ["1h"], snapshotInterval: "1h", ...place });
    await daemon.sync();
    await daemon.stop();
    sqlite.close();
    const found: Record<string, string | number>[] = [];
    for (const runtime of ["bun", "deno"] as const) {
      const all: Figures[] = [];
      for (let run = 0; run < runs; run++) {
        const { url, options = {} } = place;
        all.push(await measure(runtime, "bench/support/first_row.ts", { url, options }, place.env));
      }
      found.push({ place: name, runtime, ...medians(all) });
    }
    return found;
  } finally {
    await server.close();
    await rm(folder, { recursive: true });
  }
}
