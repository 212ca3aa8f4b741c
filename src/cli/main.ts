/**
 * The command line: finds the command, runs it, and tells the caller how it ended.
 *
 * @module
 */
import { logLevel } from "../log.ts";
import { commandIndex, isOn, parseCommand, textOf } from "./arguments.ts";
import type { Command } from "./command.ts";
import { wordsOf } from "./error_words.ts";
import { EXIT, exitCodeOf } from "./exit_code.ts";
import { helpText } from "./help.ts";
import { Interruption } from "./interruption.ts";
import { nearestName } from "../nearest_name.ts";
import { Output, OutputClosedError } from "./output.ts";
import { type CliIo, processIo } from "./process_io.ts";
import { UsageError } from "./usage_error.ts";

/** Commands by name, each loaded when it is wanted. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  query: async () => (await import("./query_command.ts")).queryCommand,
  shell: async () => (await import("./shell_command.ts")).shellCommand,
  restore: async () => (await import("./restore_command.ts")).restoreCommand,
  points: async () => (await import("./points_command.ts")).pointsCommand,
  diff: async () => (await import("./diff_command.ts")).diffCommand,
  stats: async () => (await import("./stats_command.ts")).statsCommand,
  info: async () => (await import("./info_command.ts")).infoCommand,
  version: async () => (await import("./info_command.ts")).versionCommand,
};

/**
 * Runs a command line and gives its exit code: 0 done, 1 SQL failed, 2 usage, 3 the replica cannot be opened, 4 a file is
 * in a restore's way, 130 interrupted. Never rejects.
 */
export async function main(args: readonly string[], io: CliIo = processIo()): Promise<number> {
  const noColor = args.includes("--no-color");
  const [out, err] = [new Output(io.stdout, io.env, noColor), new Output(io.stderr, io.env, noColor)];
  const interruption = new Interruption(io);
  try {
    return await dispatch(args, { io, out, err, interruption });
  } catch (error) {
    if (error instanceof OutputClosedError) return EXIT.ok; // whoever reads has seen enough
    // Nobody may be there to be told.
    if (interruption.code !== undefined) {
      await err.lines("interrupted").catch(() => {});
      return interruption.code;
    }
    await err.error(wordsOf(error)).catch(() => {});
    return exitCodeOf(error);
  } finally {
    interruption.close();
  }
}

type Streams = {
  readonly io: CliIo;
  readonly out: Output;
  readonly err: Output;
  readonly interruption: Interruption;
};

async function dispatch(args: readonly string[], streams: Streams): Promise<number> {
  const { out, err } = streams;
  const at = commandIndex(args);
  if (at < 0) {
    const given = parseCommand(args, { version: { type: "boolean", short: "V" } });
    if (isOn(given, "version")) return await run("version", [], streams);
    const isAsked = isOn(given, "help");
    await (isAsked ? out : err).write(helpText(undefined));
    return isAsked ? EXIT.ok : EXIT.usage;
  }
  const rest = args.toSpliced(at, 1);
  const name = args[at]!;
  if (name === "help") {
    const [about] = parseCommand(rest, {}).positionals;
    if (about !== undefined && !Object.hasOwn(COMMANDS, about)) throw unknownCommand(about);
    await out.write(helpText(about));
    return EXIT.ok;
  }
  if (!Object.hasOwn(COMMANDS, name)) throw unknownCommand(name);
  return await run(name, rest, streams);
}

async function run(name: string, rest: readonly string[], streams: Streams): Promise<number> {
  const end = rest.indexOf("--"); // values behind it are nobody's options
  if (rest.slice(0, end < 0 ? rest.length : end).some((arg) => arg === "--help" || arg === "-h")) {
    await streams.out.write(helpText(name));
    return EXIT.ok;
  }
  const command = await COMMANDS[name]!();
  const given = parseCommand(rest, command.options);
  const level = textOf(given, "log");
  if (level !== undefined) useLogLevel(level, streams.io.env);
  return await command.run({ ...streams, given });
}

/** The level is the environment's to set, for the core reads it there. */
function useLogLevel(level: string, environment: Record<string, string | undefined>): void {
  if (logLevel({ LITESTREAM_LOG_LEVEL: level }).fault !== undefined) {
    throw new UsageError("Cannot use option --log: it names no level, expected debug, info, warn or error");
  }
  environment.LITESTREAM_LOG_LEVEL = level;
}

function unknownCommand(name: string): UsageError {
  const isWord = /^[a-z]{1,20}$/i.test(name); // anything else may be a URL, with what is secret in it
  const nearest = isWord ? nearestName(name, Object.keys(COMMANDS)) : undefined;
  return new UsageError(
    `Cannot find command${isWord ? ` "${name}"` : ""}: ${
      nearest ? `did you mean "${nearest}"?` : "expected one of"
    } ` +
      (nearest ? "" : Object.keys(COMMANDS).join(", ")),
  );
}
