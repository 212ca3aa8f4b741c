/** The thread of an {@link Asker}. */
import { parentPort } from "node:worker_threads";
import { AskedConnections, type AskerCall } from "./asked_connections.ts";

const connections = new AskedConnections();
const port = parentPort!;
port.on("message", async (call: AskerCall) => port.postMessage(await connections.answer(call)));
