/**
 * `@db/sqlite` over a replica, in Deno:
 *
 *     deno run -A docs/examples/db_sqlite.ts s3://bucket/sandwiches
 *
 * With `"@db/sqlite": "jsr:@db/sqlite@0.13"` in your deno.json, this is `import { Database } from "@db/sqlite"`.
 */
import process from "node:process";
import { type DatabaseClass, openReplica, type ReplicaDatabase } from "@x/litestream-vfs";

const { Database }: { Database: DatabaseClass<ReplicaDatabase> } = await import(
  process.env.DB_SQLITE_MODULE ?? "jsr:@db/sqlite@0.13"
);

await using replica = await openReplica(process.argv[2]);
const db = replica.connect(Database);
console.log(JSON.stringify(db.prepare("SELECT count(*) AS n FROM ratings WHERE stars >= 4").all()));
db.close();
