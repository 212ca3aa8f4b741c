/**
 * Kysely over a replica, by its own SQLite dialect:
 *
 *     deno run -A docs/examples/kysely.ts s3://bucket/sandwiches
 *     bun docs/examples/kysely.ts s3://bucket/sandwiches
 */
import process from "node:process";
import { Kysely, type SqliteDatabase, SqliteDialect } from "kysely";
import { openReplica, type ReplicaDatabase } from "@x/litestream-vfs";

interface Tables {
  ratings: { id: number; sandwich: string; stars: number };
}

/** A database that was opened for reading, as Kysely wants one: whatever is run gives rows, if only none. */
function readerOf(database: ReplicaDatabase): SqliteDatabase {
  const noWrites = () => {
    throw new TypeError("Cannot write: the replica is open for reading");
  };
  return {
    close: () => database.close(),
    prepare(sql) {
      const statement = database.prepare(sql);
      const all = (parameters: readonly unknown[]) => statement.all(...parameters);
      return { reader: true, all, iterate: (parameters) => all(parameters).values(), run: noWrites };
    },
  };
}

await using replica = await openReplica(process.argv[2]);
const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database: readerOf(replica.connect()) }) });

const best = await db
  .selectFrom("ratings")
  .select(({ fn }) => ["sandwich", fn.avg<number>("stars").as("stars"), fn.countAll<number>().as("ratings")])
  .groupBy("sandwich")
  .orderBy("stars", "desc")
  .limit(3)
  .execute();
console.log(JSON.stringify(best));

// Two queries that must agree see one state inside one transaction.
await db.transaction().execute(async (tx) => {
  const { n } = await tx.selectFrom("ratings").select(({ fn }) => fn.countAll<number>().as("n"))
    .executeTakeFirstOrThrow();
  const rows = await tx.selectFrom("ratings").selectAll().execute();
  console.log(n === rows.length);
});
await db.destroy();
