/**
 * Puts 300 MiB into the folder at the URL given, and compares what is there with the same again; prints by how many MiB it has grown.
 * In a process of its own, where nothing else takes memory.
 *
 * @module
 */
import process from "node:process";
import { openStore } from "../../src/storage/open_store.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { repeated } from "../../src/contract/chunk_source.ts";

const MiB = 1024 * 1024;
const store = await openStore(parseReplicaUrl(process.argv[2]!));
const chunks = repeated(new Uint8Array(MiB), 300);
const before = process.memoryUsage().rss;
let rssMax = 0;
const watch = setInterval(() => rssMax = Math.max(rssMax, process.memoryUsage().rss), 5);
const sizes = [(await store.putChunks("k", chunks)).size, (await store.putChunks("k", chunks)).size];
clearInterval(watch);
await store.close();
console.log(JSON.stringify({ sizes, grownMiB: Math.round((rssMax - before) / MiB) }));
