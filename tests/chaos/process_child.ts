/**
 * A process that reads or writes until its standard input ends, whatever is done to it. Lines on its standard output: `open` ·
 * `found N` the last transaction that a writer found · `told N` it is committed · `sync N` all up to there is stored ·
 * `seen TXID STATE` · `fault NAME: MESSAGE` · `closed`.
 *
 * @module
 */
import { writeSync } from "node:fs";
import process from "node:process";
import { type OpenOptions, openReplica, type Replica, ReplicaError } from "../../mod.ts";
import { rowsOf, valueOf } from "../replica/drivers.ts";
import { STATE_QUERY } from "./lane.ts";

/** What a process is told. */
export interface ChildOrder {
  readonly role: "read" | "write";
  readonly url: string;
  readonly options: OpenOptions;
}

const { role, url, options } = JSON.parse(process.argv[2]!) as ChildOrder;
const PAUSE_MS = 10;
/** Failures before everything is opened anew. */
const FAULTS_MAX = 5;

let isOver = false;
process.stdin.on("end", () => isOver = true);
process.stdin.resume();

function tell(line: string): void {
  writeSync(1, `${line}\n`);
}

/** The reason of a failure, where there is one of ours. */
function tellFault(replica: Replica | undefined, error: unknown): void {
  if (error instanceof ReplicaError) {
    return tell(`fault ${error.name}: ${error.message.replaceAll("\n", " ")}`);
  }
  const reason = String(replica?.lastError ?? "").replaceAll("\n", " ");
  tell(`fault ${reason || `none: ${error}`}`);
}

async function useOne(): Promise<void> {
  let replica: Replica | undefined;
  try {
    replica = await openReplica(url, { ...options, log: () => {} });
    tell("open");
    if (role === "write") await write(replica);
    else await read(replica);
  } catch (error) {
    tellFault(replica, error);
  }
  await replica?.close().catch((error) => tellFault(replica, error));
  await pause(PAUSE_MS);
}

async function write(replica: Replica): Promise<void> {
  const db = replica.connect();
  try {
    db.exec("CREATE TABLE IF NOT EXISTS n(i INTEGER PRIMARY KEY, pad BLOB)");
    let last = Number(valueOf(db, "SELECT coalesce(max(i), 0) FROM n"));
    tell(`found ${last}`);
    for (let faults = 0; !isOver && faults < FAULTS_MAX;) {
      try {
        db.exec(`BEGIN IMMEDIATE; INSERT INTO n VALUES (${last + 1}, randomblob(400)); COMMIT`);
        tell(`told ${++last}`);
        if (last % 5 === 0) {
          await replica.sync();
          tell(`sync ${last}`);
        }
      } catch (error) {
        tellFault(replica, error);
        faults++;
        if (error instanceof ReplicaError) continue; // it was not stored: the commit holds
        db.exec("ROLLBACK");
        return;
      }
      await pause(PAUSE_MS);
    }
  } finally {
    db.close();
  }
}

async function read(replica: Replica): Promise<void> {
  const db = replica.connect();
  try {
    for (let faults = 0; !isOver && faults < FAULTS_MAX;) {
      try {
        db.exec(STATE_QUERY[0]!);
        const { txid, state } = rowsOf(db, STATE_QUERY[1]!)[0] as { txid: string; state: string };
        tell(`seen ${txid} ${state}`);
      } catch (error) {
        tellFault(replica, error);
        faults++;
      }
      endTransaction(db);
      await pause(PAUSE_MS);
    }
  } finally {
    db.close();
  }
}

function endTransaction(db: { exec(sql: string): unknown }): void {
  try {
    db.exec("COMMIT");
  } catch {
    // a statement that failed has ended it
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

do await useOne(); while (!isOver);
tell("closed");
process.exit(0);
