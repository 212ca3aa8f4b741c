/**
 * Drizzle over a replica, in Deno, through its proxy driver over `node:sqlite`:
 *
 *     deno run -A docs/examples/drizzle_deno.ts s3://bucket/sandwiches
 */
import process from "node:process";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { avg, count, desc, gte } from "drizzle-orm";
import { drizzle } from "drizzle-orm/sqlite-proxy";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { openReplica } from "@x/litestream-vfs";

const ratings = sqliteTable("ratings", {
  id: integer().primaryKey(),
  sandwich: text().notNull(),
  stars: integer().notNull(),
});

await using replica = await openReplica(process.argv[2]);
// Rows as arrays, as Drizzle wants them: columns of a join may share a name.
const client = replica.connect(DatabaseSync, { database: { returnArrays: true } });
const db = drizzle((sql, parameters, method) => {
  const statement = client.prepare(sql);
  const values = parameters as SQLInputValue[];
  const rows = method === "get" ? statement.get(...values) : statement.all(...values);
  return Promise.resolve({ rows: rows as unknown as unknown[] });
});

const best = await db
  .select({ sandwich: ratings.sandwich, stars: avg(ratings.stars), ratings: count() })
  .from(ratings)
  .where(gte(ratings.stars, 1))
  .groupBy(ratings.sandwich)
  .orderBy(desc(avg(ratings.stars)))
  .limit(3);
console.log(JSON.stringify(best));

// Two queries that must agree see one state inside one transaction.
client.exec("BEGIN");
const [all] = await db.select({ n: count() }).from(ratings);
const rows = await db.select().from(ratings);
client.exec("COMMIT");
console.log(all?.n === rows.length);
client.close();
