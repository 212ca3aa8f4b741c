/**
 * A report of the past: what changed between the last two midnights (UTC), whenever it is run.
 *
 *     deno run -A docs/examples/yesterday_report.ts s3://bucket/sandwiches
 *     bun docs/examples/yesterday_report.ts s3://bucket/sandwiches 2026-11-22T09:00:00Z
 */
import process from "node:process";
import { openReplica } from "@x/litestream-vfs";

interface Row {
  readonly sandwich: string;
  readonly ratings: number;
  readonly stars: number;
}

const DAY_MS = 24 * 60 * 60 * 1000;

// With @std/datetime (import { DAY } from "jsr:@std/datetime/constants"): DAY in place of DAY_MS. Any Date will do.
const [, , url, now = new Date().toISOString()] = process.argv;
const midnight = new Date(Math.floor(Date.parse(now) / DAY_MS) * DAY_MS);
const dayBefore = new Date(midnight.getTime() - DAY_MS);

await using replica = await openReplica(url, { pollIntervalMs: 0 }); // the past does not change

/** All sandwiches as they were at a moment, by name. Connections to several moments stand side by side. */
function ratingsAt(asOf: Date): Map<string, Row> {
  const db = replica.connect({ asOf });
  try {
    const sql =
      "SELECT sandwich, count(*) AS ratings, avg(stars) AS stars FROM ratings GROUP BY 1 ORDER BY 1";
    return new Map(db.prepare(sql).all().map((row: Row) => [row.sandwich, row]));
  } finally {
    db.close();
  }
}

const before = ratingsAt(dayBefore);
console.log(`${dayBefore.toISOString()} to ${midnight.toISOString()}`);
for (const { sandwich, ratings, stars } of ratingsAt(midnight).values()) {
  const old = before.get(sandwich);
  const came = ratings - (old?.ratings ?? 0);
  if (came > 0) console.log(`${sandwich}: ${came} new, ${old?.stars ?? "none"} → ${stars}`);
}
