/**
 * Drizzle over a replica, in Bun:
 *
 *     bun docs/examples/drizzle_bun.ts s3://bucket/sandwiches
 */
import { Database } from "bun:sqlite";
import process from "node:process";
import { avg, count, desc, gte } from "drizzle-orm";
import { drizzle } from "drizzle-orm/bun-sqlite";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { openReplica } from "@x/litestream-vfs";

const ratings = sqliteTable("ratings", {
  id: integer().primaryKey(),
  sandwich: text().notNull(),
  stars: integer().notNull(),
});

await using replica = await openReplica(process.argv[2]);
const client = replica.connect(Database);
const db = drizzle({ client });

const best = db
  .select({ sandwich: ratings.sandwich, stars: avg(ratings.stars), ratings: count() })
  .from(ratings)
  .where(gte(ratings.stars, 1))
  .groupBy(ratings.sandwich)
  .orderBy(desc(avg(ratings.stars)))
  .limit(3);
console.log(JSON.stringify(best.all()));

// Two queries that must agree see one state inside one transaction.
db.transaction((tx) => {
  const [all] = tx.select({ n: count() }).from(ratings).all();
  const rows = tx.select().from(ratings).all();
  console.log(all?.n === rows.length);
});
client.close();
