/** A process that connects to a replica again and again and closes nothing; prints how many connections there were at once. */
import process from "node:process";
import { loadNative } from "../../ffi/mod.ts";
import { openReplica } from "../../mod.ts";
import { findShim } from "../../src/shim_path.ts";

/** Where the shim's census has connections. */
const CONNECTIONS_WORD = 7;
/** Connections between two collections. */
const BATCH = 100;

const [url, count] = process.argv.slice(2);
const { calls } = await loadNative(findShim());
const replica = await openReplica(url);
let most = 0;
for (let i = 0; i < Number(count); i++) {
  connectOnce();
  if (i % BATCH < BATCH - 1) continue;
  await collect();
  most = Math.max(most, connections());
}
await collect();
const rssMb = Math.round(process.memoryUsage().rss / 2 ** 20);
console.log(JSON.stringify({ count: Number(count), most, left: connections(), rssMb }));
process.exit(0);

function connectOnce(): void {
  const { n } = replica.connect().prepare("SELECT count(*) AS n FROM n").get();
  if (n !== 200) throw new Error(`${n} rows`);
}

function connections(): number {
  const words = new Uint32Array(16);
  calls.ls_census(new Uint8Array(words.buffer), words.length);
  return words[CONNECTIONS_WORD]!;
}

/** Has what nobody reaches collected. */
async function collect(): Promise<void> {
  for (let i = 0; i < 3; i++) {
    if ("Bun" in globalThis) (globalThis as unknown as { Bun: { gc(force: boolean): void } }).Bun.gc(true);
    else (globalThis as unknown as { gc(): void }).gc();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
