/**
 * `diff`: tells what changed between two moments.
 *
 * @module
 */
import type { Change } from "../diff/change.ts";
import { openReplica } from "../open_replica.ts";
import type { Replica } from "../replica.ts";
import { expectNoMore, isOn, momentOf, textsOf, urlAndRest } from "./arguments.ts";
import { changeJson, writeChanges } from "./change_text.ts";
import { type Command, type CommandContext, openOptions } from "./command.ts";
import { writeScript } from "./diff_script.ts";
import { EXIT } from "./exit_code.ts";
import { UsageError } from "./usage_error.ts";

/** Compares. */
export const diffCommand: Command = {
  options: {
    from: { type: "string" },
    to: { type: "string" },
    table: { type: "string", multiple: true },
    json: { type: "boolean" },
    ndjson: { type: "boolean" },
    sql: { type: "boolean" },
  },
  async run(context) {
    const { given, io, interruption: { signal } } = context;
    const { url, rest } = urlAndRest(given, io.env);
    expectNoMore(rest, "a URL");
    const [from, to = "latest"] = [momentOf(given, "from"), momentOf(given, "to")];
    if (from === undefined) {
      throw new UsageError(
        'Cannot compare: no moment is given, expected --from, such as --from "1 hour ago"',
      );
    }
    if (["json", "ndjson", "sql"].filter((name) => isOn(given, name)).length > 1) {
      throw new UsageError("Cannot use --json, --ndjson and --sql at once, expected one");
    }
    const replica = await openReplica(url, { ...openOptions(context), pollIntervalMs: 0, signal });
    try {
      await writeDifference(context, replica, { from, to });
      return EXIT.ok;
    } finally {
      await replica.close({ force: true });
    }
  },
};

async function writeDifference(
  context: CommandContext,
  replica: Replica,
  { from, to }: { readonly from: string; readonly to: string },
): Promise<void> {
  const { given, out, interruption: { signal } } = context;
  const named = textsOf(given, "table");
  const tables = named.length > 0 ? named : undefined;
  if (isOn(given, "sql")) return await writeScript({ replica, from, to, tables, signal }, out);
  const changes = replica.diff(from, to, { tables, signal });
  if (isOn(given, "json")) await writeArray(changes, context);
  else if (!isOn(given, "ndjson")) await writeChanges(changes, context);
  else for await (const change of changes) await out.write(`${changeJson(change)}\n`);
}

async function writeArray(changes: AsyncIterable<Change>, { out }: CommandContext): Promise<void> {
  let before = "[";
  for await (const change of changes) {
    await out.write(`${before}${changeJson(change)}`);
    before = ",\n ";
  }
  await out.write(before === "[" ? "[]\n" : "]\n");
}
