/**
 * From the start of a process to its first committed write, and until that is stored and the database is local; prints
 * figures as JSON.
 *
 * @module
 */
import process from "node:process";
import { openReplica } from "../../mod.ts";

const { endpoint, path, hydrate, startedMs } = JSON.parse(process.argv[2]!);
const since = () => performance.timeOrigin + performance.now() - startedMs;
const loadedMs = since();
const replica = await openReplica("s3://bucket/db", {
  endpoint,
  credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "any" },
  write: true,
  bufferPath: path,
  hydrate,
});
const openMs = since();
const database = replica.connect();
database.exec("UPDATE orders SET amount = amount + 1 WHERE id = 4711");
const committedMs = since();
await replica.sync();
const storedMs = since();
await replica.hydrated();
const hydratedMs = since();
const { roundTrips, getRequests, listRequests } = replica.stats();
await replica.close();
console.log(
  JSON.stringify({
    loadedMs,
    openMs,
    committedMs,
    storedMs,
    hydratedMs,
    roundTrips,
    requests: getRequests + listRequests,
  }),
);
process.exit(0);
