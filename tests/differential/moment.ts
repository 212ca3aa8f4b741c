/**
 * Moments that readings ask for, by what they name when it comes to it.
 *
 * @module
 */
import type { ReplicaDatabase } from "../../mod.ts";
import { ReplicaError, RestorePlanError } from "../../src/errors.ts";
import { formatTxid } from "../../src/ltx/txid.ts";
import { rowsOf } from "../replica/drivers.ts";
import type { OpenReader } from "./readers.ts";
import type { Reading, RunState } from "./run_state.ts";

/** A moment; without `asOf` the newest. */
export interface Moment {
  readonly asOf?: bigint | Date;
  readonly text: string;
}

/** The newest state, as far as it is known. */
export const NEWEST: Moment = { text: "latest" };

/** The state of a TXID. */
export function ofTxid(txid: bigint): Moment {
  return { asOf: txid, text: `TXID ${txid}` };
}

/** The state of a time. */
export function ofTime(ms: number): Moment {
  const asOf = new Date(ms);
  return { asOf, text: asOf.toISOString() };
}

/** A time since the scenario began, by its part of what has passed. */
export function timeAt({ world }: RunState, part: number): number {
  return world.startMs + Math.floor(part * (Date.now() - world.startMs));
}

/** What a reading's moment names now. */
export async function momentOf(
  run: RunState,
  { moment, settings }: Reading,
  opened: OpenReader,
): Promise<Moment> {
  const { replica } = opened;
  const { by, part = 0 } = moment;
  const synced = run.world.synced(settings.primary);
  if (by === "refreshed") {
    const txid = await replica.refresh();
    if (txid < synced) throw new ReplicaError(`refresh() gives TXID ${txid}, expected ${synced} or later`);
  }
  if (by === "txid") {
    const newest = Number(replica.txid > synced ? replica.txid : synced);
    return ofTxid(1n + BigInt(Math.floor(part * (newest + 1))));
  }
  if (by === "point") {
    const points = await replica.points();
    if (points.length === 0) {
      throw new ReplicaError("points() lists nothing, expected the newest state at least");
    }
    return ofTxid(points[Math.floor(part * points.length)]!.txid);
  }
  return by === "date" ? ofTime(timeAt(run, part)) : NEWEST;
}

/**
 * Moves an open connection to a moment.
 *
 * @throws {RestorePlanError} the replica does not reach back to it
 */
export function moveTo(db: ReplicaDatabase, { asOf }: Moment): void {
  const text = typeof asOf === "bigint" ? `txid:${formatTxid(asOf)}` : asOf!.toISOString();
  try {
    rowsOf(db, `PRAGMA litestream_time = '${text}'`);
  } catch (cause) {
    const { message } = cause as Error;
    // a PRAGMA has words only
    throw /Cannot (find a state|make restore plan)/.test(message)
      ? new RestorePlanError(message, "unreachable", { cause })
      : new ReplicaError(`Cannot move to ${text}: ${message}`, { cause });
  }
}
