/**
 * A reader with a local copy, in a process that is to be killed. Lines on its standard output: `open`,
 * `pages N` as it comes, `whole TXID` each time it is whole, `sum` and an answer for each line that comes in.
 * With `commits` it writes: `first` and what it found, `x` and what is committed.
 *
 * @module
 */
import { writeSync } from "node:fs";
import process from "node:process";
import { type OpenOptions, openReplica } from "../../mod.ts";

const tell = (line: string) => writeSync(1, `${line}\n`);

interface Order extends OpenOptions {
  readonly url: string;
  readonly sql?: string;
  readonly commits?: boolean;
}

const { url, sql, commits, ...options } = JSON.parse(process.argv[2]!) as Order;
const replica = await openReplica(url, options);
tell("open");
replica.on("hydration", ({ pages }) => tell(`pages ${pages}`));
const db = replica.connect();
let toldTxid = 0n;
setInterval(() => {
  const { phase, txid = 0n } = replica.hydration ?? {};
  if (phase === "failed") tell("failed");
  if (phase !== "whole" || txid === toldTxid) return;
  toldTxid = txid;
  tell(`whole ${txid}`);
}, 5);
function commit(): void {
  const x = Number(Object.values(db.prepare("SELECT x FROM v").get() as object)[0]) + 1;
  db.exec(`BEGIN; UPDATE v SET x = ${x}; UPDATE k SET x = randomblob(400) WHERE id % 40 = ${x % 40}; COMMIT`);
  tell(`x ${x}`);
}
if (commits) {
  tell(`first ${Object.values(db.prepare("SELECT x FROM v").get() as object)[0]}`);
  setInterval(commit, 2);
}

process.stdin.on("data", () => tell(`sum ${JSON.stringify(db.prepare(sql ?? "SELECT 1").all())}`));
process.stdin.on("end", async () => {
  db.close();
  await replica.close();
  tell("closed");
  process.exit(0);
});
