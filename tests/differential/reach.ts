/**
 * Which states there are, once nobody writes any more: then it is a matter of the files alone.
 *
 * @module
 */
import { modelTxid, reachable, type TimedFile, timedFiles } from "../replica/past_model.ts";
import { compareQueries, txidAt } from "./comparison.ts";
import { Draw } from "./draw.ts";
import { ofTime, ofTxid, timeAt } from "./moment.ts";
import { digestOf } from "./oracle.ts";
import type { OpenReader } from "./readers.ts";
import { granted, isRefusal } from "./refusal.ts";
import type { Reading, RunState } from "./run_state.ts";

/** How many TXIDs of a replica are asked of Litestream's own restore, more or less. */
const TXIDS = 8;

/** How many times are asked for. */
const TIMES = 6;

/** Compares which TXIDs and times can be reached: by ours, by `litestream restore`, and by the files. */
export async function compareReach(run: RunState, reading: Reading, opened: OpenReader): Promise<void> {
  const { source, layout } = run.placeOf(reading).archive;
  const files = await timedFiles(source, layout);
  const there = reachable(files);
  const listed = (await opened.replica.points()).map(({ txid }) => Number(txid));
  if (`${listed}` !== `${there}`) run.differ("reach", reading, `points() lists ${listed}, expected ${there}`);
  const draw = new Draw(run.scenario.seed + reading.event);
  const count = Number(run.world.synced(reading.settings.primary)) + 1; // one more than there are
  for (let txid = 1; txid <= count; txid++) {
    if (draw.next(count) < TXIDS) {
      await compareTxid(run, reading, opened, { txid, isThere: there.includes(txid) });
    }
  }
  for (let i = 0; i < TIMES; i++) {
    await compareTime(run, reading, opened, { ms: timeAt(run, draw.next(1000) / 1000), files });
  }
}

async function compareTxid(
  run: RunState,
  reading: Reading,
  opened: OpenReader,
  { txid, isThere }: { txid: number; isThere: boolean },
): Promise<void> {
  const oracle = run.oracleOf(reading);
  const live = await oracle.live(BigInt(txid));
  const told = live === undefined ? "refuses" : "gives";
  if ((live !== undefined) !== isThere) {
    run.differ("reach", reading, `litestream restore ${told} TXID ${txid}`);
  }
  const kept = live === undefined ? undefined : await oracle.at(BigInt(txid));
  if (kept && digestOf(kept.untouched) !== live) {
    run.differ("bytes", reading, `litestream restore makes two files of TXID ${txid}`);
  }
  const moment = ofTxid(BigInt(txid));
  const asked = run.reading({ ...reading, driver: txid, moment: { by: "txid", isMoved: txid % 3 === 0 } });
  const outcome = await granted(run, asked, moment, () => compareQueries(run, asked, opened, moment));
  if ((outcome === "read") !== isThere) run.differ("reach", reading, `TXID ${txid} is ${outcome}`);
}

async function compareTime(
  run: RunState,
  reading: Reading,
  opened: OpenReader,
  { ms, files }: { ms: number; files: readonly TimedFile[] },
): Promise<void> {
  const wanted = modelTxid(files, ms);
  const moment = ofTime(ms);
  const found = await txidAt(run, reading, opened, moment).then(Number, (error) => {
    if (!isRefusal(error)) throw error;
    return undefined;
  });
  if (found !== wanted) {
    run.differ("reach", reading, `${moment.text} shows TXID ${found}, expected ${wanted}`);
  }
}
