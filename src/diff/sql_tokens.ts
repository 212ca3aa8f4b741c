import { databaseFault } from "./fault.ts";

/** A piece of SQL. */
export interface SqlToken {
  /** `"word"`: bare, may be a keyword; `"name"`: quoted, never one; `"other"`: numbers, blobs, punctuation. */
  readonly kind: "word" | "name" | "other";
  /** The text; that of a quoted name without its quotes. */
  readonly text: string;
}

const SPACE_OR_COMMENT = /\s+|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/y;
const WORD = /[A-Za-z_\u0080-\u{10ffff}][\w$\u0080-\u{10ffff}]*/uy;
const BLOB = /[xX]'[^']*'/y;
const NUMBER = /(?:\d[\w]*(?:\.[\w]*)?|\.\d[\w]*)(?:(?<=[eE])[+-]\d+)?/y;
const QUOTED = /"[^"]*(?:""[^"]*)*"|'[^']*(?:''[^']*)*'|`[^`]*(?:``[^`]*)*`|\[[^\]]*\]/y;

/**
 * Cuts SQL into tokens; spaces and comments are left out.
 *
 * @throws {ReplicaError} a quote is not closed
 */
export function sqlTokens(sql: string): SqlToken[] {
  const tokens: SqlToken[] = [];
  let offset = 0;
  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = offset;
    const text = pattern.exec(sql)?.[0];
    if (text) offset += text.length;
    return text;
  };
  while (offset < sql.length) {
    if (match(SPACE_OR_COMMENT)) continue;
    const blobOrNumber = match(BLOB) ?? match(NUMBER);
    if (blobOrNumber) tokens.push({ kind: "other", text: blobOrNumber });
    else tokens.push(wordOrName(match, sql, offset) ?? { kind: "other", text: sql[offset++]! });
  }
  return tokens;
}

function wordOrName(
  match: (pattern: RegExp) => string | undefined,
  sql: string,
  offset: number,
): SqlToken | undefined {
  const word = match(WORD);
  if (word) return { kind: "word", text: word };
  const quoted = match(QUOTED);
  if (quoted) return { kind: "name", text: unquote(quoted) };
  if (!"\"'`[".includes(sql[offset]!)) return undefined;
  throw databaseFault("read SQL", `a ${sql[offset]} at ${offset} is not closed`, "its other half");
}

function unquote(quoted: string): string {
  const quote = quoted[0]!;
  const text = quoted.slice(1, -1);
  return quote === "[" ? text : text.replaceAll(quote + quote, quote);
}
