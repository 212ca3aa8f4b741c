/**
 * A driver's connection in the few calls that scripts need: rows as arrays, whole 64-bit integers, errors as text.
 *
 * @module
 */
import type { ConnectOptions, DatabaseClass, Replica } from "../../mod.ts";
import type { TestedDriver } from "../support/all_drivers.ts";
import type { LocalDatabase } from "../support/local_database.ts";
import type { Cell } from "./result_text.ts";
import type { Engine } from "./script.ts";

/** What the drivers' statements have, each some of it. */
interface DriverStatement {
  all(): Record<string, Cell>[];
  values?(): Cell[][];
  finalize?(): void;
  setReadBigInts?(on: boolean): void;
  setReturnArrays?(on: boolean): void;
}

/** What running something came to. */
export interface Answer {
  /** The rows; of what failed none. */
  readonly rows: Cell[][];
  /** The error's message; empty where there was none. */
  readonly error: string;
}

/** Options by which each driver gives 64-bit integers whole. */
const WHOLE_INTEGERS: Record<string, object> = {
  "bun:sqlite": { safeIntegers: true },
  "node:sqlite": { readBigInts: true },
};
const OTHER_WHOLE_INTEGERS = { int64: true };

/** A connection that scripts run on. */
export class ScriptConnection {
  readonly #database: LocalDatabase;
  readonly #folder: string;

  private constructor(database: LocalDatabase, folder: string) {
    this.#database = database;
    this.#folder = folder;
  }

  /** A connection to a replica; `folder` stands for `${folder}` in SQL. */
  static ofReplica(
    replica: Replica,
    { name, Database }: TestedDriver,
    folder: string,
    options: ConnectOptions = {},
  ): ScriptConnection {
    const database = wholeIntegers(name);
    return new ScriptConnection(replica.connect(Database, { ...options, database }), folder);
  }

  /** A connection of the same driver to a plain file, made when it is not there. */
  static ofFile(path: string, { name, Database }: TestedDriver, folder: string): ScriptConnection {
    const Plain = Database as DatabaseClass<LocalDatabase>;
    const more = name === "bun:sqlite" ? { create: true, readwrite: true } : {};
    return new ScriptConnection(new Plain(path, { ...wholeIntegers(name), ...more }), folder);
  }

  /** Runs a statement to its end; its rows nobody wants. */
  run(sql: string): Answer {
    return this.#attempt(() => {
      // Not exec(): one driver's takes but one step, and what goes on row by row, as incremental_vacuum, is left undone.
      this.#rows(this.#inFolder(sql));
      return [];
    });
  }

  /** Runs a query. */
  ask(sql: string): Answer {
    return this.#attempt(() => this.#rows(this.#inFolder(sql)));
  }

  /** Runs a query that must not fail. */
  rows(sql: string): Cell[][] {
    return this.#rows(this.#inFolder(sql));
  }

  /** What SQLite this is. */
  engine(): Engine {
    const options = this.rows("SELECT compile_options FROM pragma_compile_options").flat().map(String);
    const version = String(this.rows("SELECT sqlite_version()")[0]![0]);
    return { version, abilities: new Set(options.map((name) => name.toLowerCase().replace("enable_", ""))) };
  }

  /** Whether a transaction is open. */
  isInTransaction(): boolean {
    if (this.run("BEGIN").error !== "") return true;
    this.rows("ROLLBACK");
    return false;
  }

  close(): void {
    this.#database.close();
  }

  #inFolder(sql: string): string {
    return sql.replaceAll("${folder}", this.#folder);
  }

  #attempt(act: () => Cell[][]): Answer {
    try {
      return { rows: act(), error: "" };
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      return { rows: [], error: error.message.replaceAll(this.#folder, "${folder}") };
    }
  }

  #rows(sql: string): Cell[][] {
    const statement = this.#database.prepare(sql) as unknown as DriverStatement;
    try {
      if (statement.values) return statement.values();
      if (statement.setReturnArrays === undefined) {
        throw new Error("Cannot read rows as arrays: the driver has neither values() nor setReturnArrays()");
      }
      statement.setReturnArrays(true);
      return statement.all() as unknown as Cell[][];
    } finally {
      statement.finalize?.();
    }
  }
}

function wholeIntegers(driver: string): object {
  return WHOLE_INTEGERS[driver] ?? OTHER_WHOLE_INTEGERS;
}

/** A row's values as text that tells types and bytes apart. */
export function exactText(rows: readonly (readonly Cell[])[]): string {
  return JSON.stringify(rows, (_, cell) => {
    if (typeof cell === "bigint") return `${cell}n`;
    if (typeof cell === "string") return `'${cell}`;
    if (typeof cell === "number") return Object.is(cell, -0) ? "-0" : String(cell);
    return cell instanceof Uint8Array ? `x${Buffer.from(cell).toString("hex")}` : cell;
  });
}
