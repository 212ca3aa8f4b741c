/**
 * What the network gives: all objects of a replica by plain ranged GETs, so many at once; prints figures as JSON.
 *
 * @module
 */
import process from "node:process";

const { endpoint, objects, connections, rangeBytes } = JSON.parse(process.argv[2]!);
const ranges: { key: string; from: number; to: number }[] = [];
for (const { key, size } of objects) {
  for (let from = 0; from < size; from += rangeBytes) {
    ranges.push({ key, from, to: Math.min(from + rangeBytes, size) - 1 });
  }
}
let next = 0;
let bytes = 0;
async function work(): Promise<void> {
  while (next < ranges.length) {
    const { key, from, to } = ranges[next++]!;
    const answer = await fetch(`${endpoint}/bucket/db/${key}`, {
      headers: { range: `bytes=${from}-${to}` },
    });
    const body = await answer.arrayBuffer();
    if (answer.status !== 206) throw new Error(`${key}: status ${answer.status}`);
    bytes += body.byteLength;
  }
}
const begin = performance.now();
await Promise.all(Array.from({ length: connections }, work));
console.log(JSON.stringify({ ms: performance.now() - begin, kib: bytes / 1024, requests: ranges.length }));
process.exit(0);
