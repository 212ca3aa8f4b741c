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
    /'[^']*'(?:'[^']*')*|"[^"]*"(?:"[^"]*")*|`[^`]*`(?:`[^`]*`)*|\[[^\]]*\]/,
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

/** A token with its spaces; what is not closed is one up to the end. */
interface Token {
  readonly text: string;
  readonly isOpen: boolean;
}

function* tokensIn(sql: string): Generator<Token, void, undefined> {
  for (let at = 0; at < sql.length;) {
    TOKEN.lastIndex = at;
    const [found] = TOKEN.exec(sql)!;
    const isOpen = found.length === 1 && (OPEN.test(found) || sql.startsWith("/*", at));
    const text = isOpen ? sql.slice(at) : found;
    yield { text, isOpen };
    at += text.length;
  }
}

const tokensOf = (sql: string): string[] => Array.from(tokensIn(sql), ({ text }) => text);

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

/** What closes what begins so. */
const CLOSES: Readonly<Record<string, string>> = { "[": "]", "/": "*/" };

/** Cuts SQL that comes line by line, each looked at once. */
export class StatementSplitter {
  #place: Place = "start";
  /** The statement that has begun, but for what is not closed in it. */
  #text = "";
  /** In pieces: to put them together for each line would take as long as to look at all of it. */
  #open: string[] = [];
  #closing = "";

  /** The statement that has begun, as it stands; `""` where nothing but space and comments is left. */
  get rest(): string {
    return this.#text + this.#open.join("");
  }

  /** Whether a statement has begun. */
  get isPending(): boolean {
    return this.#text !== "" || this.#open.length > 0;
  }

  /** Takes whole lines; gives the statements that they complete. */
  push(lines: string): string[] {
    this.#open.push(lines);
    if (this.#open.length > 1 && !lines.includes(this.#closing)) return [];
    const sql = this.#open.join("");
    this.#open = [];
    const whole: string[] = [];
    for (const { text, isOpen } of tokensIn(sql)) {
      if (!isOpen) {
        this.#take(text, whole);
        continue;
      }
      this.#open = [text];
      this.#closing = CLOSES[text[0]!] ?? text[0]!;
    }
    return whole;
  }

  #take(token: string, whole: string[]): void {
    if (BLANK.test(token)) {
      if (this.#text !== "") this.#text += token;
      return;
    }
    if (token === ";" && this.#place === "start") {
      this.#text = "";
      return;
    }
    this.#text += token;
    if (token !== ";") this.#place = placeAfter(this.#place, token.toUpperCase());
    else if (this.#place === "trigger" || this.#place === "semicolon") this.#place = "semicolon";
    else {
      whole.push(this.#text);
      this.#place = "start";
      this.#text = "";
    }
  }
}

/** Cuts SQL at the semicolons that end statements: not those in quotes, comments and triggers. */
export function splitStatements(sql: string): SqlStatements {
  const splitter = new StatementSplitter();
  const whole = splitter.push(sql);
  return { whole, rest: splitter.rest };
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
  const tokens = tokensOf(sql);
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
