/** Opens a replica on this thread and posts how to join it. */
import { parentPort, workerData } from "node:worker_threads";
import { openReplica } from "../../mod.ts";

const replica = await openReplica((workerData as { url: string }).url);
parentPort!.postMessage(replica.share());
parentPort!.on("message", () => replica.close()); // keeps the thread alive
