/**
 * SQL cut into statements where SQLite would, and the parameters in them.
 *
 * @see https://sqlite.org/c3ref/complete.html
 * @module
 */

/** Statements, and what stands behind the last one's end. */
export interface SqlStatements {
  /** Each with its semicolon; none is empty. */
  readonly whole: readonly string[];
  /** A statement without its end, as it stands; `""` where nothing but space and comments is left. */
  readonly rest: string;
}

const TOKEN = new RegExp(
  [
    /\s+|--[^\n]*|\/\*[^]*?\*\//,
    /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]/,
    /[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*/,
    /\?\d*|[:@#$][\w$:\u0080-\uffff]+/,
    /\d[\w.]*|[^]/,
  ].map(({ source }) => source).join("|"),
  "y",
);
const BLANK = /^(?:\s|--|\/\*[^]*\*\/$)/;
/** Lines that SQLite's own shell takes for a semicolon where a statement may end, as Oracle's and SQL Server's do. */
const SHELL_END = /^\s*(?:\/(?!\*)|go)\s*(?:--|\/\*|$)/i;
/** Characters that are looked through again for such lines; no schema that somebody means has so many of them. */
const LOOKED_MAX = 10_000_000;
/** The beginning of what has no other half yet. */
const OPEN = /^(?:['"`[]|\/\*)/;

/** Tokens with their spaces; what is not closed is one token up to the end. */
function* tokensOf(sql: string): Generator<string, void, undefined> {
  for (let at = 0; at < sql.length;) {
    TOKEN.lastIndex = at;
    const [found] = TOKEN.exec(sql)!;
    const isOpen = found.length === 1 && (OPEN.test(found) || sql.startsWith("/*", at));
    const token = isOpen ? sql.slice(at) : found;
    yield token;
    at += token.length;
  }
}

/** Where a statement is; in a trigger's body a semicolon ends nothing unless END stands before it. */
type Place = "start" | "explain" | "create" | "normal" | "trigger" | "semicolon" | "end";

function placeAfter(place: Place, word: string): Place {
  if (place === "start") return word === "EXPLAIN" ? "explain" : word === "CREATE" ? "create" : "normal";
  if (place === "explain") return word === "CREATE" ? "create" : "explain";
  if (place === "create") {
    if (word === "TRIGGER") return "trigger";
    return word === "TEMP" || word === "TEMPORARY" ? "create" : "normal";
  }
  if (place === "semicolon") return word === "END" ? "end" : "trigger";
  return place === "normal" ? "normal" : "trigger";
}

/** Cuts SQL at the semicolons that end statements: not those in quotes, comments and triggers. */
export function splitStatements(sql: string): SqlStatements {
  const whole: string[] = [];
  let place: Place = "start";
  let text = "";
  for (const token of tokensOf(sql)) {
    if (BLANK.test(token)) {
      if (text !== "") text += token;
      continue;
    }
    if (token === ";" && place === "start") {
      text = "";
      continue;
    }
    text += token;
    if (token !== ";") place = placeAfter(place, token.toUpperCase());
    else if (place === "trigger" || place === "semicolon") place = "semicolon";
    else {
      whole.push(text);
      place = "start";
      text = "";
    }
  }
  return { whole, rest: text };
}

/** The statements of SQL that ends here; a comment that is not closed ends with it, as in SQLite, and is none. */
export function statementsOf(sql: string): string[] {
  const { whole, rest } = splitStatements(sql);
  return rest === "" || /^\/\*[^]/.test(rest) ? [...whole] : [...whole, rest];
}

/**
 * SQL that is one statement, with a semicolon; undefined where it is none, or several, or SQLite's shell would see its end
 * elsewhere: whatever follows there would be read as a command.
 */
export function onlyStatement(sql: string): string | undefined {
  const tokens = [...tokensOf(sql)];
  const last = tokens.findLastIndex((token) => !BLANK.test(token) && !token.startsWith("/*"));
  const { whole, rest } = splitStatements(`${tokens.slice(0, last + 1).join("")};`);
  if (whole.length !== 1 || rest !== "" || endsEarly(sql)) return undefined;
  const closed = tokens.filter((token, i) => i <= last || BLANK.test(token));
  return closed.at(-1)?.startsWith("--") ? `${closed.join("")}\n;` : `${closed.join("")};`;
}

/** Whether SQLite's shell would take a line of a statement for its end. */
function endsEarly(sql: string): boolean {
  let before = "";
  let looked = 0;
  for (const line of sql.split("\n")) {
    if (SHELL_END.test(line)) {
      looked += before.length;
      if (looked > LOOKED_MAX) return true;
      const { whole, rest } = splitStatements(`${before};`);
      if (whole.length === 1 && rest === "") return true;
    }
    before += `${line}\n`;
  }
  return false;
}

/** Parameters of a statement. */
export interface SqlParameters {
  /** With the character before them, such as `:id`; each once. */
  readonly names: readonly string[];
  /** How many values `?` and `?3` need, by position. */
  readonly count: number;
}

/** The parameters that a statement names. */
export function parametersOf(sql: string): SqlParameters {
  const names = new Set<string>();
  let count = 0;
  for (const token of tokensOf(sql)) {
    if (/^\?/.test(token)) count = Math.max(count, token === "?" ? count + 1 : Number(token.slice(1)));
    else if (/^[:@$]./.test(token)) names.add(token);
  }
  return { names: [...names], count };
}
