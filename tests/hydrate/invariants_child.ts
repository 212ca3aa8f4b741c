/**
 * A reader with a local copy that checks every state it sees, until it is killed. Prints a line of JSON for
 * each: `seen`, `violation`, or `lost`.
 *
 * @module
 */
import { writeSync } from "node:fs";
import process from "node:process";
import { type OpenOptions, openReplica, StateGoneError } from "../../mod.ts";
import { openQuery } from "../soak/follow_query.ts";
import {
  checkOrder,
  checkState,
  InvariantViolation,
  type SeenState,
  seenState,
} from "../support/invariant_writer_check.ts";
import { Random } from "../support/random.ts";

const { url, seed, ...options } = JSON.parse(process.argv[2]!) as OpenOptions & { url: string; seed: number };
const random = new Random(seed);

/** After so long level 0 may have lost a state's files. */
const L0_RETENTION_MS = 3_000;

const tell = (line: unknown) => writeSync(1, `${JSON.stringify(line)}\n`);
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const replica = await openReplica(url, options);
const mark = replica.mark();

/** A state whose files may be deleted by now can be lost, which is told in words; all else must not happen. */
function toldOf(error: unknown, ageMs: number): object {
  if (error instanceof InvariantViolation) return { violation: error.message, kind: error.kind };
  const { lastError } = replica;
  if (lastError instanceof StateGoneError && ageMs >= L0_RETENTION_MS) return { lost: true };
  return { violation: `${error}: ${lastError ?? "no reason"}`, kind: "error" };
}

/** Checks state after state; one that holds them keeps each for a while. */
async function check(holdMs: number): Promise<void> {
  const db = replica.connect();
  const query = openQuery(db);
  let before: SeenState | undefined;
  for (;;) {
    db.exec("BEGIN");
    let madeMs = Date.now();
    try {
      const state = seenState(query);
      checkOrder(before, state);
      madeMs = Number(query(`SELECT ms FROM clock WHERE generation = ${state.generation}`)[0]!.ms);
      const depth = random.next(5) === 0 ? "integrity" : random.next(2) ? "rows" : "marks";
      checkState(query, state, depth);
      if (holdMs > 0) await pause(random.next(holdMs));
      if (holdMs > 0) checkState(query, state, "rows");
      before = state;
      tell({ seen: state.txid, local: replica.stats(mark).localReads, phase: replica.hydration?.phase });
    } catch (error) {
      tell(toldOf(error, Date.now() - madeMs));
    }
    try {
      db.exec("COMMIT");
    } catch {
      // the error has ended the transaction
    }
    await pause(20);
  }
}

await Promise.all([check(0), check(0), check(1_500)]);
