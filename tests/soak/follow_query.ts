/**
 * One connection's statements, prepared once.
 *
 * @module
 */
import type { Query } from "../support/invariant_writer_check.ts";
import type { Row } from "../support/sqlite.ts";

/** What a connection must give. */
interface Connection {
  exec(sql: string): unknown;
  prepare(sql: string): { all(): unknown[] };
}

/** Statements of a connection that are kept prepared, by their text. */
const STATEMENTS_MAX = 50;

/** A function that runs statements on a connection. */
export function openQuery(connection: Connection): Query {
  const statements = new Map<string, { all(): unknown[] }>();
  return (sql) => {
    let statement = statements.get(sql);
    if (statement === undefined) {
      statement = connection.prepare(sql);
      if (statements.size < STATEMENTS_MAX) statements.set(sql, statement);
    }
    return statement.all() as Row[];
  };
}
