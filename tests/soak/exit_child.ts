/**
 * A process that ends in the middle of queries on two threads.
 *
 * @module
 */
import process from "node:process";
import { openReplica } from "../../mod.ts";
import { nextMessage, startThread } from "./soak_support.ts";

const [url, rows, how] = process.argv.slice(2);
const replica = await openReplica(url, { cacheBytesMax: 1024 * 1024 });
const shared = replica.share();
const readers = [1, 2].map(() =>
  startThread("./reader_thread.ts", { shared, rows: Number(rows), misses: 0 })
);
await Promise.all(readers.map((reader) => nextMessage(reader)));
await new Promise((resolve) => setTimeout(resolve, Math.random() * 60));
if (how === "throw") throw new Error("meant");
process.exit(0);
