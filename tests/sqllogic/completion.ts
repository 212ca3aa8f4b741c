/**
 * Writes into scripts what their queries give with plain SQLite: where it is said already, it is replaced.
 *
 *     bun tests/sqllogic/completion.ts [PATTERN]
 *
 * What it writes is to be read before it is committed: it is what the tests hold SQLite over a replica against.
 *
 * @module
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import process from "node:process";
import { allDrivers, type TestedDriver } from "../support/all_drivers.ts";
import { ScriptConnection } from "./connection.ts";
import { OWN_CORPUS, scriptPaths } from "./corpus.ts";
import { expectedOf, resultTexts } from "./result_text.ts";
import { applies, parseScript, type QueryRecord } from "./script.ts";

const [driver] = await allDrivers() as [TestedDriver];
for (const path of scriptPaths(OWN_CORPUS, new RegExp(process.argv[2] ?? ""))) {
  const folder = mkdtempSync(join(tmpdir(), "sqllogic-completion-"));
  const connection = ScriptConnection.ofFile(join(folder, "plain.db"), driver, folder);
  try {
    writeFileSync(path, completed(relative(OWN_CORPUS, path), readFileSync(path, "utf8"), connection));
  } finally {
    connection.close();
    rmSync(folder, { recursive: true });
  }
}

/** The script's text with what its queries give. */
function completed(name: string, text: string, connection: ScriptConnection): string {
  const answers = new Map<number, string[]>();
  const engine = connection.engine();
  for (const record of parseScript(name, text).records) {
    if (!applies(record, engine)) {
      throw new Error(`Cannot complete ${name}:${record.line}: it does not apply here`);
    }
    if (record.kind === "statement") {
      const { error } = connection.run(record.sql);
      if (record.fails === (error === "")) {
        throw new Error(`Cannot complete ${name}:${record.line}: "${error}"`);
      }
      if (error) console.error(`${name}:${record.line}: ${error}`);
    } else if (record.kind === "query") {
      answers.set(record.line, record.varies ? [] : answerLines(name, record, connection));
    }
  }
  let line = 1;
  const blocks = text.trimEnd().split("\n\n").map((block) => {
    const first = line;
    line += block.split("\n").length + 1;
    return withAnswer(block, first, answers);
  });
  return `${blocks.join("\n\n")}\n`;
}

function answerLines(name: string, record: QueryRecord, connection: ScriptConnection): string[] {
  const { rows, error } = connection.ask(record.sql);
  const where = `${name}:${record.line}`;
  if (error !== "") throw new Error(`Cannot complete ${where}: ${error}`);
  const expected = expectedOf(resultTexts(rows, record.types, record.sort));
  if (rows.length === 0) console.error(`${where}: no row`);
  if (rows.some((row) => row.length !== record.types.length)) {
    throw new Error(`Cannot complete ${where}: ${rows[0]!.length} columns, expected ${record.types}`);
  }
  return expected.kind === "values"
    ? ["----", ...expected.values]
    : ["----", `${expected.count} values hashing to ${expected.md5}`];
}

/** A record's lines, which begin in line `first`, with the answer that belongs to the line its query begins in. */
function withAnswer(block: string, first: number, answers: ReadonlyMap<number, string[]>): string {
  const lines = block.split("\n");
  const at = lines.findIndex((line) => line.startsWith("query "));
  if (at < 0) return block;
  const cut = lines.indexOf("----");
  return [...(cut < 0 ? lines : lines.slice(0, cut)), ...answers.get(first + at)!].join("\n");
}
