/**
 * What `--help` says.
 *
 * @module
 */

/** What is said about a command. */
interface Help {
  readonly usage: string;
  readonly does: string;
  readonly options: readonly (readonly [option: string, meaning: string])[];
  readonly examples: readonly string[];
  readonly more?: string;
}

const AT = [
  "--at TIME",
  'the state of a moment: RFC 3339, "5 minutes ago", a TXID; default the newest',
] as const;
const FORMS = [
  ["--table", "columns in line; what a terminal shows"],
  ["--csv", 'RFC 4180, NULL empty, empty text ""; what a pipe or file gets'],
  ["--tsv, --list", "separated by tabs (NULL \\N); by | as sqlite3 does"],
  ["--json, --ndjson", "an array, or an object a line; integers exact, blobs Base64"],
  ["--line", "a line a value"],
  ["--no-header", "without the columns' names"],
] as const;

const GLOBAL = [
  ["--region NAME", "region of the bucket; default what the URL says, else found out"],
  ["--endpoint URL", "an S3-compatible store, such as http://localhost:9000"],
  ["--anonymous", "unsigned requests, for public buckets"],
  ["--cache-dir DIR", "keeps what was fetched for the next time"],
  ["--offline", "with --cache-dir: the state seen last, where the replica cannot be reached"],
  ["--timeout TIME", "longest wait for the opening, and for one read, such as 30s; default 1m"],
  ["--max-requests N", "fails a transaction that would need more requests"],
  ["--max-bytes N", "fails one that would move more, such as 10MB"],
  ["--log LEVEL", "debug, info, warn (default) or error, on stderr"],
  ["--no-color", "no colours; also NO_COLOR"],
  ["-h, --help", "this, or a command's own"],
] as const;

const REPLICA =
  `URL is s3://BUCKET/PATH, file:///FOLDER, a folder's path, gs://, abs://, oss://, sftp://, webdav://, nats:// or
https://. Left out, LITESTREAM_REPLICA_URL says it. Keys come from the environment (AWS_…, LITESTREAM_…), from
AWS_PROFILE's file, or from where the process runs; never from options. All times are UTC.`;

const EXITS =
  `Exit codes: 0 done · 1 SQL failed · 2 the command line is wrong · 3 the replica cannot be opened ·
4 a file is in a restore's way · 130 interrupted`;

const COMMANDS: Readonly<Record<string, Help>> = {
  query: {
    usage: "query [URL] SQL [VALUE…]",
    does: "runs SQL and prints its rows",
    options: [
      AT,
      ["-p, --param NAME=VALUE", "a value for :NAME; VALUEs behind the SQL are for ?"],
      ...FORMS,
      ["--timer", "time, requests, bytes and their price, on stderr"],
    ],
    examples: [
      'query s3://bucket/sandwiches "SELECT * FROM ratings LIMIT 3"',
      'query s3://bucket/sandwiches "SELECT count(*) FROM ratings" --at "5 minutes ago" --timer',
      'query ./replica "SELECT * FROM ratings WHERE id = :id" -p id=7 --json',
      "query s3://bucket/sandwiches - < report.sql > report.csv",
    ],
    more:
      "SQL - reads standard input. Values: numbers, NULL, 'text' and x'hex' as in SQL; all else is text. " +
      "What begins\nwith - and is no option stands behind --.",
  },
  shell: {
    usage: "shell [URL]",
    does: "queries at a prompt, or a script from standard input",
    options: [
      AT,
      ["--write", "opens it for writing: one process at a time"],
      ["--timer", "time, requests, bytes and price of each statement"],
      ...FORMS,
    ],
    examples: [
      "shell s3://bucket/sandwiches",
      'shell s3://bucket/sandwiches --at "yesterday at 10:00"',
      "shell ./replica < report.sql",
    ],
    more:
      "At the prompt .help lists commands. Lines are kept in $XDG_STATE_HOME/litestream-vfs/shell_history, but for those\n" +
      "that begin with a space, and .open.",
  },
  restore: {
    usage: "restore [URL] FILE",
    does: "makes a plain SQLite file of a state",
    options: [
      AT,
      ["--force", "replaces FILE, once the new one is whole"],
      ["-q, --quiet", "shows no progress"],
    ],
    examples: [
      "restore s3://bucket/sandwiches sandwiches.db",
      'restore s3://bucket/sandwiches before.db --at "2026-11-21T08:00:00Z"',
    ],
    more:
      "Every page is checked. A restore that was interrupted tells how it goes on: with --at, since the newest state moves on.",
  },
  points: {
    usage: "points [URL]",
    does: "lists the states that can be reached, oldest first",
    options: [
      ["--from, --to TIME", "only states from a time on, and before one"],
      ["--limit N", "the last N; 0 all; default 100 on a terminal, else all"],
      ["--exact", "times of the transactions, a request a file, in place of the uploads'"],
      ...FORMS,
    ],
    examples: ["points s3://bucket/sandwiches", 'points s3://bucket/sandwiches --from "1 hour ago" --json'],
  },
  diff: {
    usage: "diff [URL] --from TIME",
    does: "tells which rows differ between two states",
    options: [
      ["--from TIME", "the older state, or a TXID"],
      ["--to TIME", "the newer one; default the newest"],
      ["--table NAME", "this table only; more than once for more"],
      ["--json, --ndjson", "an array, or an object a line"],
      ["--sql", "the SQL that makes the first state the second"],
    ],
    examples: [
      'diff s3://bucket/sandwiches --from "1 hour ago"',
      "diff s3://bucket/sandwiches --from 0000000000000007 --to 0000000000000009 --table ratings --sql",
    ],
    more: "With --sql an updated row is taken out and put in again, so that no UNIQUE is in the way.",
  },
  stats: {
    usage: "stats [URL]",
    does: "tells size, TXID, times, files of each level, and what following costs",
    options: [["--json", "for a program"]],
    examples: ["stats s3://bucket/sandwiches"],
  },
  info: {
    usage: "info",
    does: "tells versions and places, and which variables are set",
    options: FORMS,
    examples: ["info"],
  },
  version: { usage: "version", does: "tells the version; also --version", options: [], examples: [] },
};

function list(rows: readonly (readonly [string, string])[]): string {
  return rows.map(([name, meaning]) => `  ${name.padEnd(24)} ${meaning}\n`).join("");
}

/** Help about a command, or about all. */
export function helpText(name: string | undefined): string {
  const help = name === undefined ? undefined : COMMANDS[name];
  if (!help) return overview();
  const examples = help.examples.map((example) => `  litestream-vfs ${example}\n`).join("");
  return [
    `litestream-vfs ${help.usage} [options]\n${help.does[0]!.toUpperCase()}${help.does.slice(1)}.\n`,
    ...(help.more ? [`${help.more}\n`] : []),
    ...(help.options.length > 0 ? [`Options:\n${list(help.options)}`] : []),
    ...(examples === "" ? [] : [`Examples:\n${examples}`]),
    `Options of every command: litestream-vfs --help\n`,
  ].join("\n");
}

function overview(): string {
  const commands = Object.values(COMMANDS).map(({ usage, does }) => [usage, does] as const);
  return [
    "litestream-vfs: Litestream replicas, queried where they lie\n",
    `Commands:\n${list(commands)}`,
    `${REPLICA}\n`,
    `Options of every command:\n${list(GLOBAL)}`,
    `Examples:\n  litestream-vfs ${COMMANDS.query!.examples[0]}\n  litestream-vfs ${
      COMMANDS.restore!.examples[0]
    }\n`,
    `${EXITS}\n`,
  ].join("\n");
}
