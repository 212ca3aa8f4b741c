/**
 * A process that boots on a replica which it writes and brings to a local copy, to be killed. Lines on its
 * standard output: `open`, `first N` the last transaction it found, `x N PHASE` one was committed, `read PHASE`
 * what was read is right, `pages N TOTAL`, `whole`, and `wrong` with words.
 *
 * @module
 */
import { writeSync } from "node:fs";
import process from "node:process";
import { type OpenOptions, openReplica, type ReplicaDatabase } from "../../mod.ts";
import { rowsOf } from "../replica/drivers.ts";
import { pause } from "../replica/following.ts";
import { Random } from "../support/random.ts";
import { BootModel, digestOf, lastOf, type Queried, statementsOf } from "./boot_work.ts";

/** How it works. */
export interface BootOrder extends OpenOptions {
  readonly url: string;
  readonly seed: number;
  /** `check`: all is read before and after the copy is whole, then it ends by itself. */
  readonly way: "write" | "read" | "check";
}

const { url, seed, way, ...options } = JSON.parse(process.argv[2]!) as BootOrder;
const random = new Random(seed);
const tell = (line: string) => writeSync(1, `${line}\n`);

const replica = await openReplica(url, options);
tell("open");
replica.on("hydration", ({ pages, pagesTotal }) => tell(`pages ${pages} ${pagesTotal}`));
const db: ReplicaDatabase = replica.connect();
const queried: Queried = { rows: (sql, ...parameters) => rowsOf(db, sql, ...parameters) };
const model = new BootModel();
model.advance(lastOf(queried));
tell(`first ${model.last}`);

/** Commits, reads and commits again, until the end. */
async function work(): Promise<never> {
  for (let isWhole = false;;) {
    const phase = replica.hydration?.phase;
    if (phase === "whole" && !isWhole) tell("whole");
    isWhole ||= phase === "whole";
    if (way === "write") {
      const i = model.last + 1;
      db.exec(`BEGIN IMMEDIATE; ${statementsOf(i)}; COMMIT`);
      model.advance(i);
      tell(`x ${i} ${phase}`);
    }
    const fault = model.faultOf(queried, random);
    tell(fault === undefined ? `read ${phase}` : `wrong ${fault}`);
    await pause(2);
  }
}

if (way !== "check") await work();
const before = digestOf(queried);
await replica.hydrated();
tell(`digests ${before} ${digestOf(queried)}`);
db.close();
await replica.close();
