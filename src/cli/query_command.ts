/**
 * `query`: runs SQL and writes its rows.
 *
 * @module
 */
import { isOn, MODE_OPTIONS, modeOf, momentOf, textsOf, urlAndRest } from "./arguments.ts";
import { type Command, type CommandContext, openOptions, rowFormat } from "./command.ts";
import { costText } from "./cost.ts";
import { EXIT } from "./exit_code.ts";
import { checkParameters, parseParameters } from "./parameters.ts";
import type { CliInput } from "./process_io.ts";
import { Session } from "./session.ts";
import { statementsOf } from "./statements.ts";
import { UsageError } from "./usage_error.ts";

/** How long a query that was told to end may take to do so, in ms. */
const END_MS = 1_000;

/** Runs SQL. */
export const queryCommand: Command = {
  options: {
    ...MODE_OPTIONS,
    at: { type: "string" },
    param: { type: "string", short: "p", multiple: true },
    timer: { type: "boolean" },
  },
  async run(context) {
    const { given, io, out, err, interruption } = context;
    const { url, rest: [sql, ...positional] } = urlAndRest(given, io.env);
    const parameters = parseParameters(textsOf(given, "param"), positional);
    const format = rowFormat(out, modeOf(given), "csv", !isOn(given, "no-header"));
    const options = openOptions(context);
    const statements = someStatements(await sqlText(context, sql));
    checkParameters(statements, parameters);
    const beganMs = performance.now();
    const session = await Session.open({
      url,
      options: { ...options, pollIntervalMs: 0 },
      connect: { asOf: momentOf(given, "at"), readOnly: true },
      signal: interruption.signal,
    });
    const openedMs = performance.now();
    const end = () => {
      session.interrupt();
      setTimeout(() => io.exit(interruption.code!), END_MS).unref();
    };
    interruption.signal.addEventListener("abort", end);
    try {
      await session.queries.run(statements, { parameters, format, write: (text) => out.write(text) });
    } finally {
      interruption.signal.removeEventListener("abort", end);
      if (isOn(given, "timer")) {
        const spans = { open: openedMs - beganMs, run: performance.now() - openedMs };
        await err.lines(costText(spans, session.replica.stats()));
      }
      await session.close();
    }
    return EXIT.ok;
  },
};

async function sqlText(
  { io, err, interruption }: CommandContext,
  given: string | undefined,
): Promise<string> {
  if (given !== undefined && given !== "-") return given;
  if (io.stdin.isTTY) {
    if (given === undefined) {
      throw new UsageError(
        'Cannot query: no SQL is given, expected it behind the URL, or "-" for standard input',
      );
    }
    await err.lines("SQL, then Ctrl-D:");
  }
  return await interruption.orEnd(readAll(io.stdin));
}

/** All that a stream has. */
export async function readAll(stream: CliInput): Promise<string> {
  stream.setEncoding("utf8");
  let text = "";
  for await (const chunk of stream) text += chunk;
  return text;
}

function someStatements(sql: string): string[] {
  const statements = statementsOf(sql);
  if (statements.length > 0) return statements;
  throw new UsageError("Cannot query: the SQL has no statement, expected at least one");
}
