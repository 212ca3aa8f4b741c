/**
 * A thread of {@link ./follow_ours.ts}: the probe, the tail, or connections that check.
 *
 * @module
 */
import { parentPort, workerData } from "node:worker_threads";
import { joinReplica, type SharedReplica } from "../../mod.ts";
import type { Query } from "../support/invariant_writer_check.ts";
import { openQuery } from "./follow_query.ts";
import { type Finding, FollowReader, type ReaderReport, sleep } from "./follow_reader.ts";

/** How a thread begins. */
export interface ThreadStart {
  readonly shared: SharedReplica;
  readonly name: string;
  /** What it does: looks for what is new, checks each new state at once, or checks with many connections. */
  readonly role: "probe" | "tail" | "readers";
  /** Of readers. */
  readonly connections: number;
  readonly pauseMs: number;
  /** Longest that the first connection's transactions stay open. */
  readonly holdMs: number;
}

/** What a thread says. */
export type ThreadMessage =
  | { readonly type: "beat" }
  | { readonly type: "finding"; readonly finding: Finding }
  /** A TXID was seen for the first time. */
  | { readonly type: "seen"; readonly txid: string; readonly atMs: number }
  /** How long after the writer's clock a generation was seen for the first time, in ms. */
  | { readonly type: "delays"; readonly delays: readonly number[] }
  | { readonly type: "report"; readonly reports: readonly ReaderReport[] };

/** How often the probe looks, in ms. */
const PROBE_MS = 10;

const start = workerData as ThreadStart;
const port = parentPort!;
const tell = (message: ThreadMessage) => port.postMessage(message);
const replica = await joinReplica(start.shared);
let isOver = false;
port.on("message", () => isOver = true);
setInterval(() => tell({ type: "beat" }), 500);

/** Pages that SQLite keeps for every other connection, so that a check reads most of its pages from the replica. */
const SMALL_CACHE_PAGES = 16;

function reader(
  name: string,
  { holdMs, isSmall }: { holdMs: number; isSmall: boolean },
): { reader: FollowReader; query: Query } {
  const query = openQuery(replica.connect());
  if (isSmall) query(`PRAGMA cache_size = ${SMALL_CACHE_PAGES}`);
  const options = {
    reader: name,
    query,
    pauseMs: start.pauseMs,
    holdMs,
    reasonOf: (error: unknown) => `${error}: ${replica.lastError ?? "no reason"}`,
    onFinding: (finding: Finding) => tell({ type: "finding", finding }),
  };
  return { reader: new FollowReader(options), query };
}

async function probe(): Promise<FollowReader[]> {
  const { reader: looking, query } = reader(start.name, { holdMs: 0, isSmall: false });
  let generation = Number.MAX_SAFE_INTEGER;
  for (let wasOver = false; !wasOver;) {
    wasOver = isOver; // one more look after the end
    const state = looking.look();
    const atMs = Date.now();
    if (state) {
      tell({ type: "seen", txid: state.txid, atMs });
      const since = generation;
      generation = state.generation;
      try {
        const rows = query(
          `SELECT ms FROM clock WHERE generation > ${since} AND generation <= ${generation}`,
        );
        tell({ type: "delays", delays: rows.map(({ ms }) => atMs - Number(ms)) });
      } catch {
        await looking.transaction("marks"); // tells of it where it fails again
      }
    }
    await sleep(PROBE_MS);
  }
  return [looking];
}

async function tail(): Promise<FollowReader[]> {
  const { reader: tailing } = reader(start.name, { holdMs: 0, isSmall: true });
  while (!isOver) {
    if (tailing.look()) await tailing.transaction("marks");
    await sleep(PROBE_MS);
  }
  return [tailing];
}

async function check(): Promise<FollowReader[]> {
  const readers = Array.from(
    { length: start.connections },
    (_, i) =>
      reader(`${start.name}.${i}`, { holdMs: i === 0 ? start.holdMs : 0, isSmall: i % 2 === 1 }).reader,
  );
  await Promise.all(readers.map((each) => each.run(() => isOver)));
  return readers;
}

const readers = await { probe, tail, readers: check }[start.role]();
// the last state, of which the one who asked for the end knows that it is there
for (const each of readers) await each.transaction("rows");
tell({ type: "report", reports: readers.map((each) => each.report()) });
