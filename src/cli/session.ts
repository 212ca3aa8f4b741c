/**
 * An open replica with a thread that queries it.
 *
 * @module
 */
import { ReplicaError } from "../errors.ts";
import type { OpenOptions } from "../options.ts";
import { openReplica } from "../open_replica.ts";
import type { Replica } from "../replica.ts";
import { CommandError, EXIT } from "./exit_code.ts";
import { QueryError, QueryThread } from "./query_thread.ts";
import type { QueryConnect } from "./query_messages.ts";

/** What a session is opened with. */
export interface SessionStart {
  readonly url: string | undefined;
  readonly options: OpenOptions;
  readonly connect: QueryConnect;
  readonly signal: AbortSignal;
}

/** A replica and its query thread. */
export class Session {
  /** The replica. */
  readonly replica: Replica;
  /** Its queries. */
  readonly queries: QueryThread;

  private constructor(replica: Replica, queries: QueryThread) {
    this.replica = replica;
    this.queries = queries;
  }

  /** Opens both at once and connects. */
  static async open({ url, options, connect, signal }: SessionStart): Promise<Session> {
    const queries = new QueryThread();
    let replica: Replica | undefined;
    try {
      replica = await openReplica(url, { ...options, sqlite: "native", signal, flushOnSignals: false });
      const session = new Session(replica, queries);
      await queries.join(replica);
      await session.connect(connect);
      signal.throwIfAborted();
      return session;
    } catch (error) {
      await queries.close();
      await replica?.close({ force: true });
      throw error;
    }
  }

  /**
   * A connection in place of the one there is.
   *
   * @throws {CommandError} there is no such moment, or none that can be understood
   */
  async connect(connect: QueryConnect): Promise<void> {
    try {
      await this.queries.connect(connect);
    } catch (error) {
      throw momentError(error);
    }
  }

  /** Ends what runs. */
  interrupt(): void {
    this.queries.interrupt();
  }

  /** Closes both; a writer stores what is left first. */
  async close(): Promise<void> {
    await this.queries.close();
    await this.replica.close();
  }
}

/** Why there is no connection to a moment, with the exit code for it. */
export function momentError(error: unknown): unknown {
  if (!(error instanceof QueryError)) return error;
  const why = reasonOf(error);
  return new CommandError(why.message, isMisuse(why) ? EXIT.usage : EXIT.unreachable, { cause: error });
}

/** The first cause that says what is wrong, rather than that something is. */
function reasonOf(error: Error): Error {
  const { cause } = error;
  if (!(cause instanceof Error)) return error;
  return error instanceof QueryError || error.constructor === ReplicaError ? reasonOf(cause) : error;
}

function isMisuse(error: Error): boolean {
  return error instanceof TypeError || error instanceof RangeError;
}
