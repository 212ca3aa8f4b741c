/**
 * A writer in a process of its own, which does what it is told line by line: see rival.ts.
 *
 * @module
 */
import { writeSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import type { Answer, Command, Told } from "./rival.ts";

function insert(replica: Replica, who: string): void {
  const db = replica.connect();
  try {
    // another's commit may be seen in the middle of a statement, which then begins anew
    db.exec("PRAGMA busy_timeout = 60000");
    db.exec("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, who TEXT)");
    db.exec(`INSERT INTO t(who) VALUES ('${who}')`);
  } finally {
    db.close();
  }
}

function rows(replica: Replica): string[] {
  const db = replica.connect();
  try {
    return db.prepare("SELECT who FROM t ORDER BY rowid").all().map(({ who }) => who);
  } finally {
    db.close();
  }
}

/** Commits and stores, one after the other, until it has as many or fails. */
async function race(replica: Replica, who: string, count: number): Promise<Told> {
  const stored: string[] = [];
  const txids: number[] = [];
  for (let i = 0; i < count; i++) {
    const row = `${who}${i}`;
    try {
      insert(replica, row);
    } catch (error) {
      const failure = replica.lastError ?? error as Error;
      return { stored, txids, waiting: [], failure: plain(failure) };
    }
    try {
      txids.push(Number(await replica.sync()));
      stored.push(row);
    } catch (error) {
      return { stored, txids, waiting: [row], failure: plain(error as Error) };
    }
  }
  return { stored, txids, waiting: [] };
}

function plain({ name, message }: Error): { name: string; message: string } {
  return { name, message };
}

async function run(replica: Replica, command: Command): Promise<unknown> {
  switch (command.act) {
    case "insert":
      return insert(replica, command.who);
    case "rows":
      return rows(replica);
    case "sync":
      return Number(await replica.sync());
    case "refresh":
      return Number(await replica.refresh());
    case "race":
      return await race(replica, command.who, command.count);
    case "close":
      return await replica.close();
  }
}

function answer(what: Answer): void {
  writeSync(1, `${JSON.stringify(what)}\n`);
}

const { url, options } = JSON.parse(process.argv[2]!) as { url: string; options: OpenOptions };
let replica: Replica;
try {
  replica = await openReplica(url, options);
} catch (error) {
  answer({ error: plain(error as Error) });
  process.exit(1);
}
answer({ value: Number(replica.txid) });
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as Command;
  try {
    answer({ value: await run(replica, command) });
  } catch (error) {
    const told = replica.lastError;
    answer({ error: plain(error as Error), ...(told && { lastError: plain(told) }) });
  }
  if (command.act === "close") break;
}
process.exit(0);
