/**
 * `info` and `version`: what runs here.
 *
 * @module
 */
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { shimPath } from "../shim_path.ts";
import { expectNoMore, MODE_OPTIONS, modeOf } from "./arguments.ts";
import type { CellValue } from "./cell_text.ts";
import { type Command, rowFormat } from "./command.ts";
import { EXIT } from "./exit_code.ts";
import { historyPath } from "./history_file.ts";
import { rowWriter } from "./row_writer.ts";
import { VERSION } from "./version.ts";

/** Variables that say which replica is meant, who we are and where things are kept. */
const VARIABLES = /^(?:LITESTREAM_|AWS_|AZURE_|GOOGLE_|XDG_STATE_HOME$|NO_COLOR$)/;

/** Tells the version. */
export const versionCommand: Command = {
  options: {},
  async run({ given, out }) {
    expectNoMore(given.positionals, "nothing behind it");
    await out.write(`litestream-vfs ${VERSION}\n`);
    return EXIT.ok;
  },
};

/** Tells versions and places, and which variables are set, without their values. */
export const infoCommand: Command = {
  options: MODE_OPTIONS,
  async run({ given, io, out }) {
    expectNoMore(given.positionals, "nothing behind it");
    const set = Object.keys(io.env).filter((name) => VARIABLES.test(name) && io.env[name]).sort();
    const facts: [string, CellValue][] = [
      ["version", VERSION],
      ["runtime", runtimeText()],
      ["platform", `${process.platform} ${process.arch}`],
      ["sqlite", sqliteVersion()],
      ["shim", await shimText()],
      ["history", historyPath(io.env) ?? null],
      ["environment", set.join(" ")],
    ];
    const writer = rowWriter(rowFormat(out, modeOf(given), "csv"));
    await out.write(writer.begin(["fact", "value"]));
    for (const fact of facts) await out.write(writer.row(fact));
    await out.write(writer.end());
    return EXIT.ok;
  },
};

function runtimeText(): string {
  const { deno, bun, node } = process.versions as Record<string, string | undefined>;
  return deno ? `deno ${deno}` : bun ? `bun ${bun}` : `node ${node}`;
}

function sqliteVersion(): string {
  const database = new DatabaseSync(":memory:");
  try {
    return String(Object.values(database.prepare("SELECT sqlite_version()").get()!)[0]);
  } finally {
    database.close();
  }
}

async function shimText(): Promise<string> {
  try {
    return await shimPath();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
