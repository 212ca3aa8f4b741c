/**
 * A replica's connection in the few calls that tests ask of any database.
 *
 * @module
 */
import type { ConnectOptions, Replica } from "../../mod.ts";
import type { PlainDatabase, Row } from "../support/sqlite.ts";

/** Opens a connection; each statement is finalized at once where the driver can. */
export function connectPlain(replica: Replica, options: ConnectOptions = {}): PlainDatabase {
  const db = replica.connect(options);
  return {
    path: replica.name,
    exec: (sql) => void db.exec(sql),
    all(sql, ...parameters) {
      const statement = db.prepare(sql);
      try {
        return statement.all(...parameters) as Row[];
      } finally {
        // Bun keeps a closed connection until its statements are finalized or collected
        (statement as unknown as { finalize?(): void }).finalize?.();
      }
    },
    close: () => db.close(),
  };
}
