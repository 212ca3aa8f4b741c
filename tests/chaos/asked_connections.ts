/**
 * Connections of one thread that are opened, asked and closed by name.
 *
 * @module
 */
import { joinReplica, type Replica, type ReplicaDatabase, type SharedReplica } from "../../mod.ts";
import { rowsOf, valueOf } from "../replica/drivers.ts";
import type { Row } from "../support/sqlite.ts";

/** How a connection is opened. */
export interface ConnectionWanted {
  readonly shared: SharedReplica;
  readonly timeoutMs: number;
  /** A TXID, for a connection in the past. */
  readonly asOf?: bigint;
}

/** What is asked. */
export type AskerCall =
  /** Open a connection under a name of the caller's. */
  | { readonly kind: "connect"; readonly name: string; readonly to: ConnectionWanted }
  /** Run SQL; the rows of the last statement are given. */
  | { readonly kind: "run"; readonly name: string; readonly sql: readonly string[] }
  | { readonly kind: "close"; readonly name: string };

/** A failure as it was told. */
export interface AskerFault {
  /** What the driver says. */
  readonly driver: string;
  /** The reason, as `PRAGMA litestream_error` or `connect()` has it: `Name: message`. */
  readonly reason: string;
}

/** What came of a call. */
export interface AskerAnswer {
  readonly rows: Row[];
  readonly fault?: AskerFault;
}

/** The connections. */
export class AskedConnections {
  readonly #open = new Map<string, { readonly replica: Replica; readonly db: ReplicaDatabase }>();

  /** Does what is asked; a transaction in which something fails is rolled back. */
  async answer(call: AskerCall): Promise<AskerAnswer> {
    try {
      return { rows: await this.#perform(call) };
    } catch (thrown) {
      const fault = { driver: String(thrown), reason: this.#reasonOf(call, thrown as Error) };
      this.#rollBack(call);
      return { rows: [], fault };
    }
  }

  async #perform(call: AskerCall): Promise<Row[]> {
    if (call.kind === "connect") {
      await this.#connect(call.name, call.to);
      return [];
    }
    const { db, replica } = this.#open.get(call.name)!;
    if (call.kind === "run") return run(db, call.sql);
    this.#open.delete(call.name);
    db.close();
    await replica.close();
    return [];
  }

  async #connect(name: string, { shared, timeoutMs, asOf }: ConnectionWanted): Promise<void> {
    const replica = await joinReplica(shared);
    const db = replica.connect(undefined, asOf === undefined ? { timeoutMs } : { timeoutMs, asOf });
    this.#open.set(name, { replica, db });
  }

  /** Why a call failed: by the connection where there is one. */
  #reasonOf(call: AskerCall, error: Error): string {
    const db = this.#open.get(call.name)?.db;
    if (call.kind !== "run" || db === undefined) return String(error.cause ?? error);
    try {
      return String(valueOf(db, "PRAGMA litestream_error") ?? "");
    } catch (failed) {
      return `PRAGMA litestream_error fails: ${failed}`;
    }
  }

  #rollBack(call: AskerCall): void {
    try {
      this.#open.get(call.name)?.db.exec("ROLLBACK");
    } catch {
      // there was no transaction
    }
  }
}

/** Runs statements; all but the last give no rows. */
function run(db: ReplicaDatabase, sql: readonly string[]): Row[] {
  for (const each of sql.slice(0, -1)) db.exec(each);
  return rowsOf(db, sql.at(-1)!);
}
