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

/** A prepared statement, as far as both drivers agree. */
export interface ReplicaStatement {
  /** All rows, each an object by column name. */
  // deno-lint-ignore no-explicit-any
  all(...parameters: any[]): any[];
  /** The first row; `undefined` or `null` when there is none. */
  // deno-lint-ignore no-explicit-any
  get(...parameters: any[]): any;
}
