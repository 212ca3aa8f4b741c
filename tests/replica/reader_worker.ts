/** The thread of a {@link Reader}. */
import process from "node:process";
import { parentPort, workerData } from "node:worker_threads";
import { joinReplica } from "../../mod.ts";
import { rowsOf } from "./drivers.ts";
import type { ReaderAnswer, ReaderCall, ReaderStart } from "./reader.ts";

const port = parentPort!;
const { shared, timeoutMs } = workerData as ReaderStart;
const replica = await joinReplica(shared);
const db = replica.connect(undefined, timeoutMs === undefined ? {} : { timeoutMs });

function answer({ id, sql }: ReaderCall): ReaderAnswer {
  const began = performance.now();
  const ms = () => Math.round(performance.now() - began);
  try {
    return { id, rows: sql === "" ? [] : rowsOf(db, sql), ms: ms() };
  } catch (error) {
    const lastError = String(replica.lastError ?? "");
    return { id, rows: [], ms: ms(), error: { message: (error as Error).message, lastError } };
  }
}

port.on("message", async (call: ReaderCall) => {
  if (call.interruptAfterMs !== undefined) {
    return setTimeout(() => replica.interrupt(), call.interruptAfterMs);
  }
  if (call.id !== 0) return port.postMessage(answer(call));
  db.close();
  await replica.close();
  port.close?.();
  setTimeout(() => process.exit(), 10);
});
