import { databaseFault } from "./fault.ts";
import { type SqlToken, sqlTokens } from "./sql_tokens.ts";

/** One column of a primary key. */
export interface KeyColumn {
  /** As declared. */
  readonly name: string;
  /** Which value of the stored record it is, from 0. */
  readonly position: number;
  /** Collation in lower case; `"binary"` unless declared. */
  readonly collation: string;
}

/** What a `CREATE TABLE` says of a table's keys. */
export interface TableDefinition {
  /** Rows are records of an index tree. */
  readonly withoutRowid: boolean;
  /**
   * The name under which the rowid is the key: that of the `INTEGER PRIMARY KEY`, or `"rowid"` where there is no primary
   * key; null where `keyColumns` are the key.
   */
  readonly rowidName: string | null;
  /** The primary key's columns, in its order, each once; empty where the rowid is the key. */
  readonly keyColumns: readonly KeyColumn[];
}

interface Column {
  name: string;
  type: string;
  collation: string;
  /** A virtual generated column, of which nothing is stored. */
  virtual: boolean;
}

interface KeyTerm {
  name: string;
  collation: string | null;
}

interface KeyedColumn {
  column: Column;
  collation: string;
}

interface PrimaryKey {
  terms: KeyTerm[];
  /** `INTEGER PRIMARY KEY DESC` beside the column: by an old mistake of SQLite's, not the rowid. */
  columnDesc: boolean;
}

const COLUMN_CONSTRAINTS = new Set(
  "constraint primary not null unique check default collate references generated as on deferrable initially"
    .split(" "),
);

/** What SQLite reads as it is usually built. */
const SQL_LENGTH_MAX = 1_000_000;
const TABLE_CONSTRAINTS = new Set(["constraint", "primary", "unique", "check", "foreign"]);

/**
 * Reads which columns of a table are its key, and where its records hold them.
 *
 * `sql` is what sqlite_schema holds: SQLite has parsed it, so only what decides the key is looked at.
 *
 * @throws {ReplicaError} the text is no such statement, or its key names a column it does not have
 * @see https://sqlite.org/lang_createtable.html
 */
export function parseCreateTable(sql: string): TableDefinition {
  if (sql.length > SQL_LENGTH_MAX) {
    throw databaseFault(
      "read a CREATE TABLE statement",
      `${sql.length} characters`,
      `up to ${SQL_LENGTH_MAX}`,
    );
  }
  return new CreateTableParser(sqlTokens(sql)).parse();
}

/** Lower case as SQLite has it: ASCII only. */
export function foldCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

class CreateTableParser {
  readonly #tokens: SqlToken[];
  readonly #columns: Column[] = [];
  #next = 0;
  #primaryKey: PrimaryKey | null = null;

  constructor(tokens: SqlToken[]) {
    this.#tokens = tokens;
  }

  parse(): TableDefinition {
    this.#expectWord("create");
    this.#expectWord("table");
    while (!this.#takeText("(")) this.#advance();
    do {
      if (this.#isTableConstraint()) this.#tableConstraints();
      else this.#column();
    } while (this.#takeText(","));
    if (!this.#takeText(")")) throw this.#fault("a ) or a comma");
    return this.#definition(this.#hasWithoutRowid());
  }

  #column(): void {
    const column: Column = { name: this.#name(), type: "", collation: "binary", virtual: false };
    this.#columns.push(column);
    column.type = this.#type();
    while (!this.#isEndOfItem()) this.#columnConstraint(column);
  }

  #type(): string {
    const words: string[] = [];
    for (
      let token = this.#peek();
      token.kind !== "other" && !this.#isColumnConstraint();
      token = this.#peek()
    ) {
      words.push(token.text);
      this.#next++;
    }
    if (this.#peek().text === "(" && this.#peek().kind === "other") words.push(this.#skipParentheses());
    return foldCase(words.join(" "));
  }

  #columnConstraint(column: Column): void {
    const keyword = this.#takeKeyword();
    if (keyword === "primary") this.#columnPrimaryKey(column);
    else if (keyword === "collate") column.collation = foldCase(this.#name());
    else if (keyword === "as") this.#generated(column);
    else if (keyword === "default") this.#default();
    else if (keyword === "set" || keyword === "constraint" || keyword === "match") this.#advance();
    else if (keyword === "") this.#advance();
  }

  #columnPrimaryKey(column: Column): void {
    this.#expectWord("key");
    const columnDesc = this.#takeWord("desc");
    this.#primaryKey = { terms: [{ name: column.name, collation: null }], columnDesc };
  }

  #generated(column: Column): void {
    this.#skipParentheses();
    column.virtual = !this.#takeWord("stored");
  }

  #default(): void {
    if (!this.#takeText("+")) this.#takeText("-");
    this.#advance();
  }

  #tableConstraints(): void {
    while (!this.#isEndOfItem()) {
      if (!this.#takeWord("primary")) this.#advance();
      else {
        this.#expectWord("key");
        this.#primaryKey = { terms: this.#keyTerms(), columnDesc: false };
      }
    }
  }

  #keyTerms(): KeyTerm[] {
    const terms: KeyTerm[] = [];
    if (!this.#takeText("(")) throw this.#fault("a (");
    do {
      let depth = 0;
      while (this.#takeText("(")) depth++;
      const term: KeyTerm = { name: this.#name(), collation: null };
      for (; depth > 0 || !this.#isEndOfItem();) {
        if (this.#takeWord("collate")) term.collation = foldCase(this.#name());
        else if (this.#takeText(")")) depth--;
        else this.#advance();
      }
      terms.push(term);
    } while (this.#takeText(","));
    if (!this.#takeText(")")) throw this.#fault("a )");
    return terms;
  }

  #hasWithoutRowid(): boolean {
    for (; this.#next + 1 < this.#tokens.length; this.#next++) {
      if (this.#takeWord("without")) return this.#takeWord("rowid");
    }
    return false;
  }

  #definition(withoutRowid: boolean): TableDefinition {
    if (this.#primaryKey === null) {
      if (withoutRowid) throw this.#fault("a primary key in a table without rowid");
      return { withoutRowid, rowidName: "rowid", keyColumns: [] };
    }
    const { terms, columnDesc } = this.#primaryKey;
    const keyed = this.#keyed(terms);
    const only = keyed[0]!.column;
    if (!withoutRowid && terms.length === 1 && only.type === "integer" && !columnDesc) {
      return { withoutRowid, rowidName: only.name, keyColumns: [] };
    }
    return { withoutRowid, rowidName: null, keyColumns: this.#keyColumns(keyed, withoutRowid) };
  }

  #keyed(terms: readonly KeyTerm[]): KeyedColumn[] {
    const byName = new Map(this.#columns.map((column) => [foldCase(column.name), column]));
    return terms.map(({ name, collation }) => {
      const column = byName.get(foldCase(name));
      if (column) return { column, collation: collation ?? column.collation };
      throw databaseFault("read a table's primary key", `column "${name}"`, "a column of the table");
    });
  }

  /**
   * A record holds the columns as declared. Without a rowid it begins with those of the key, a column again only where
   * its collation is another one.
   */
  #keyColumns(keyed: readonly KeyedColumn[], withoutRowid: boolean): KeyColumn[] {
    const stored = withoutRowid
      ? firstOf(keyed, ({ column, collation }) => `${foldCase(column.name)}\0${collation}`)
        .map(({ column }) => column)
      : this.#columns.filter((column) => !column.virtual);
    const positions = new Map<Column, number>();
    for (const [position, column] of stored.entries()) {
      if (!positions.has(column)) positions.set(column, position);
    }
    return firstOf(keyed, ({ column }) => column)
      .map(({ column, collation }) => ({ name: column.name, position: positions.get(column)!, collation }));
  }

  #peek(): SqlToken {
    const token = this.#tokens[this.#next];
    if (token === undefined) throw this.#fault("more of it");
    return token;
  }

  #advance(): void {
    const token = this.#peek();
    if (token.kind === "other" && token.text === "(") this.#skipParentheses();
    else this.#next++;
  }

  /** Skips to behind the parenthesis that closes the one here. */
  #skipParentheses(): string {
    let depth = 0;
    do {
      const token = this.#peek();
      if (token.kind === "other" && token.text === "(") depth++;
      if (token.kind === "other" && token.text === ")") depth--;
      this.#next++;
    } while (depth > 0);
    return "()";
  }

  #name(): string {
    const token = this.#peek();
    if (token.kind === "other") throw this.#fault("a name");
    this.#next++;
    return token.text;
  }

  #isEndOfItem(): boolean {
    const { kind, text } = this.#peek();
    return kind === "other" && (text === "," || text === ")");
  }

  #isTableConstraint(): boolean {
    return TABLE_CONSTRAINTS.has(this.#keyword());
  }

  /** A type may have any words, even `GENERATED`, as long as `ALWAYS` does not follow. */
  #isColumnConstraint(): boolean {
    const keyword = this.#keyword();
    if (keyword !== "generated") return COLUMN_CONSTRAINTS.has(keyword);
    const following = this.#tokens[this.#next + 1];
    return following?.kind === "word" && foldCase(following.text) === "always";
  }

  /** The bare word here in lower case, or `""`. */
  #keyword(): string {
    const { kind, text } = this.#peek();
    return kind === "word" ? foldCase(text) : "";
  }

  #takeKeyword(): string {
    const keyword = this.#keyword();
    if (keyword !== "") this.#next++;
    return keyword;
  }

  #takeWord(word: string): boolean {
    const found = this.#tokens[this.#next] !== undefined && this.#keyword() === word;
    if (found) this.#next++;
    return found;
  }

  #takeText(text: string): boolean {
    const token = this.#peek();
    const found = token.kind === "other" && token.text === text;
    if (found) this.#next++;
    return found;
  }

  #expectWord(word: string): void {
    if (!this.#takeWord(word)) throw this.#fault(word.toUpperCase());
  }

  #fault(expected: string): Error {
    const found = this.#tokens[this.#next]?.text ?? "its end";
    return databaseFault("read a CREATE TABLE statement", found.slice(0, 40), expected);
  }
}

/** The items without those that have the same key as one before them. */
function firstOf<T>(items: readonly T[], keyOf: (item: T) => unknown): T[] {
  const keys = new Set<unknown>();
  return items.filter((item) => {
    const key = keyOf(item);
    return !keys.has(key) && keys.add(key);
  });
}
