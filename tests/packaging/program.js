/**
 * What a user's first program may do, the same for every way to install: queries, looks back, writes, restores, and opens
 * one replica in S3. Tells what it saw as one line of JSON.
 *
 * Its argument is JSON: `{ folder, txid, s3, credentials, work }`.
 */
import { openReplica } from "@x/litestream-vfs";
import process from "node:process";

const { folder, txid, s3, credentials, work } = JSON.parse(process.argv.at(-1));
const COUNT = "SELECT count(*) AS items, sum(length(body)) AS bytes FROM item";
const told = {};

function rows(db, sql) {
  const found = db.prepare(sql).all().map((row) => ({ ...row }));
  db.close();
  return found;
}

async function reading(url, options, read) {
  const replica = await openReplica(url, options);
  try {
    return await read(replica);
  } finally {
    await replica.close();
  }
}

await reading(folder, {}, async (replica) => {
  told.folder = rows(replica.connect(), COUNT);
  told.past = rows(replica.connect({ asOf: BigInt(txid) }), COUNT);
  await replica.restore(`${work}/restored.db`);
});

await reading(`file://${work}/written`, { write: true, bufferPath: `${work}/log` }, async (replica) => {
  const db = replica.connect();
  db.exec("CREATE TABLE note(text); INSERT INTO note VALUES ('kept')");
  db.close();
  told.txid = String(await replica.sync());
});
told.written = await reading(`file://${work}/written`, {}, (replica) => {
  return rows(replica.connect(), "SELECT text FROM note");
});

told.s3 = await reading(s3, { credentials }, (replica) => rows(replica.connect(), COUNT));
console.log(JSON.stringify(told));
