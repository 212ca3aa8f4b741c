/**
 * Scripts of SQL in the format of SQLite's sqllogictest: statements that succeed or fail, queries with what they give.
 *
 * All of that format is read, so that its public corpus runs as it stands. What our own scripts add are two lines before a
 * record: `connection`, for a statement whose effect is the connection's own (TEMP, ATTACH, settings), so that who only
 * reads runs it, too; and `varies`, for a query whose answer depends on page size or version, so that it is only
 * compared with plain SQLite's. `onlyif` and `skipif` also take `sqlite-3.45` (that version or later) and names of compile
 * options, such as `fts5`. `${folder}` in SQL is a folder of the connection's own.
 *
 * @see https://sqlite.org/sqllogictest/doc/trunk/about.wiki
 * @module
 */

/** How values are put in order before they are compared with what is expected. */
export type SortMode = "nosort" | "rowsort" | "valuesort";

/** What a query must give: its values in order, one text each, or how many there are and their MD5. */
export type Expected =
  | { readonly kind: "values"; readonly values: readonly string[] }
  | { readonly kind: "hash"; readonly count: number; readonly md5: string };

/** A line `onlyif NAME` or `skipif NAME`. */
export interface Condition {
  readonly isOnlyIf: boolean;
  readonly name: string;
}

interface RecordHead {
  /** Line of the script, from 1. */
  readonly line: number;
  readonly conditions: readonly Condition[];
  /** A line `connection` stands before it. */
  readonly isOwn: boolean;
  /** A line `varies` stands before it. */
  readonly varies: boolean;
}

/** A statement, and whether it must fail. */
export interface StatementRecord extends RecordHead {
  readonly kind: "statement";
  readonly sql: string;
  readonly fails: boolean;
}

/** A query, the types of its columns (`T`, `I`, `R`), and what is known of its answer. */
export interface QueryRecord extends RecordHead {
  readonly kind: "query";
  readonly sql: string;
  readonly types: string;
  readonly sort: SortMode;
  /** Queries of one label give the same. */
  readonly label: string | undefined;
  readonly expected: Expected | undefined;
}

/** The end of the script where its conditions hold. */
export interface HaltRecord extends RecordHead {
  readonly kind: "halt";
}

/** One record of a script. */
export type ScriptRecord = StatementRecord | QueryRecord | HaltRecord;

/** A script by name. */
export interface Script {
  readonly name: string;
  readonly records: readonly ScriptRecord[];
}

const SORT_MODES: readonly string[] = ["nosort", "rowsort", "valuesort"];
const HASH = /^(\d+) values hashing to ([0-9a-f]{32})$/;

/** One line with its number. */
interface Line {
  readonly number: number;
  readonly text: string;
}

/**
 * Reads a script.
 *
 * @throws {Error} a record is none of those known
 */
export function parseScript(name: string, text: string): Script {
  const records = blocksOf(text).map((block) => parseRecord(name, block)).filter((record) =>
    record !== undefined
  );
  return { name, records };
}

/** Runs of lines between blank ones, without comments. */
function blocksOf(text: string): Line[][] {
  const blocks: Line[][] = [[]];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.startsWith("#")) continue;
    if (line.trim() === "") blocks.push([]);
    else blocks.at(-1)!.push({ number: index + 1, text: line });
  }
  return blocks.filter((block) => block.length > 0);
}

function parseRecord(script: string, block: Line[]): ScriptRecord | undefined {
  const conditions: Condition[] = [];
  let [isOwn, varies] = [false, false];
  for (const [index, { number, text }] of block.entries()) {
    const [word, name = ""] = text.trim().split(/\s+/);
    const head = { line: number, conditions, isOwn, varies };
    const rest = block.slice(index + 1);
    if (word === "onlyif" || word === "skipif") conditions.push({ isOnlyIf: word === "onlyif", name });
    else if (word === "connection") isOwn = true;
    else if (word === "varies") varies = true;
    else if (word === "hash-threshold") return undefined; // only who writes results needs to know
    else if (word === "halt") return { ...head, kind: "halt" };
    else if (word === "statement") return { ...head, ...parseStatement(script, number, name, rest) };
    else if (word === "query") return { ...head, ...parseQuery(script, number, text, rest) };
    else throw new Error(`Cannot read ${script}:${number}: "${text}", expected a record of sqllogictest`);
  }
  throw new Error(`Cannot read ${script}:${block[0]!.number}: conditions, expected a record after them`);
}

function parseStatement(
  script: string,
  line: number,
  outcome: string,
  rest: Line[],
): Pick<StatementRecord, "kind" | "sql" | "fails"> {
  if (outcome !== "ok" && outcome !== "error") {
    throw new Error(`Cannot read ${script}:${line}: statement ${outcome}, expected ok or error`);
  }
  return { kind: "statement", sql: joined(rest), fails: outcome === "error" };
}

function parseQuery(
  script: string,
  line: number,
  text: string,
  rest: Line[],
): Pick<QueryRecord, "kind" | "sql" | "types" | "sort" | "label" | "expected"> {
  const [, types = "", sort = "nosort", label] = text.trim().split(/\s+/);
  if (!/^[TIR]+$/.test(types) || !SORT_MODES.includes(sort)) {
    throw new Error(`Cannot read ${script}:${line}: "${text}", expected query TYPES SORTMODE LABEL`);
  }
  const cut = rest.findIndex(({ text }) => text === "----");
  const sql = joined(cut < 0 ? rest : rest.slice(0, cut));
  const expected = cut < 0 ? undefined : parseExpected(rest.slice(cut + 1).map(({ text }) => text));
  return { kind: "query", sql, types, sort: sort as SortMode, label, expected };
}

function parseExpected(lines: string[]): Expected {
  const [, count, md5] = (lines.length === 1 ? HASH.exec(lines[0]!) : null) ?? [];
  return md5 === undefined ? { kind: "values", values: lines } : { kind: "hash", count: Number(count), md5 };
}

function joined(lines: Line[]): string {
  return lines.map(({ text }) => text).join("\n");
}

/** Whether a record applies where SQLite is of this version (`3.45.1`) and has these abilities. */
export function applies(record: ScriptRecord, engine: Engine): boolean {
  return record.conditions.every(({ isOnlyIf, name }) => isOnlyIf === holds(name, engine));
}

/** What an SQLite is: its version, and names of its compile options in small letters, without `enable_`. */
export interface Engine {
  readonly version: string;
  readonly abilities: ReadonlySet<string>;
}

function holds(name: string, { version, abilities }: Engine): boolean {
  const wanted = /^sqlite-([\d.]+)$/.exec(name)?.[1];
  if (wanted !== undefined) return compareVersions(version, wanted) >= 0;
  return name === "sqlite" || abilities.has(name);
}

function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => text.split(".").map(Number));
  for (let i = 0; i < 3; i++) {
    const difference = (left![i] ?? 0) - (right![i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** What all of these are: the oldest version, and the abilities that each has. */
export function commonEngine(engines: readonly Engine[]): Engine {
  const [first, ...others] = engines;
  if (first === undefined) throw new TypeError("Cannot compare engines: none given, expected one or more");
  return others.reduce((common, engine) => ({
    version: compareVersions(common.version, engine.version) <= 0 ? common.version : engine.version,
    abilities: new Set([...common.abilities].filter((name) => engine.abilities.has(name))),
  }), first);
}
