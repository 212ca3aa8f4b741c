/** Compaction beside a disk cache. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { until } from "../replica/following.ts";
import { CachedPlace } from "./cached_place.ts";

const HOUR_MS = 3_600_000;

/** Bytes of all files in a folder. */
function bytesIn(folder: string): number {
  const names = readdirSync(folder, { recursive: true }) as string[];
  return names.map((name) => statSync(join(folder, name))).reduce((sum, { size }) => sum + size, 0);
}

test(
  "what compaction reads, once and all of it, is not kept",
  { timeout: 60_000 },
  () =>
    CachedPlace.with(async (place) => {
      const { s3 } = place;
      const options = { write: true, syncIntervalMs: 0 } as const;
      const path = "written/";
      const log = join(place.folder.home, "log");
      const first = await place.open({ ...options, path, bufferPath: log, compact: false });
      const database = first.connect();
      database.exec("CREATE TABLE t (x)");
      for (let i = 0; i < 12; i++) {
        database.exec("INSERT INTO t VALUES (randomblob(600000))");
        await first.sync();
      }
      database.close();
      await first.close();
      for (const key of s3.keys()) s3.put(key, s3.get(key)!, { modifiedMs: Date.now() - 3 * HOUR_MS });
      rmSync(place.cacheDir, { recursive: true }); // where what it wrote itself is kept
      mkdirSync(place.cacheDir);
      s3.log.length = 0;
      const second = await place.open({ ...options, path, bufferPath: log });
      await until("it has compacted", () => s3.keys().some((key) => key.startsWith(`${path}0009/`)));
      await second.close();
      const read = new Set(s3.log.filter(({ method, key }) => method === "GET" && key.includes("/0000/")));
      assert.ok(read.size >= 12, `${read.size} files were read`);
      const kept = bytesIn(place.cacheDir);
      assert.ok(kept < 1_000_000, `${kept} bytes are kept of 7,200,000`);
    }),
);
