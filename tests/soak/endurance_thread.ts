/**
 * A thread that lives for one round: joins a replica, or opens one of its own, checks it on two connections, and posts a
 * {@link RoundThreadEnd}. It ends by being terminated.
 *
 * @module
 */
import { parentPort, workerData } from "node:worker_threads";
import { joinReplica, type OpenOptions, openReplica, type Replica, type SharedReplica } from "../../mod.ts";
import { InvariantViolation } from "../support/invariant_writer_check.ts";
import { checkOnce } from "./endurance_check.ts";
import { nameOf, textOf } from "./endurance_ledger.ts";
import { connectPlain } from "./replica_connection.ts";

/** What a thread is given: a replica to join, or one to open. */
export type RoundThreadStart = { readonly shared: SharedReplica } | {
  readonly url: string;
  readonly options: OpenOptions;
};

/** What a thread found: a violation, an error with its name by {@link nameOf}, or neither. */
export interface RoundThreadEnd {
  readonly violation?: string;
  readonly error?: { readonly text: string; readonly name: string | undefined };
}

const start = workerData as RoundThreadStart;

async function round(): Promise<RoundThreadEnd> {
  let replica: Replica | undefined;
  try {
    replica = "shared" in start
      ? await joinReplica(start.shared)
      : await openReplica(start.url, { ...start.options, log: () => {} });
    const databases = [connectPlain(replica), connectPlain(replica)];
    for (const database of databases) checkOnce(database, "marks");
    for (const database of databases) database.close();
    await replica.close();
    return {};
  } catch (error) {
    if (error instanceof InvariantViolation) return { violation: error.message };
    const { lastError } = replica ?? {};
    await replica?.close();
    return { error: { text: textOf(error, lastError), name: nameOf(error, lastError) } };
  }
}

parentPort!.postMessage(await round());
