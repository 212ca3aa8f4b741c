/**
 * An API that serves queries from a replica, with conditional requests and a look back:
 *
 *     LITESTREAM_REPLICA_URL=s3://bucket/sandwiches deno serve -A docs/examples/hono_api.ts
 *     LITESTREAM_REPLICA_URL=s3://bucket/sandwiches bun docs/examples/hono_api.ts
 *
 *     curl -i localhost:8000/sandwiches
 *     curl -i 'localhost:8000/sandwiches/reuben?at=2026-11-21T08:00:00Z'
 */
import process from "node:process";
import { type Context, Hono } from "hono";
import { openReplica } from "@x/litestream-vfs";
import { QueryPool } from "./query_pool.ts";

const replica = await openReplica();
const pool = new QueryPool(replica);

/** A state never changes: its TXID is the tag of whatever is computed from it. */
const tagOf = (txid: string) => `"${txid}"`;

/** Whether a moment is given as such and lies behind what the replica has: then its state is the same for ever. */
function isSettled(at: string): boolean {
  return /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(at) && Date.parse(at) < (replica.time?.getTime() ?? 0);
}

async function respond(c: Context, sql: string, ...parameters: string[]) {
  const at = c.req.query("at");
  const known = c.req.header("if-none-match");
  const newest = tagOf(replica.txid.toString(16).padStart(16, "0"));
  c.header("cache-control", at && isSettled(at) ? "public, max-age=31536000, immutable" : "no-cache");
  if (at === undefined && known === newest) return c.body(null, 304, { etag: newest });
  const { txid, rows } = await pool.run({ sql, parameters, asOf: at });
  const etag = tagOf(txid);
  return known === etag ? c.body(null, 304, { etag }) : c.json(rows, 200, { etag });
}

const app = new Hono();
app.get("/health", (c) => c.json({ txid: replica.txid.toString(16), lagMs: Math.round(replica.lagMs) }));
app.get("/sandwiches", (c) =>
  respond(
    c,
    "SELECT sandwich, avg(stars) AS stars, count(*) AS ratings FROM ratings GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20",
  ));
app.get(
  "/sandwiches/:name",
  (c) =>
    respond(c, "SELECT id, stars FROM ratings WHERE sandwich = ? ORDER BY id LIMIT 100", c.req.param("name")),
);
app.onError((error, c) => c.json({ error: error.message }, 503));

/** What `deno serve` and Bun serve. */
export default { port: Number(process.env.PORT ?? 8000), fetch: app.fetch };
