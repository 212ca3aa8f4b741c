/**
 * `stats`: what a replica is made of, and what it costs to follow it.
 *
 * @module
 */
import { formatTxid } from "../ltx/txid.ts";
import { openReplica } from "../open_replica.ts";
import type { Replica } from "../replica.ts";
import { priceOf } from "../replica_stats.ts";
import type { LevelSummary } from "../view/level_summary.ts";
import { expectNoMore, isOn, urlAndRest } from "./arguments.ts";
import { type CellValue, visibleText } from "./cell_text.ts";
import { type Command, openOptions, rowFormat } from "./command.ts";
import { EXIT } from "./exit_code.ts";
import type { Output } from "./output.ts";
import { rowWriter } from "./row_writer.ts";
import { amountText, bytesText, countText, dollarsText, durationText } from "./units.ts";

const MONTH_HOURS = 730;
/** A follower asks for the next file each second, and lists four levels twice a minute; once where nothing is written. */
const FOLLOWED = { getRequests: 7_920 * MONTH_HOURS, listRequests: 480 * MONTH_HOURS };
const FOLLOWED_IDLE = { getRequests: 3_600 * MONTH_HOURS, listRequests: 240 * MONTH_HOURS };

/** What is told of a replica. */
export interface ReplicaFacts {
  readonly name: string;
  readonly txid: bigint;
  readonly time: Date | undefined;
  readonly pageSize: number;
  readonly pages: number;
  readonly levels: readonly LevelSummary[];
}

/** Asks a replica. */
export async function factsOf(replica: Replica, signal?: AbortSignal): Promise<ReplicaFacts> {
  const levels = await replica.levels({ signal });
  const { name, txid, time, size: { commit, pageSize } } = replica;
  return { name, txid, time, pageSize, pages: commit, levels };
}

/** Shows facts to a person. */
export async function showFacts(out: Output, facts: ReplicaFacts, nowMs = Date.now()): Promise<void> {
  const { name, txid, time, pageSize, pages, levels } = facts;
  const [files, bytes] = totals(levels);
  const age = time && durationText(Math.max(0, nowMs - time.getTime()));
  const lines = [
    ["replica", name],
    ["txid", formatTxid(txid)],
    ["written", time ? `${time.toISOString()} (${age} ago)` : "unknown"],
    ["database", `${bytesText(pages * pageSize)} (${amountText(pages, "page")} of ${pageSize} bytes)`],
    ["stored", `${bytesText(bytes)} in ${amountText(files, "file")}`],
    ["following", followingText()],
  ];
  for (const [what, found] of lines) {
    await out.write(`${out.paint(what!.padEnd(9), "bold")}  ${visibleText(found!)}\n`);
  }
  await out.write("\n");
  const writer = rowWriter(rowFormat(out, "table", "table"));
  await out.write(writer.begin(["level", "files", "stored", "first txid", "last txid", "oldest", "newest"]));
  for (const level of levels) await out.write(writer.row(levelRow(level)));
  await out.write(writer.end());
}

function followingText(): string {
  const [idle, written] = [priceOf(FOLLOWED_IDLE), priceOf(FOLLOWED)].map(dollarsText);
  return `${idle} a month while nothing is written, else ${written}, at S3 Standard's prices`;
}

function levelRow({ level, files, bytes, minTxid, maxTxid, oldest, newest }: LevelSummary): CellValue[] {
  const what = level === 9 ? "9 snapshots" : level === 0 ? "0 as written" : `${level} compacted`;
  const [from, to] = [formatTxid(minTxid), formatTxid(maxTxid)];
  return [what, countText(files), bytesText(bytes), from, to, oldest.toISOString(), newest.toISOString()];
}

function totals(levels: readonly LevelSummary[]): [files: number, bytes: number] {
  const sum = (of: (level: LevelSummary) => number) => levels.reduce((total, level) => total + of(level), 0);
  return [sum(({ files }) => files), sum(({ bytes }) => bytes)];
}

/** The same for a program. */
function factsJson({ name, txid, time, pageSize, pages, levels }: ReplicaFacts): string {
  const [files, bytes] = totals(levels);
  const facts = {
    replica: name,
    txid: formatTxid(txid),
    time: time?.toISOString() ?? null,
    pageSize,
    pages,
    databaseBytes: pages * pageSize,
    files,
    bytes,
    followerDollarsPerMonth: { idle: priceOf(FOLLOWED_IDLE), written: priceOf(FOLLOWED) },
    levels: levels.map(({ minTxid, maxTxid, ...level }) => ({
      ...level,
      minTxid: formatTxid(minTxid),
      maxTxid: formatTxid(maxTxid),
    })),
  };
  return `${JSON.stringify(facts, undefined, 2)}\n`;
}

/** Tells facts. */
export const statsCommand: Command = {
  options: { json: { type: "boolean" } },
  async run(context) {
    const { given, io, out, interruption: { signal } } = context;
    const { url, rest } = urlAndRest(given, io.env);
    expectNoMore(rest, "a URL");
    const replica = await openReplica(url, { ...openOptions(context), pollIntervalMs: 0, signal });
    try {
      const facts = await factsOf(replica, signal);
      if (isOn(given, "json")) await out.write(factsJson(facts));
      else await showFacts(out, facts);
      return EXIT.ok;
    } finally {
      await replica.close({ force: true });
    }
  },
};
