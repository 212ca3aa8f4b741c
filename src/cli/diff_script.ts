/**
 * The SQL that leads from one state to another.
 *
 * @module
 */
import { ReplicaError } from "../errors.ts";
import type { Change, RowChange } from "../diff/change.ts";
import type { Replica } from "../replica.ts";
import { type CellValue, sqlName, sqlText, visibleText } from "./cell_text.ts";
import { cellOf } from "./change_text.ts";
import type { Output } from "./output.ts";
import type { ParameterValues } from "./parameters.ts";
import { QueryThread } from "./query_thread.ts";
import { onlyStatement } from "./statements.ts";

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

/** How the rows of a table are written. */
interface TableForm {
  /** All that can be set, a hidden rowid first. */
  readonly columns: readonly string[];
  readonly insert: string;
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
  const [before, after] = [await openState(request, request.from), await openState(request, request.to)];
  const stop = () => [before, after].forEach(({ queries }) => queries.interrupt());
  request.signal.addEventListener("abort", stop);
  try {
    await new Script(request, { before, after, out }).write();
  } finally {
    request.signal.removeEventListener("abort", stop);
    await Promise.all([before.queries.close(), after.queries.close()]);
  }
}

async function openState({ replica }: ScriptRequest, asOf: string): Promise<State> {
  const queries = new QueryThread();
  await queries.join(replica);
  await queries.connect({ asOf, readOnly: true });
  const { rows: [[txid, time] = []] } = await queries.rows("SELECT litestream_txid(), litestream_time()");
  const { rows } = await queries.rows(
    "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
  );
  const schema = rows.map(([type, name, table, sql]) =>
    ({ type, name, table, sql }) as unknown as SchemaEntry
  );
  return { queries, txid: String(txid), time: String(time), schema };
}

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
    await this.#line("PRAGMA foreign_keys = OFF;\nBEGIN;");
    const gone = this.#entriesThatGo(tables);
    for (const { type, name } of gone) await this.#line(`DROP ${type.toUpperCase()} ${sqlName(name)};`);
    for (const table of tables.replaced) {
      if (this.#has(before, table)) await this.#line(`DROP TABLE ${sqlName(table)};`);
    }
    await this.#deleteRows(tables.replaced);
    for (const table of tables.replaced) {
      if (this.#has(after, table)) await this.#create(this.#tableOf(table));
    }
    await this.#insertRows(tables.replaced);
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

  #has({ schema }: State, table: string): boolean {
    return schema.some(({ type, name }) => type === "table" && name === table);
  }

  #tableOf(table: string): SchemaEntry {
    return this.#after.schema.find(({ type, name }) => type === "table" && name === table)!;
  }

  /** Tables that are made anew, or gone; and all that change in any way. */
  async #changedTables(): Promise<{ replaced: Set<string>; all: Set<string> }> {
    const [replaced, all] = [new Set<string>(), new Set<string>()];
    for await (const { kind, table } of this.#changes()) {
      all.add(table);
      if (kind === "table-created" || kind === "table-dropped" || kind === "schema-changed") {
        replaced.add(table);
      }
    }
    this.#refuseVirtual();
    return { replaced, all };
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

  /** Triggers of tables that change, and indexes and views that are not there as they were. */
  #entriesThatGo({ all }: { readonly all: ReadonlySet<string> }): SchemaEntry[] {
    const kept = new Set(this.#after.schema.map(({ type, name, sql }) => JSON.stringify([type, name, sql])));
    return this.#before.schema.filter(({ type, name, table, sql }) => {
      if (type === "table" || !this.#isWanted(table)) return false;
      const isInTheWay = type === "trigger" && all.has(table);
      return isInTheWay || !kept.has(JSON.stringify([type, name, sql]));
    });
  }

  /** What is there now and was not, what was dropped for a while, and what went with its table; tables' own first. */
  #entriesThatCome(
    gone: readonly SchemaEntry[],
    { replaced }: { readonly replaced: ReadonlySet<string> },
  ): SchemaEntry[] {
    const there = new Set(
      this.#before.schema.filter((entry) => !gone.includes(entry) && !replaced.has(entry.table))
        .map(({ type, name, sql }) => JSON.stringify([type, name, sql])),
    );
    const order = ["index", "view", "trigger"];
    return this.#after.schema
      .filter(({ type, name, table, sql }) =>
        type !== "table" && this.#isWanted(table) && !there.has(JSON.stringify([type, name, sql]))
      )
      .sort((a, b) => order.indexOf(a.type) - order.indexOf(b.type));
  }

  #isWanted(table: string): boolean {
    const { tables } = this.#request;
    return tables === undefined || tables.some((name) => name.toLowerCase() === table.toLowerCase());
  }

  async #deleteRows(replaced: ReadonlySet<string>): Promise<void> {
    for await (const change of this.#changes()) {
      if (!("key" in change) || change.kind === "insert" || replaced.has(change.table)) continue;
      const where = await this.#whereOld(change);
      await this.#line(`DELETE FROM ${sqlName(change.table)} WHERE ${where};`);
    }
  }

  /** The row by its key in the older state: that of an updated row is told as it is now, and is the same there. */
  #whereOld({ key }: RowChange): string {
    return Object.entries(key).map(([name, value]) => `${sqlName(name)} IS ${sqlText(cellOf(value))}`).join(
      " AND ",
    );
  }

  async #insertRows(replaced: ReadonlySet<string>): Promise<void> {
    for (const table of replaced) if (this.#has(this.#after, table)) await this.#insertAll(table);
    for await (const change of this.#changes()) {
      if (!("key" in change) || change.kind === "delete" || replaced.has(change.table)) continue;
      await this.#insertOne(change);
    }
  }

  async #insertAll(table: string): Promise<void> {
    const { columns, insert } = await this.#formOf(table);
    await this.#select(
      `SELECT ${columns.join(", ")} FROM ${sqlName(table)}`,
      { named: {}, positional: [] },
      insert,
    );
  }

  async #insertOne({ table, key }: RowChange): Promise<void> {
    const { columns, insert } = await this.#formOf(table);
    const names = Object.keys(key);
    const where = names.map((name) => `${sqlName(name)} IS ?`).join(" AND ");
    const positional = names.map((name) => cellOf(key[name]!));
    await this.#select(`SELECT ${columns.join(", ")} FROM ${sqlName(table)} WHERE ${where}`, {
      named: {},
      positional,
    }, insert);
  }

  async #select(sql: string, parameters: ParameterValues, insert: string): Promise<void> {
    const { rows } = await this.#after.queries.rows(sql, parameters);
    for (const row of rows) await this.#line(`${insert} VALUES (${row.map(sqlText).join(", ")});`);
  }

  async #formOf(table: string): Promise<TableForm> {
    const known = this.#forms.get(table);
    if (known) return known;
    const { queries } = this.#after;
    const named = { named: { table }, positional: [] };
    const { rows } = await queries.rows(
      "SELECT name, type, pk, hidden FROM pragma_table_xinfo(:table)",
      named,
    );
    const { rows: [[wr] = []] } = await queries.rows(
      "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = :table",
      named,
    );
    const columns = rows.filter(([, , , hidden]) => hidden === 0n).map(([name]) => sqlName(String(name)));
    const rowid = wr === 1n ? undefined : hiddenRowid(rows);
    const all = rowid === undefined ? columns : [rowid, ...columns];
    const form = { columns: all, insert: `INSERT INTO ${sqlName(table)} (${all.join(", ")})` };
    this.#forms.set(table, form);
    return form;
  }
}

function momentOf({ txid, time }: State): string {
  return `TXID ${txid}${time.startsWith("txid:") ? "" : ` (${time})`}`;
}

/** A name for the rowid where no column is its alias, and none has taken all of its names. */
function hiddenRowid(columns: readonly (readonly CellValue[])[]): string | undefined {
  const keys = columns.filter(([, , pk]) => pk !== 0n);
  if (keys.length === 1 && /^integer$/i.test(String(keys[0]![1]))) return undefined;
  const taken = new Set(columns.map(([name]) => String(name).toLowerCase()));
  return ["rowid", "_rowid_", "oid"].find((name) => !taken.has(name));
}
