/**
 * `restore`: makes a plain SQLite file of a state.
 *
 * @module
 */
import { existsSync, lstatSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { LocalFileError } from "../errors.ts";
import { formatTxid } from "../ltx/txid.ts";
import { openReplica } from "../open_replica.ts";
import { expectNoMore, isOn, momentOf, urlAndRest } from "./arguments.ts";
import { type Command, type CommandContext, openOptions } from "./command.ts";
import { CommandError, EXIT } from "./exit_code.ts";
import { ProgressBar } from "./progress_bar.ts";
import { amountText, bytesText, durationText } from "./units.ts";
import { UsageError } from "./usage_error.ts";

/** Restores. */
export const restoreCommand: Command = {
  options: {
    at: { type: "string" },
    force: { type: "boolean" },
    quiet: { type: "boolean", short: "q" },
  },
  async run(context) {
    const { given, io, out, interruption: { signal } } = context;
    const { url, rest: [file, ...more] } = urlAndRest(given, io.env, 1);
    if (!file) throw new UsageError("Cannot restore: no file is named, expected its path behind the URL");
    expectNoMore(more, "a URL and a file");
    const force = isOn(given, "force");
    if (!force) refuseExisting(file);
    const beganMs = performance.now();
    const replica = await openReplica(url, { ...openOptions(context), pollIntervalMs: 0, signal });
    try {
      const at = momentOf(given, "at");
      const again = at === undefined
        ? `the same command with --at ${formatTxid(replica.txid)} goes on with it`
        : "the same command goes on with it, while --at is the same transaction";
      const { txid, commit, pageSize } = await restoreWatched(
        context,
        { file, again },
        (onProgress) => replica.restore(file, { asOf: at ?? "latest", force, signal, onProgress }),
      );
      const ms = performance.now() - beganMs;
      const bytes = commit * pageSize;
      const size = `${amountText(commit, "page")}, ${bytesText(bytes)}`;
      const speed = `${durationText(ms)}, ${bytesText(Math.round(bytes / ms * 1000))}/s`;
      await out.lines(`Restored ${replica.name} to ${file}: TXID ${formatTxid(txid)}, ${size} in ${speed}`);
      return EXIT.ok;
    } catch (error) {
      throw signal.aborted ? error : explained(error, file, force);
    } finally {
      await replica.close({ force: true });
    }
  },
};

/** `again` tells how it goes on where it is interrupted. */
async function restoreWatched<T>(
  { given, err, interruption }: CommandContext,
  { file, again }: { readonly file: string; readonly again: string },
  restore: (onProgress: ProgressBar["show"]) => Promise<T>,
): Promise<T> {
  const bar = new ProgressBar(err);
  try {
    return await restore((progress) => isOn(given, "quiet") ? undefined : bar.show(progress));
  } finally {
    bar.end();
    if (interruption.signal.aborted && existsSync(`${file}.partial`)) {
      await err.lines(`What has come is kept beside the file: ${again}`);
    }
  }
}

/** What has the name: a file, or a link that may lead to one, or something that nothing is put in place of. */
function whatIsThere(file: string): "none" | "file" | "other" {
  const path = resolve(file);
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return "none";
  return statSync(path, { throwIfNoEntry: false })?.isFile() === false ? "other" : "file";
}

function refuseExisting(file: string): void {
  if (whatIsThere(file) !== "file") return;
  throw new CommandError(
    `Cannot restore to "${file}": it is there already, expected no such file, or --force to replace it`,
    EXIT.exists,
  );
}

function explained(error: unknown, file: string, force: boolean): unknown {
  if (!(error instanceof LocalFileError)) return error;
  const isInTheWay = !error.isTaken && (force ? ["other"] : ["file", "other"]).includes(whatIsThere(file));
  return new CommandError(error.message, isInTheWay ? EXIT.exists : EXIT.failed, { cause: error });
}
