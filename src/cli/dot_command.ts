/**
 * The shell's own commands, which begin with a point.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { formatTxid } from "../ltx/txid.ts";
import { urlOf } from "./arguments.ts";
import { shownText } from "./cell_text.ts";
import { costText } from "./cost.ts";
import { writeChanges } from "./change_text.ts";
import { nearestName } from "../nearest_name.ts";
import { parseLiteral } from "./parameters.ts";
import { POINT_COLUMNS, pointRow } from "./points_command.ts";
import { ROW_MODES, type RowMode, rowWriter } from "./row_writer.ts";
import type { Shell } from "./shell.ts";
import { factsOf, showFacts } from "./stats_command.ts";
import { UsageError } from "./usage_error.ts";

/** A command: how it is written, what it does, and the doing. */
interface DotCommand {
  readonly usage: string;
  readonly does: string;
  run(shell: Shell, words: readonly string[], signal: AbortSignal): Promise<void>;
}

/** Points that `.points` shows where nothing is said. */
const POINTS = 20;

const NO_INTERNALS = "name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
/** A table's name, or all where none is given. */
const OF_TABLE = "(:name IS NULL OR tbl_name LIKE :name OR name LIKE :name)";

const COMMANDS: Readonly<Record<string, DotCommand>> = {
  ".tables": {
    usage: ".tables [PATTERN]",
    does: "tables and views, those whose names are LIKE the pattern",
    run: (shell, [pattern]) =>
      writeColumn(
        shell,
        `SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND ${NO_INTERNALS}
          AND (:name IS NULL OR name LIKE :name) ORDER BY name`,
        pattern,
      ),
  },
  ".schema": {
    usage: ".schema [TABLE]",
    does: "the SQL that made the tables, indexes, views and triggers",
    run: (shell, [table]) =>
      writeColumn(
        shell,
        `SELECT sql || iif(sql LIKE '%--%', char(10), '') || ';' FROM sqlite_schema WHERE sql IS NOT NULL AND ${NO_INTERNALS} AND ${OF_TABLE}
          ORDER BY tbl_name, type = 'table' DESC, name`,
        table,
      ),
  },
  ".indexes": {
    usage: ".indexes [TABLE]",
    does: "indexes",
    run: (shell, [table]) =>
      writeColumn(
        shell,
        `SELECT name FROM sqlite_schema WHERE type = 'index' AND (:name IS NULL OR tbl_name LIKE :name) ORDER BY name`,
        table,
      ),
  },
  ".databases": {
    usage: ".databases",
    does: "the replica, and what is attached to this connection",
    run: listDatabases,
  },
  ".mode": {
    usage: ".mode [MODE]",
    does: `the form of rows: ${ROW_MODES.join(", ")}`,
    async run(shell, [mode]) {
      if (mode === undefined) return await shell.context.out.lines(shell.format.mode);
      if (!ROW_MODES.includes(mode as RowMode)) {
        throw new UsageError(`Cannot use .mode: "${mode}", expected ${ROW_MODES.join(", ")}`);
      }
      shell.settings.mode = mode as RowMode;
    },
  },
  ".headers": {
    usage: ".headers on|off",
    does: "whether columns are named",
    run(shell, [word]) {
      shell.settings.header = switchOf(".headers", word);
      return Promise.resolve();
    },
  },
  ".timer": {
    usage: ".timer on|off",
    does: "time, requests and bytes of each statement",
    run(shell, [word]) {
      shell.settings.timer = switchOf(".timer", word);
      return Promise.resolve();
    },
  },
  ".param": {
    usage: ".param [NAME VALUE|clear]",
    does: "values for :NAME in statements; numbers, NULL, 'text' and x'hex' as in SQL, all else is text",
    run: setParameter,
  },
  ".at": {
    usage: ".at [TIME|TXID|latest]",
    does: "shows a moment of the past, or the newest state again",
    async run(shell, words) {
      const text = words.join(" ");
      if (text !== "") await shell.moveTo(/^latest$/i.test(text) ? undefined : text);
      const { rows: [row] } = await shell.session.queries.rows("SELECT litestream_txid(), litestream_time()");
      const [txid, time] = row!.map(String);
      await shell.context.out.lines(`TXID ${txid}${time!.startsWith("txid:") ? "" : `, written ${time}`}`);
    },
  },
  ".points": {
    usage: ".points [N]",
    does: `the last ${POINTS} or N states that .at can show`,
    run: listPoints,
  },
  ".diff": {
    usage: ".diff FROM [TO]",
    does: "which rows changed from one moment to another; quote those of several words",
    async run(shell, [from, to = shell.settings.at ?? "latest"], signal) {
      if (from === undefined) {
        throw new UsageError("Cannot compare: no moment is given, expected .diff FROM [TO]");
      }
      const { replica } = shell.session;
      await writeChanges(replica.diff(from, to, { signal }), shell.context);
    },
  },
  ".stats": {
    usage: ".stats",
    does: "the replica's files, and what this shell has cost",
    async run(shell, _words, signal) {
      const { session: { replica }, context: { out } } = shell;
      await showFacts(out, await factsOf(replica, signal));
      await out.lines(
        `\nlast seen ${(replica.lagMs / 1000).toFixed(1)} s ago · this shell: ${
          costText({}, replica.stats())
        }`,
      );
    },
  },
  ".sync": {
    usage: ".sync",
    does: "stores what was committed now; with --write",
    async run(shell) {
      await shell.context.out.lines(`stored up to TXID ${formatTxid(await shell.session.replica.sync())}`);
    },
  },
  ".read": {
    usage: ".read FILE",
    does: "runs a file of SQL and commands",
    async run(shell, words) {
      const path = words.join(" ");
      if (path === "") throw new UsageError("Cannot read: no file is named, expected .read FILE");
      await shell.script(textOfFile(path));
    },
  },
  ".open": {
    usage: ".open URL",
    does: "another replica",
    async run(shell, [url], signal) {
      const found = url === undefined ? undefined : urlOf(url);
      if (found === undefined) {
        throw new UsageError("Cannot open: expected a URL or a folder's path, as .open URL");
      }
      await shell.reopen(found, signal);
    },
  },
  ".help": {
    usage: ".help",
    does: "this list",
    run: (shell) => shell.context.out.write(dotHelp()),
  },
  ".quit": {
    usage: ".quit, .exit",
    does: "leaves; so does Ctrl-D",
    run(shell) {
      shell.isLeft = true;
      return Promise.resolve();
    },
  },
};

/** Names of all commands. */
export const DOT_COMMANDS: readonly string[] = [...Object.keys(COMMANDS), ".exit"];

/** One line a command. */
export function dotHelp(): string {
  const lines = Object.values(COMMANDS).map(({ usage, does }) => `${usage.padEnd(26)} ${does}\n`);
  return `${
    lines.join("")
  }A statement ends at its semicolon. Ctrl-C ends what runs, or the line; twice, the shell.\n`;
}

/**
 * Runs a line that begins with a point.
 *
 * @throws {UsageError} there is no such command
 */
export async function runDotCommand(line: string, shell: Shell, signal: AbortSignal): Promise<void> {
  const [name = "", ...words] = wordsOf(line);
  const found = name === ".exit" ? ".quit" : name;
  if (!Object.hasOwn(COMMANDS, found)) {
    const nearest = nearestName(name, DOT_COMMANDS);
    throw new UsageError(
      `Cannot find command "${name}": ${nearest ? `did you mean ${nearest}?` : "see .help"}`,
    );
  }
  const raw = line.split(/\s+/).slice(1); // where quotes are the value's own
  await COMMANDS[found]!.run(shell, found === ".param" ? raw : words, signal);
}

/** Words apart by spaces; quotes keep one together. */
function wordsOf(line: string): string[] {
  const found = line.replace(/;\s*$/, "").matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g);
  return [...found].map(([, double, single, bare]) => double ?? single ?? bare!);
}

function switchOf(command: string, word: string | undefined): boolean {
  if (word === "on" || word === "off") return word === "on";
  throw new UsageError(`Cannot use ${command}: expected on or off`);
}

async function writeColumn(shell: Shell, sql: string, name: string | undefined): Promise<void> {
  const { rows } = await shell.session.queries.rows(sql, { named: { name: name ?? null }, positional: [] });
  for (const [text] of rows) await shell.context.out.lines(String(text));
}

async function listDatabases(shell: Shell): Promise<void> {
  const { session: { queries, replica }, context: { out } } = shell;
  const { rows: [[txid, time] = []] } = await queries.rows("SELECT litestream_txid(), litestream_time()");
  const can = shell.write && shell.settings.at === undefined ? "read and write" : "read-only";
  await out.lines(`main: ${replica.name} (TXID ${txid}, written ${time}, ${can})`);
  const { rows } = await queries.rows("SELECT name, file FROM pragma_database_list WHERE seq > 0");
  for (const [name, file] of rows) await out.lines(`${name}: ${file === "" ? "in memory" : file}`);
}

async function setParameter(shell: Shell, [name, ...value]: readonly string[]): Promise<void> {
  const { named } = shell.settings;
  if (name === undefined) {
    for (const [name, value] of Object.entries(named)) {
      await shell.context.out.lines(`${name} = ${shownText(value)}`);
    }
    return;
  }
  if (name === "clear" && value.length === 0) {
    for (const name of Object.keys(named)) delete named[name];
    return;
  }
  if (value.length === 0) {
    throw new UsageError("Cannot set a parameter: no value, expected .param NAME VALUE");
  }
  named[name.replace(/^[:@$]/, "")] = parseLiteral(value.join(" "));
}

async function listPoints(
  shell: Shell,
  [count = String(POINTS)]: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  if (!/^[1-9]\d{0,8}$/.test(count)) {
    throw new UsageError(`Cannot list points: "${count}", expected a number`);
  }
  const points = await shell.session.replica.points({ signal });
  const writer = rowWriter(shell.format);
  const rows = points.slice(-Number(count)).map((point) => writer.row(pointRow(point)));
  await shell.context.out.write(writer.begin(POINT_COLUMNS) + rows.join("") + writer.end());
}

function textOfFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError(`Cannot read "${path}": ${found}`, { cause });
  }
}
