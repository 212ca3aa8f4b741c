/**
 * Reads listings of 1,000 objects, keeps the newest file of each, and prints how many bytes of JavaScript that has left, and how
 * many their text had.
 *
 * @module
 */
import process from "node:process";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import { parseListing } from "../../src/storage/s3_listing.ts";
import { type ReplicaFile, replicaFiles } from "../../src/view/restore_plan.ts";
import { collectGarbage } from "../soak/garbage.ts";

const LISTINGS = 60;
const OBJECTS = 1_000;

/** A listing from a TXID on, as it comes over the network. */
function listing(from: number): Uint8Array {
  const objects = Array.from({ length: OBJECTS }, (_, i) => {
    const txid = BigInt(from + i);
    const key = ltxKey("s3", 0, formatLtxFileName({ minTxid: txid, maxTxid: txid }));
    return `<Contents><Key>${key}</Key><LastModified>2026-11-22T00:00:00.000Z</LastModified>` +
      `<ETag>&quot;${key.slice(5, 37)}&quot;</ETag><Size>4711</Size></Contents>`;
  });
  const text = `<ListBucketResult><IsTruncated>false</IsTruncated>${objects.join("")}</ListBucketResult>`;
  return new TextEncoder().encode(text);
}

let textBytes = 0;

function newestOf(body: Uint8Array): ReplicaFile {
  textBytes += body.length;
  return replicaFiles(parseListing(new TextDecoder().decode(body)).objects, "s3", 0).at(-1)!;
}

async function heapBytes(): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, 50)); // the stack is no root any more
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

newestOf(listing(1)); // what the engine makes of the code
const before = await heapBytes();
textBytes = 0;
const kept = Array.from({ length: LISTINGS }, (_, i) => newestOf(listing(1 + i * OBJECTS)));
const heldBytes = await heapBytes() - before;
console.log(JSON.stringify({ heldBytes, textBytes, newest: Number(kept.at(-1)!.maxTxid) }));
