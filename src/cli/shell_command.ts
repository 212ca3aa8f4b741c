/**
 * `shell`: a prompt over a replica, or a script from standard input.
 *
 * @module
 */
import { expectNoMore, isOn, MODE_OPTIONS, modeOf, momentOf, urlAndRest } from "./arguments.ts";
import { type Command, type CommandContext, openOptions } from "./command.ts";
import { complete } from "./completion.ts";
import { DOT_COMMANDS } from "./dot_command.ts";
import { EXIT } from "./exit_code.ts";
import { HistoryFile, historyPath } from "./history_file.ts";
import { LineEditor } from "./line_editor.ts";
import { Shell } from "./shell.ts";
import { formatTxid } from "../ltx/txid.ts";
import { UsageError } from "./usage_error.ts";
import { VERSION } from "./version.ts";

const WRITE_NOTICE =
  `Opens the replica for writing. What is committed is stored about a second later, for everybody who reads it.
Only one process at a time may write: stop its Litestream daemon, and any other writer, first.`;

/** Queries, as long as somebody wants. */
export const shellCommand: Command = {
  options: {
    ...MODE_OPTIONS,
    at: { type: "string" },
    write: { type: "boolean" },
    timer: { type: "boolean" },
  },
  async run(context) {
    const { given, io, err } = context;
    const { url, rest } = urlAndRest(given, io.env);
    expectNoMore(rest, "a URL");
    const [at, write] = [momentOf(given, "at"), isOn(given, "write")];
    if (write && at !== undefined) {
      throw new UsageError("Cannot use --write with --at: the past cannot be written to");
    }
    if (write && isOn(given, "offline")) throw new UsageError("Cannot use --write with --offline");
    const [mode, header, timer] = [modeOf(given), !isOn(given, "no-header"), isOn(given, "timer")];
    const options = { ...openOptions(context), ...(write && { write, compact: false }) };
    if (write) await err.lines(WRITE_NOTICE);
    const isInteractive = io.stdin.isTTY === true && context.out.isTerminal;
    if (write && isInteractive && !await confirms(context)) return EXIT.ok;
    const shell = await Shell.open({ url, options, at, mode, header, timer, write }, context);
    try {
      return isInteractive ? await interact(shell, context) : await runScript(shell, context);
    } finally {
      await shell.close();
    }
  },
};

async function confirms({ io, err }: CommandContext): Promise<boolean> {
  const editor = new LineEditor(io, { history: [], completer: (line) => Promise.resolve([[], line]) });
  try {
    const typed = await editor.next('Type "write" to go on: ');
    if (typed.kind === "line" && typed.line.trim().toLowerCase() === "write") return true;
    await err.lines("Nothing was opened");
    return false;
  } finally {
    editor.close();
  }
}

/** A script: each failure is told, the last one's code is the script's. */
async function runScript(shell: Shell, { io, interruption }: CommandContext): Promise<number> {
  io.stdin.setEncoding("utf8");
  const chunks = io.stdin[Symbol.asyncIterator]();
  let left = "";
  for (;;) {
    const { done, value } = await interruption.orEnd(chunks.next());
    if (done) break;
    const lines = (left + value).split("\n");
    left = lines.pop()!;
    for (const line of lines) {
      await shell.take(line.replace(/\r$/, ""));
      interruption.signal.throwIfAborted();
      if (shell.isLeft) return shell.failure;
    }
  }
  await shell.take(left);
  await shell.finish(false);
  interruption.signal.throwIfAborted();
  return shell.failure;
}

async function interact(shell: Shell, context: CommandContext): Promise<number> {
  const { io, out, interruption } = context;
  const history = new HistoryFile(historyPath(io.env));
  const editor = new LineEditor(io, {
    history: history.read(),
    completer: async (line) => complete(line, DOT_COMMANDS, await shell.names()),
  });
  interruption.onInterrupt = () => {
    if (!shell.interrupt()) io.exit(EXIT.interrupted); // the second one, while the first has not helped
  };
  const { replica } = shell.session;
  await out.lines(`litestream-vfs ${VERSION} · ${replica.name} · TXID ${formatTxid(replica.txid)}`);
  await out.lines("Statements end with ; — .help lists commands, Ctrl-D leaves", "dim");
  try {
    return await converse(shell, { editor, history, context });
  } finally {
    interruption.onInterrupt = undefined;
    editor.close();
  }
}

async function converse(
  shell: Shell,
  { editor, history, context: { out, interruption } }: {
    readonly editor: LineEditor;
    readonly history: HistoryFile;
    readonly context: CommandContext;
  },
): Promise<number> {
  let interrupts = 0;
  while (!shell.isLeft) {
    const typed = await interruption.orEnd(editor.next(shell.prompt));
    if (typed.kind === "end") {
      await out.write("\n");
      break;
    }
    if (typed.kind === "interrupt") {
      const isIdle = typed.wasEmpty && !shell.isPending;
      await shell.finish(true);
      interrupts = isIdle ? interrupts + 1 : 0;
      if (interrupts === 2) {
        await out.write("\n");
        return EXIT.interrupted;
      }
      await out.write(isIdle ? "^C\nCtrl-C again, Ctrl-D or .quit leaves\n" : "^C\n");
      continue;
    }
    interrupts = 0;
    history.add(typed.line);
    await shell.take(typed.line);
  }
  return EXIT.ok;
}
