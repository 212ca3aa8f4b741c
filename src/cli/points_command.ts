/**
 * `points`: lists the states that can be reached.
 *
 * @module
 */
import { formatTxid } from "../ltx/txid.ts";
import { openReplica } from "../open_replica.ts";
import { parseMoment } from "../time/time_expression.ts";
import type { Point } from "../time/points.ts";
import {
  type CommandArguments,
  countOf,
  expectNoMore,
  isOn,
  MODE_OPTIONS,
  modeOf,
  textOf,
  urlAndRest,
} from "./arguments.ts";
import type { CellValue } from "./cell_text.ts";
import { type Command, openOptions, rowFormat } from "./command.ts";
import { EXIT } from "./exit_code.ts";
import { rowWriter } from "./row_writer.ts";
import { amountText } from "./units.ts";
import { UsageError } from "./usage_error.ts";

/** Points that a terminal shows where nothing is said. */
const LIMIT = 100;

/** Columns of the listing; the last is the time since the point before, in ms. */
export const POINT_COLUMNS = ["txid", "time", "level", "step_ms"];

/** A point as a row of {@link POINT_COLUMNS}. */
export function pointRow({ txid, time, level, granularityMs }: Point): CellValue[] {
  return [formatTxid(txid), time.toISOString(), BigInt(level), BigInt(Math.round(granularityMs))];
}

/** Lists states. */
export const pointsCommand: Command = {
  options: {
    ...MODE_OPTIONS,
    from: { type: "string" },
    to: { type: "string" },
    exact: { type: "boolean" },
    limit: { type: "string" },
  },
  async run(context) {
    const { given, io, out, err, interruption: { signal } } = context;
    const { url, rest } = urlAndRest(given, io.env);
    expectNoMore(rest, "a URL");
    const format = rowFormat(out, modeOf(given), "csv", !isOn(given, "no-header"));
    const limit = countOf(given, "limit") ?? (out.isTerminal ? LIMIT : 0);
    const [from, to] = [await timeOf(given, "from"), await timeOf(given, "to")];
    const replica = await openReplica(url, { ...openOptions(context), pollIntervalMs: 0, signal });
    try {
      const all = await replica.points({ exact: isOn(given, "exact"), from, to, signal });
      const shown = limit > 0 ? all.slice(-limit) : all;
      const writer = rowWriter(format);
      await out.write(writer.begin(POINT_COLUMNS));
      for (const point of shown) await out.write(writer.row(pointRow(point)));
      await out.write(writer.end());
      if (shown.length < all.length) {
        const before = shown[0]!.time.toISOString();
        const words = amountText(all.length - shown.length, "earlier point");
        await err.lines(`${words} left out: --to ${before} shows those, --limit 0 all`);
      }
      return EXIT.ok;
    } finally {
      await replica.close({ force: true });
    }
  },
};

/** A bound in time; `latest` is none. */
async function timeOf(given: CommandArguments, name: string): Promise<Date | undefined> {
  const text = textOf(given, name);
  if (text === undefined) return undefined;
  const moment = await parseMoment(text, Date.now());
  if (moment === "latest") return undefined;
  if (moment.ms !== undefined) return new Date(moment.ms);
  throw new UsageError(`Cannot use option --${name}: a TXID, expected a time`);
}
