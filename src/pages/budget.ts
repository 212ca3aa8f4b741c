/**
 * Budget: what a connection's read transaction may spend, and has spent.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { BudgetError } from "../errors.ts";

/** A replica's connection; 0 is nobody, who has no bounds. */
export interface Spender {
  readonly native: Native;
  readonly replicaId: number;
  readonly connection: number;
}

/** What is left; Infinity where there is no bound. */
export interface Budget {
  readonly requests: number;
  readonly bytes: number;
}

/** Words of what the shim tells: requests, their bound, bytes, their bound; a bound of 0 is none. */
const SPENT_WORDS = 4;

/** Undefined when the connection is gone. */
function spentBy({ native, replicaId, connection }: Spender): readonly number[] | undefined {
  const words = new BigUint64Array(SPENT_WORDS);
  const bytes = new Uint8Array(words.buffer);
  if (connection !== 0 && native.calls.ls_connection_spent(replicaId, connection, bytes) < 0) {
    return undefined;
  }
  return Array.from(words, Number);
}

/** What the connection's read transaction may spend on pages that it has not asked for: half of its bounds. */
export function spareOf(spender: Spender): Budget {
  const spent = spentBy(spender);
  if (spent === undefined) return { requests: 0, bytes: 0 }; // nobody will come for them
  const [requests, requestsMax, bytes, bytesMax] = spent as [number, number, number, number];
  const spare = (spent: number, most: number) => most === 0 ? Infinity : most / 2 - spent;
  return { requests: spare(requests, requestsMax), bytes: spare(bytes, bytesMax) };
}

/**
 * Called before a request is made for a page that the connection waits for; `name` is the replica's.
 *
 * @throws {BudgetError} its transaction has reached a bound
 */
export function checkBudget(spender: Spender, pgno: number, name: string): void {
  const spent = spentBy(spender);
  if (spent === undefined) return;
  const [requests, requestsMax, bytes, bytesMax] = spent as [number, number, number, number];
  const act = `Cannot read page ${pgno} of ${name}: this transaction has`;
  if (requestsMax > 0 && requests >= requestsMax) {
    throw new BudgetError(`${act} made ${requests} requests, expected at most ${requestsMax} (maxRequests)`);
  }
  if (bytesMax > 0 && bytes >= bytesMax) {
    throw new BudgetError(`${act} moved ${bytes} bytes, expected at most ${bytesMax} (maxBytes)`);
  }
}
