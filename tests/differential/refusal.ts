/**
 * Moments that ours refuses: then Litestream must refuse them too.
 *
 * @module
 */
import { ObjectGoneError, RestorePlanError, StateGoneError } from "../../src/errors.ts";
import { modelTxid, timedFiles } from "../replica/past_model.ts";
import type { Moment } from "./moment.ts";
import type { Reading, RunState } from "./run_state.ts";

/** How often a moment that was refused is asked for again: a listing may have been torn. */
const RETRIES = 2;

/** None of the files is left that ours knew: what is there may be another database's, and nothing is inferred. */
const UNKNOWABLE = /nothing tells that what is there now is the same database/;

/** A transaction whose state was deleted under it. */
export class LostState extends Error {
  /** The state's. */
  readonly txid: bigint;

  constructor(txid: bigint, cause: Error) {
    super(`TXID ${txid} is lost: ${cause.message}`, { cause });
    this.txid = txid;
  }
}

/** Whether it says, as documented, that the state is not there any more, or not yet. */
export function isRefusal(error: unknown): error is Error {
  const classes = [LostState, RestorePlanError, StateGoneError, ObjectGoneError];
  return chainOf(error).some((each) => classes.some((Class) => each instanceof Class));
}

/** An error with its causes, for a person. */
export function described(error: unknown): string {
  return chainOf(error).map(({ name, message }) => `${name}: ${message}`).join(" < ");
}

function chainOf(error: unknown): Error[] {
  const chain: Error[] = [];
  for (let each = error; each instanceof Error; each = each.cause) chain.push(each);
  return chain;
}

/** Has a moment read; `"refused"` where ours refuses it, and Litestream as well. */
export async function granted(
  run: RunState,
  reading: Reading,
  moment: Moment,
  read: () => Promise<void>,
): Promise<"read" | "refused"> {
  const refused: string[] = [];
  for (;;) {
    try {
      await read();
      if (refused.length > 0) run.counts.transient++;
      run.notes.push(...refused.map((text) => `${moment.text} was refused and then granted: ${text}`));
      return "read";
    } catch (error) {
      if (!isRefusal(error)) throw error;
      if (await isRefusedRightly(run, reading, moment, error)) {
        run.counts.refusals++;
        return "refused";
      }
      refused.push(described(error));
      if (refused.length <= RETRIES) continue;
      run.differ(
        "reach",
        reading,
        `${moment.text} is refused, and Litestream restores it: ${refused.at(-1)}`,
      );
      return "refused";
    }
  }
}

async function isRefusedRightly(
  run: RunState,
  reading: Reading,
  { asOf }: Moment,
  error: Error,
): Promise<boolean> {
  if (UNKNOWABLE.test(described(error))) {
    await (await run.readers.get(reading.reader)).replica.refresh(); // which must be possible
    return true;
  }
  const gone = error instanceof LostState ? error.txid : asOf;
  if (gone === undefined) return false;
  if (typeof gone === "bigint") {
    const isYetToCome = gone > run.world.synced(reading.settings.primary);
    return isYetToCome || await run.oracleOf(reading).live(gone) === undefined;
  }
  const { source, layout } = run.placeOf(reading).archive;
  return modelTxid(await timedFiles(source, layout), gone.getTime()) === undefined;
}
