/**
 * What is known of a local copy from one process to the next, beside it on disk.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { open, readFile, rename, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import process from "node:process";
import { syncFile, syncFolder } from "../disk_sync.ts";
import { sumsPath } from "./local_file.ts";
import { decodeHeader, encodeHeader } from "../ltx/header.ts";
import type { PlanFile } from "../view/plan_file.ts";
import type { ReplicaFile } from "../view/restore_plan.ts";

const VERSION = 1;

/** A local copy as it was left. */
export interface HydrationRecord {
  /** Of its replica: what tells its place from all others, without secrets. */
  readonly name: string;
  readonly pageSize: number;
  /** Size of the database after {@link txid}, in pages. */
  readonly commit: number;
  /** What any page is at least as new as; of later transactions any number of pages may be there already. */
  readonly txid: bigint;
  /** What no page is newer than. */
  readonly lastTxid: bigint;
  /** When that transaction was written, in ms since the Unix epoch. */
  readonly timeMs: number;
  /** When the replica was last seen, by this machine's clock. */
  readonly seenMs: number;
  /** All pages are there, none newer than {@link txid}: the file is a database. */
  readonly isWhole: boolean;
  /** Files of the replica that were known then: by them it is known again. */
  readonly files: readonly ReplicaFile[];
  /** The file that ends at {@link txid}, where that was known: what follows goes on from there. */
  readonly last?: Pick<PlanFile, "file" | "header" | "checksum"> | undefined;
}

/** Path of the record beside a local copy. */
export function recordPath(path: string): string {
  return `${path}-state`;
}

/** Reads the record beside a local copy; undefined where there is none, or a damaged one. */
export async function readRecord(path: string): Promise<HydrationRecord | undefined> {
  try {
    const stored = JSON.parse(unsealed(await readFile(recordPath(path), "utf8")));
    const { version, txid, lastTxid, files, last, ...rest } = stored;
    if (version !== VERSION) return undefined;
    return {
      ...rest,
      txid: BigInt(txid),
      lastTxid: BigInt(lastTxid),
      files: files.map(fileOf),
      last: last && {
        file: fileOf(last.file),
        header: decodeHeader(new Uint8Array(Buffer.from(last.header, "hex"))),
        checksum: BigInt(last.checksum),
      },
    };
  } catch {
    return undefined; // what cannot be known is fetched anew
  }
}

// deno-lint-ignore no-explicit-any
function fileOf({ minTxid, maxTxid, ...rest }: any): ReplicaFile {
  return { ...rest, minTxid: BigInt(minTxid), maxTxid: BigInt(maxTxid) };
}

/**
 * Writes the record, for good when this returns; before one that is whole what the copy has by now: it must never be ahead
 * of its pages.
 */
export async function writeRecord(path: string, record: HydrationRecord): Promise<void> {
  const { last } = record;
  if (record.isWhole) { for (const part of [path, sumsPath(path)]) await syncFile(part); }
  const text = JSON.stringify(
    { version: VERSION, ...record, last: last && { ...last, header: hexOf(encodeHeader(last.header)) } },
    (_, value) => typeof value === "bigint" ? String(value) : value,
  );
  const unfinished = `${recordPath(path)}.tmp`;
  await removeFile(unfinished); // a link that somebody has put there is not followed
  const handle = await open(unfinished, "wx", 0o600);
  try {
    await handle.writeFile(sealRecord(text));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(unfinished, recordPath(path));
  await syncFolder(dirname(path));
}

/** The last member of a record: a checksum of the record without it. */
const SEAL = /,"seal":"([0-9a-f]{64})"\}$/;

/** A record's text with its checksum: one flipped bit in a TXID would make old pages count as new. */
export function sealRecord(text: string): string {
  return `${text.slice(0, -1)},"seal":"${hashOf(text)}"}`;
}

function unsealed(stored: string): string {
  const text = stored.replace(SEAL, "}");
  if (SEAL.exec(stored)?.[1] !== hashOf(text)) throw new Error("Cannot read record: it is damaged");
  return text;
}

function hashOf(text: string): string {
  const { createHash } = process.getBuiltinModule("node:crypto"); // takes milliseconds to load
  return createHash("sha256").update(text).digest("hex");
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** Removes the record: what is in the copy from now on is nobody's. */
export async function removeRecord(path: string): Promise<void> {
  await removeFile(recordPath(path));
}

/** Removes a file, if it is there. */
export async function removeFile(path: string): Promise<void> {
  await unlink(path).catch((error) => {
    if (error.code !== "ENOENT") throw error;
  });
}
