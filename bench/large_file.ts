/**
 * What does a follower move when a whole-database level-0 file arrives, as after a VACUUM?
 *
 * `npm run bench -- large_file [pages]` · a database of incompressible pages (262,144 of 4 KiB unless given: 1 GiB), its
 * snapshot opened, then a level-0 file with all of its pages.
 *
 * @module
 */
import process from "node:process";
import { openReplica } from "../mod.ts";
import { withReplicaFolder } from "../tests/support/replica_folder.ts";
import { table } from "./support/measure.ts";

const pages = Number(process.argv[2] ?? 262_144);
const megabytes = (bytes: number) => (bytes / 1e6).toFixed(2);

await withReplicaFolder({}, async (folder) => {
  folder.record(`
    CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${pages})
    INSERT INTO t SELECT i, randomblob(4040) FROM n;`);
  folder.snapshot();
  await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
  const db = replica.connect();
  const row = `SELECT id, length(x) AS size FROM t WHERE id = ${Math.floor(pages / 2)}`;
  db.prepare(row).get();
  const txid = folder.step("UPDATE t SET x = randomblob(4040)");
  const size = folder.sizeOf(0, txid, txid);
  const mark = replica.stats();
  const started = performance.now();
  await replica.refresh();
  const seenMs = performance.now() - started;
  if (replica.txid !== BigInt(txid)) throw new Error(`TXID ${replica.txid} is seen, expected ${txid}`);
  const followed = replica.stats(mark);
  db.prepare(row).get();
  const { bytes } = replica.stats(mark);
  const figures = {
    "file MB": megabytes(size),
    pages: replica.size.commit,
    "follower moved MB": megabytes(followed.bytes),
    requests: followed.getRequests + followed.listRequests,
    "seen after ms": Math.round(seenMs),
    "with a row of it, MB": megabytes(bytes),
  };
  console.log(table([figures]));
  db.close();
});
