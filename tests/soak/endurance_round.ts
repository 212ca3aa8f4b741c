/**
 * What a reader does again and again that leaves nothing behind: opens a replica, a connection, a thread, and closes it.
 *
 * @module
 */
import { Worker } from "node:worker_threads";
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import { InvariantViolation } from "../support/invariant_writer_check.ts";
import type { Random } from "../support/random.ts";
import type { PlainDatabase } from "../support/sqlite.ts";
import { checkOnce } from "./endurance_check.ts";
import { type Ledger, nameOf, textOf } from "./endurance_ledger.ts";
import type { RoundThreadEnd, RoundThreadStart } from "./endurance_thread.ts";
import { sleep } from "./follow_reader.ts";
import { connectPlain } from "./replica_connection.ts";

/** How long a copy may take to be whole, in ms. */
const COPY_MS = 120_000;

/** How long a core lingers after its last replica, and more, in ms. */
const CORE_MS = 2_500;

/** Errors of the past that are in order at any time: its files are deleted meanwhile. */
const PAST = ["RestorePlanError", "StateGoneError"];

/** Bad weather is told by errors. */
export const QUIET: OpenOptions = { log: () => {} };

/** Of so many rounds, two start a thread, one of them early: runtimes keep some KB of each thread that has ended. */
const THREAD_EVERY = 50;
const HURRYING_THREAD_EVERY = 10;
const FIRST_THREADS = [3, 8];

/** Whether a round is for a thread of its own: there are more of them while a process hurries, to have met all that they leave. */
export function isThreadRound(round: number, isHurrying: boolean): boolean {
  return FIRST_THREADS.includes(round % (isHurrying ? HURRYING_THREAD_EVERY : THREAD_EVERY));
}

/** What surrounds a round. */
export interface RoundContext {
  readonly ledger: Ledger;
  readonly random: Random;
}

interface Failed {
  readonly replica: Replica | undefined;
  readonly beganMs: number;
  readonly expected?: readonly string[];
}

/** Books what was thrown. */
export function bookError(
  ledger: Ledger,
  what: string,
  error: unknown,
  { replica, beganMs, expected = [] }: Failed,
): void {
  if (error instanceof InvariantViolation) return ledger.fault(`${what}: ${error.message}`);
  const reason = replica?.lastError;
  ledger.book({ what, text: textOf(error, reason), name: nameOf(error, reason), beganMs, expected });
}

/** Opens a replica, looks at the newest state and a past one, and closes it, before or after its connections. */
export async function openRound(
  what: string,
  { url, options }: { url: string; options: OpenOptions },
  { ledger, random }: RoundContext,
): Promise<void> {
  const beganMs = Date.now();
  let replica: Replica | undefined;
  const databases: PlainDatabase[] = [];
  try {
    replica = await openReplica(url, { ...QUIET, ...options });
    databases.push(connectPlain(replica));
    if (options.hydrate) await replica.hydrated({ timeoutMs: COPY_MS });
    checkOnce(databases[0]!, "marks");
    await pastRound(replica, databases, { ledger, random });
    ledger.count(what);
  } catch (error) {
    bookError(ledger, what, error, { replica, beganMs });
  }
  if (random.next(2) === 0) { for (const database of databases.splice(0)) database.close(); }
  await replica?.close();
  for (const database of databases) database.close();
}

/** Looks at some state of the past, on a connection that is added to `databases`. */
export async function pastRound(
  replica: Replica,
  databases: PlainDatabase[],
  { ledger, random }: RoundContext,
): Promise<void> {
  const beganMs = Date.now();
  try {
    const points = await replica.points();
    const { txid } = points[random.next(points.length)]!;
    databases.push(connectPlain(replica, { asOf: txid }));
    checkOnce(databases.at(-1)!, "marks");
    ledger.count("past");
  } catch (error) {
    bookError(ledger, "past", error, { replica, beganMs, expected: PAST });
  }
}

/** Runs a thread for one round, and books what it found. */
export async function threadRound(what: string, start: RoundThreadStart, ledger: Ledger): Promise<void> {
  const beganMs = Date.now();
  const worker = new Worker(new URL("./endurance_thread.ts", import.meta.url), { workerData: start });
  const { violation, error } = await new Promise<RoundThreadEnd>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  // Its core ends by itself, or with it.
  if ("url" in start && Math.random() < 0.5) await sleep(CORE_MS);
  await worker.terminate();
  if (violation !== undefined) ledger.fault(`${what}: ${violation}`);
  else if (error) ledger.book({ what, ...error, beganMs });
  else ledger.count(what);
}
