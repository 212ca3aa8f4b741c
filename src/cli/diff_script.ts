/**
 * The SQL that leads from one state to another.
 *
 * @module
 */
import { ReplicaError } from "../errors.ts";
import type { Change, RowChange } from "../diff/change.ts";
import type { Replica } from "../replica.ts";
import { type CellValue, sqlName, sqlText, visibleText } from "./cell_text.ts";
import type { Output } from "./output.ts";
import { NO_PARAMETERS, type ParameterValues } from "./parameters.ts";
import { QueryThread } from "./query_thread.ts";
import { momentError } from "./session.ts";
import { onlyStatement } from "./statements.ts";
import { type RowSource, TableForm } from "./table_form.ts";

/** What leads where. */
export interface ScriptRequest {
  readonly replica: Replica;
  readonly from: string;
  readonly to: string;
  readonly tables: readonly string[] | undefined;
  readonly signal: AbortSignal;
}

/** A row of `sqlite_schema`. */
interface SchemaEntry {
  readonly type: string;
  readonly name: string;
  readonly table: string;
  readonly sql: string;
}

/** One of the two states. */
interface State {
  readonly queries: QueryThread;
  readonly txid: string;
  readonly time: string;
  readonly schema: readonly SchemaEntry[];
}

/**
 * Writes a script that makes the state at `from` the one at `to`.
 *
 * It takes out what was deleted or changed before it puts anything in, so that no UNIQUE stands in its way whatever the
 * order; triggers are gone meanwhile, and foreign keys are not looked at.
 *
 * @throws {ReplicaError} a virtual table was made, dropped or changed, which no script can follow; or an entry of the schema is
 *   no single statement
 */
export async function writeScript(request: ScriptRequest, out: Output): Promise<void> {
  const threads: QueryThread[] = [];
  const stop = () => threads.forEach((queries) => queries.interrupt());
  request.signal.addEventListener("abort", stop);
  try {
    const [before, after] = [
      await openState(request, request.from, threads),
      await openState(request, request.to, threads),
    ];
    await new Script(request, { before, after, out }).write();
  } finally {
    request.signal.removeEventListener("abort", stop);
    await Promise.all(threads.map((queries) => queries.close()));
  }
}

/** Opens a moment in a thread that is added to `threads`. */
async function openState(
  { replica }: ScriptRequest,
  asOf: string,
  threads: QueryThread[],
): Promise<State> {
  const queries = new QueryThread();
  threads.push(queries);
  await queries.join(replica);
  try {
    await queries.connect({ asOf, readOnly: true });
  } catch (error) {
    throw momentError(error);
  }
  const { rows: [[txid, time] = []] } = await queries.rows("SELECT litestream_txid(), litestream_time()");
  const { rows } = await queries.rows(
    "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
  );
  const schema = rows.map(([type, name, table, sql]) =>
    ({ type, name, table, sql }) as unknown as SchemaEntry
  );
  return { queries, txid: String(txid), time: String(time), schema };
}

/** Names are the same whatever the case of their letters. */
const folded = (name: string) => name.toLowerCase();

const identityOf = ({ type, name, sql }: SchemaEntry) => JSON.stringify([type, name, sql]);

const isVirtual = ({ sql }: SchemaEntry) => /^\s*CREATE\s+VIRTUAL/i.test(sql);

/** A script on its way. */
class Script {
  readonly #request: ScriptRequest;
  readonly #before: State;
  readonly #after: State;
  readonly #out: Output;
  readonly #forms = new Map<string, TableForm>();

  constructor(
    request: ScriptRequest,
    { before, after, out }: { readonly before: State; readonly after: State; readonly out: Output },
  ) {
    this.#request = request;
    this.#before = before;
    this.#after = after;
    this.#out = out;
  }

  async write(): Promise<void> {
    const [before, after] = [this.#before, this.#after];
    await this.#line(`-- From ${momentOf(before)} to ${momentOf(after)}`);
    const tables = await this.#changedTables();
    await this.#tellOfShadows(tables.all);
    await this.#line("PRAGMA foreign_keys = OFF;\nBEGIN;");
    const gone = this.#entriesThatGo(tables);
    for (const { type, name } of gone) await this.#line(`DROP ${type.toUpperCase()} ${sqlName(name)};`);
    for (const { name } of tablesOf(before, tables.replaced)) {
      await this.#line(`DROP TABLE ${sqlName(name)};`);
    }
    await this.#deleteRows(tables.replaced);
    const made = tablesOf(after, tables.replaced);
    for (const table of made) await this.#create(table);
    for (const { name } of made) await this.#insertAll(name);
    await this.#insertRows(tables.replaced);
    await this.#setSequences(tables.all);
    for (const entry of this.#entriesThatCome(gone, tables)) await this.#create(entry);
    await this.#line("COMMIT;");
  }

  #line(text: string): Promise<void> {
    return this.#out.lines(text);
  }

  /** Writes what made an entry of the schema, which may be anything in a database that somebody else has written. */
  #create({ type, name, sql }: SchemaEntry): Promise<void> {
    const statement = onlyStatement(sql);
    if (statement !== undefined) return this.#line(statement);
    throw new ReplicaError(
      `Cannot write SQL: ${type} "${
        visibleText(name)
      }" is more than a statement in its schema, or SQLite's shell would end it early, expected one statement`,
    );
  }

  #changes(): AsyncIterable<Change> {
    const { replica, tables, signal } = this.#request;
    return replica.diff(`txid:${this.#before.txid}`, `txid:${this.#after.txid}`, { tables, signal });
  }

  /** Tables that are written whole, made anew or gone, and all that change in any way; names in small letters. */
  async #changedTables(): Promise<{ replaced: Set<string>; all: Set<string> }> {
    const [replaced, all] = [new Set<string>(), new Set<string>()];
    for await (const change of this.#changes()) {
      const table = folded(change.table);
      all.add(table);
      if (!("key" in change) || (!replaced.has(table) && !await this.#isMet(change))) replaced.add(table);
    }
    this.#refuseVirtual();
    return { replaced, all };
  }

  /** Whether SQL can name the row, and no other, by its key, and put it where it is. */
  async #isMet(change: RowChange): Promise<boolean> {
    const form = await this.#formOf(change.table);
    return form.meets(change.key) && await this.#hasPlace(change, form);
  }

  /**
   * Whether a row's hidden rowid is as it was, or free: not where a row that is not told of, for it is the same, was there and is
   * elsewhere now.
   */
  async #hasPlace({ kind, key }: RowChange, form: TableForm): Promise<boolean> {
    const sql = form.rowidOf(key);
    if (kind === "delete" || sql === undefined) return true;
    const first = async ({ queries }: State, sql: string, positional: CellValue[]) =>
      (await queries.rows(sql, { named: {}, positional })).rows[0];
    const [rowid] = (await first(this.#after, sql, form.values(key)))!;
    if (kind === "update") return (await first(this.#before, sql, form.values(key)))?.[0] === rowid;
    const there = await first(this.#before, form.keyAt(key), [rowid!]);
    if (there === undefined) return true;
    const other = Object.fromEntries(
      Object.keys(key).map((name, i) => [name, there[i]!]),
    ) as RowChange["key"];
    return form.meets(other) && await first(this.#after, sql, [...there]) === undefined;
  }

  /** A shell that defends tables of that kind would run all other lines of the script. */
  async #tellOfShadows(changed: ReadonlySet<string>): Promise<void> {
    const { rows } = await this.#after.queries.rows(
      "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'",
    );
    const shadow = rows.map(([name]) => String(name)).find((name) => changed.has(folded(name)));
    if (shadow === undefined) return;
    await this.#line(
      `-- Writes to ${
        visibleText(sqlName(shadow))
      }, a table of a virtual one: SQLite's shell needs ".dbconfig defensive off" before`,
    );
  }

  #refuseVirtual(): void {
    const virtual = ({ schema }: State) =>
      new Map(schema.filter(isVirtual).map(({ name, sql }) => [name, sql]));
    const [before, after] = [virtual(this.#before), virtual(this.#after)];
    const changed = [...before.keys(), ...after.keys()].find((name) => before.get(name) !== after.get(name));
    if (changed === undefined) return;
    throw new ReplicaError(
      `Cannot write SQL: virtual table "${
        visibleText(changed)
      }" was made, dropped or changed, expected ordinary tables`,
    );
  }

  /** Triggers of tables that change, and of views that go; indexes and views that are not there as they were. Triggers first. */
  #entriesThatGo({ all }: { readonly all: ReadonlySet<string> }): SchemaEntry[] {
    const kept = new Set(this.#after.schema.map(identityOf));
    const entries = this.#before.schema.filter(({ type, table }) =>
      type !== "table" && this.#isWanted(table)
    );
    const gone = entries.filter((entry) =>
      !kept.has(identityOf(entry)) || (entry.type === "trigger" && all.has(folded(entry.table)))
    );
    const views = new Set(gone.filter(({ type }) => type === "view").map(({ name }) => folded(name)));
    const withViews = entries.filter((entry) =>
      gone.includes(entry) || (entry.type === "trigger" && views.has(folded(entry.table)))
    );
    return inOrder(withViews, ["trigger", "view", "index"]);
  }

  /** What is there now and was not, what was dropped for a while, and what went with its table; tables' own first. */
  #entriesThatCome(
    gone: readonly SchemaEntry[],
    { replaced }: { readonly replaced: ReadonlySet<string> },
  ): SchemaEntry[] {
    const there = new Set(
      this.#before.schema.filter((entry) => !gone.includes(entry) && !replaced.has(folded(entry.table)))
        .map(identityOf),
    );
    const come = this.#after.schema.filter((entry) =>
      entry.type !== "table" && this.#isWanted(entry.table) && !there.has(identityOf(entry))
    );
    return inOrder(come, ["index", "view", "trigger"]);
  }

  #isWanted(table: string): boolean {
    const { tables } = this.#request;
    return tables === undefined || tables.some((name) => folded(name) === folded(table));
  }

  async #deleteRows(replaced: ReadonlySet<string>): Promise<void> {
    for await (const change of this.#changes()) {
      if (!("key" in change) || change.kind === "insert" || replaced.has(folded(change.table))) continue;
      const { table, key } = change;
      // that of an updated row is told as it is now, and is the same before
      await this.#line(`DELETE FROM ${sqlName(table)} WHERE ${(await this.#formOf(table)).where(key)};`);
    }
  }

  async #insertRows(replaced: ReadonlySet<string>): Promise<void> {
    for await (const change of this.#changes()) {
      if (!("key" in change) || change.kind === "delete" || replaced.has(folded(change.table))) continue;
      const { table, key } = change;
      const form = await this.#formOf(table);
      const { sql, into } = form.rows;
      const parameters = { named: {}, positional: form.values(key) };
      await this.#insert({ sql: `${sql} WHERE ${form.where(key, "?")}`, into }, parameters);
    }
  }

  async #insertAll(table: string): Promise<void> {
    await this.#insert((await this.#formOf(table)).rows, NO_PARAMETERS);
  }

  /** Writes the rows of a query one by one: there may be more than memory holds. */
  async #insert({ sql, into }: RowSource, parameters: ParameterValues): Promise<void> {
    await this.#after.queries.run([sql], {
      parameters,
      format: { mode: "insert", into },
      write: (text) => this.#line(text.trimEnd()),
    });
  }

  /** What AUTOINCREMENT goes on from, which no row may tell. */
  async #setSequences(changed: ReadonlySet<string>): Promise<void> {
    const [before, after] = [await sequencesOf(this.#before), await sequencesOf(this.#after)];
    for (const name of new Set([...before.keys(), ...after.keys()])) {
      if (!this.#isWanted(name) || (before.get(name) === after.get(name) && !changed.has(folded(name)))) {
        continue;
      }
      await this.#line(`DELETE FROM sqlite_sequence WHERE name IS ${sqlText(name)};`);
      const seq = after.get(name);
      if (seq === undefined) continue;
      await this.#line(`INSERT INTO sqlite_sequence (name, seq) VALUES (${sqlText(name)}, ${sqlText(seq)});`);
    }
  }

  async #formOf(table: string): Promise<TableForm> {
    const known = this.#forms.get(table);
    if (known) return known;
    const form = await TableForm.read(this.#after.queries, table);
    this.#forms.set(table, form);
    return form;
  }
}

async function sequencesOf({ queries }: State): Promise<Map<string, CellValue>> {
  const { rows: [known] } = await queries.rows("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'");
  if (known === undefined) return new Map();
  const { rows } = await queries.rows("SELECT name, seq FROM sqlite_sequence ORDER BY name");
  return new Map(rows.map(([name, seq]) => [String(name), seq!]));
}

function tablesOf({ schema }: State, names: ReadonlySet<string>): SchemaEntry[] {
  return schema.filter(({ type, name }) => type === "table" && names.has(folded(name)));
}

function inOrder(entries: readonly SchemaEntry[], types: readonly string[]): SchemaEntry[] {
  return entries.toSorted((a, b) => types.indexOf(a.type) - types.indexOf(b.type));
}

function momentOf({ txid, time }: State): string {
  return `TXID ${txid}${time.startsWith("txid:") ? "" : ` (${time})`}`;
}
