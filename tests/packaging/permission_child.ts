/**
 * Does one thing with a replica and tells `ok`, or why not. Its argument is JSON: `{ url, options, act, path }`.
 *
 * @module
 */
import { existsSync, readdirSync } from "node:fs";
import process from "node:process";
import { openReplica, type Replica } from "../../mod.ts";
import { until } from "../support/real.ts";

const { url, options, act, path } = JSON.parse(process.argv.at(-1)!);
let isWarned = false;

function log({ message }: { message: string }): void {
  console.log(message);
  isWarned = true;
}

const { cacheDir } = options;
const isKept = () => existsSync(cacheDir) && readdirSync(cacheDir, { recursive: true }).length > 0;

const acts: Record<string, (replica: Replica) => Promise<void> | void> = {
  query(replica) {
    const db = replica.connect();
    db.prepare("SELECT count(*) FROM sqlite_schema").get();
    db.close();
  },
  async cache(replica) {
    await acts.query!(replica);
    await until("what was fetched is kept, or cannot be", () => isWarned || isKept());
    if (isWarned) throw new Error("warned");
  },
  async write(replica) {
    const db = replica.connect();
    db.exec("CREATE TABLE t(a)");
    db.close();
    await replica.sync();
  },
  async hydrate(replica) {
    await replica.hydrated();
  },
  async restore(replica) {
    await replica.restore(path);
  },
};

try {
  const replica = await openReplica(url, { log, ...options });
  try {
    await acts[act]!(replica);
  } finally {
    await replica.close();
  }
  console.log("ok");
} catch (error) {
  console.log(String(error));
}
