/** A thread of `connections_test.ts`: some connections, whose transactions are looked at one after the other. */
import process from "node:process";
import { parentPort, workerData } from "node:worker_threads";
import { joinReplica, type SharedReplica } from "../../mod.ts";
import { rowsOf } from "../replica/drivers.ts";

/** What a thread is started with. */
export interface ConnectionsStart {
  readonly shared: SharedReplica;
  readonly connections: number;
}

/** What its connections saw in one round: per connection the generation that all rows were of. */
export type SeenGenerations = number[] | { readonly error: string };

const port = parentPort!;
const { shared, connections: count } = workerData as ConnectionsStart;
const replica = await joinReplica(shared);
const connections = Array.from({ length: count }, () => replica.connect());

function generationOf(connection: typeof connections[number]): number {
  connection.exec("BEGIN");
  try {
    const [{ low, high, rows }] = rowsOf(
      connection,
      "SELECT min(generation) AS low, max(generation) AS high, count(*) AS rows FROM part",
    ) as [Record<string, number>];
    const [{ wanted }] = rowsOf(connection, "SELECT rows AS wanted FROM whole") as [Record<string, number>];
    if (low !== high) throw new Error(`generations ${low} to ${high} in one transaction`);
    if (rows !== wanted) throw new Error(`${rows} rows, expected ${wanted}`);
    return low!;
  } finally {
    connection.exec("ROLLBACK");
  }
}

port.on("message", (isLast: boolean) => {
  if (!isLast) {
    try {
      port.postMessage(connections.map(generationOf) satisfies SeenGenerations);
    } catch (error) {
      port.postMessage({ error: `${error}: ${replica.lastError}` } satisfies SeenGenerations);
    }
    return;
  }
  for (const connection of connections) connection.close();
  port.close?.();
  setTimeout(() => process.exit(), 10);
});
port.postMessage([]);
