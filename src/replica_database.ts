/**
 * Databases that {@link Replica.connect} gives, as far as all drivers agree.
 *
 * @module
 */

/** The most that a database opened by `connect()` without a class is known to have; `bun:sqlite` and `node:sqlite` do. */
export interface ReplicaDatabase {
  /** Prepares a statement. */
  prepare(sql: string): ReplicaStatement;
  /** Runs statements that give no rows. */
  exec(sql: string): unknown;
  /** Closes the connection. */
  close(): void;
}

/** A prepared statement, as far as these agree; for all that a driver's have, give {@link Replica.connect} its class. */
export interface ReplicaStatement {
  /** All rows, each an object by column name. */
  // deno-lint-ignore no-explicit-any
  all(...parameters: any[]): any[];
  /** The first row; `undefined` or `null` when there is none. */
  // deno-lint-ignore no-explicit-any
  get(...parameters: any[]): any;
  /** Runs it for what it does; tells how many rows it changed, and the row id that was inserted last. */
  // deno-lint-ignore no-explicit-any
  run(...parameters: any[]): {
    readonly changes: number | bigint;
    readonly lastInsertRowid: number | bigint;
  };
}
