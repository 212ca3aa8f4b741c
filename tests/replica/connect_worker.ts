/** A thread that joins a replica and connects as it is told; see `connecting.ts`. */
import { parentPort, workerData } from "node:worker_threads";
import { joinReplica, type ReplicaDatabase, type SharedReplica } from "../../mod.ts";
import type { ConnectCall, Connected } from "./connecting.ts";
import { drivers, valueOf } from "./drivers.ts";

const port = parentPort!;
const replica = await joinReplica((workerData as { shared: SharedReplica }).shared);

/** A database whose constructor never ends. */
class Endless extends (drivers[0]!.Database as new (path: string, options?: object) => ReplicaDatabase) {
  constructor(path: string, options?: object) {
    super(path, options);
    port.postMessage({ id: 0, ms: 0 } satisfies Connected);
    for (const word = new Int32Array(new SharedArrayBuffer(4));;) Atomics.wait(word, 0, 0, 20);
  }
}

function connect({ id, asOf, timeoutMs, sql, times = 1 }: ConnectCall): Connected {
  const began = performance.now();
  const errors: Connected["errors"] = [];
  let value: unknown;
  for (let i = 0; i < times; i++) {
    try {
      const db = replica.connect({ ...(asOf && { asOf }), ...(timeoutMs && { timeoutMs }) });
      if (sql !== undefined) value = valueOf(db, sql);
      db.close();
    } catch (error) {
      const { name, message, cause } = error as Error;
      errors.push({ name, message, cause: String(cause) });
    }
  }
  return { id, ms: performance.now() - began, errors, value };
}

port.on("message", (call: ConnectCall) => {
  if (call.endless) replica.connect(Endless);
  else port.postMessage(connect(call));
});
port.postMessage({ id: 0, ms: 0 } satisfies Connected);
