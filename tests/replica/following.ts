/**
 * What tests of a replica that is followed share: waiting, looks that fail, events, the shim's census.
 *
 * @module
 */
import assert from "node:assert/strict";
import { mkdirSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { dirname } from "node:path";
import { loadNative } from "../../ffi/mod.ts";
import type { Replica, ReplicaDatabase, ReplicaEvent } from "../../mod.ts";
import { findShim } from "../../src/shim_path.ts";
import type { ReplicaFolder } from "../support/replica_folder.ts";
import { rowsOf, valueOf } from "./drivers.ts";

/** Looks only when asked to. */
export const ASKED = { pollIntervalMs: 0 } as const;

/** Looks all the time. */
export const OFTEN = { pollIntervalMs: 10 } as const;

/** Waits until something holds; fails after 10 s. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  timeoutMs = 10_000,
): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!await holds()) {
    if (performance.now() > endMs) assert.fail(`not within ${timeoutMs} ms: ${what}`);
    await pause(5);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Waits for so many more looks that went well. */
export async function looks(replica: Replica, count: number): Promise<void> {
  const { polls } = replica.stats();
  await until(`${count} looks`, () => replica.stats().polls >= polls + count);
}

/** A table `v` with one row, whose `x` is the transaction that wrote it last. */
export function recordValue(folder: ReplicaFolder, upTo: number): void {
  while (folder.txid < upTo) {
    const next = folder.txid + 1;
    folder.record(next === 1 ? "CREATE TABLE v (x); INSERT INTO v VALUES (1)" : `UPDATE v SET x = ${next}`);
  }
}

/** The same, each transaction with its L0 file. */
export function stepValue(folder: ReplicaFolder, upTo: number): void {
  for (let txid = folder.txid + 1; txid <= upTo; txid++) {
    recordValue(folder, txid);
    folder.write(0, txid, txid);
  }
}

/** Has looks by name fail, as when storage is away: where the next file would be lies a link to itself. */
export function breakLooks(folder: ReplicaFolder, txid = folder.txid + 1): () => void {
  const path = folder.pathOf(0, txid, txid);
  mkdirSync(dirname(path), { recursive: true });
  symlinkSync(path, path);
  return () => rmSync(path);
}

/** Moves the whole replica away; gives a function that brings it back. */
export function takeAway(folder: ReplicaFolder): () => void {
  renameSync(folder.path, `${folder.path}.away`);
  return () => {
    rmSync(folder.path, { recursive: true, force: true });
    renameSync(`${folder.path}.away`, folder.path);
  };
}

/** All events of a replica from now on, in order. */
export function eventsOf(replica: Replica): ReplicaEvent[] {
  const events: ReplicaEvent[] = [];
  for (const type of ["commit", "gap", "stale", "stale-pin", "replaced", "error"] as const) {
    replica.on(type, (event) => events.push(event));
  }
  return events;
}

/** Live slots, views, objects, runs and chunks of the shim. */
export async function census(): Promise<number[]> {
  const native = await loadNative(findShim());
  const words = new Uint32Array(16);
  native.calls.ls_census(new Uint8Array(words.buffer), words.length);
  return [...words.subarray(0, 5)];
}

/**
 * Asserts what `assertSame()` in `drivers.ts` does, for drivers that give blobs as text too: values are compared as SQL
 * writes them.
 */
export function assertAlike(db: ReplicaDatabase, folder: ReplicaFolder): void {
  assert.deepEqual(rowsOf(db, "PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
  const schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name";
  assert.deepEqual(rowsOf(db, schema), folder.rows(schema));
  for (const { name } of folder.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")) {
    const columns = folder.rows(`PRAGMA table_info("${name}")`).map((column) => `quote("${column.name}")`);
    const all = `SELECT rowid AS r, ${columns.join(" || ',' || ")} AS v FROM "${name}" ORDER BY rowid`;
    const [found, wanted] = [rowsOf(db, all), folder.rows(all)];
    assert.equal(found.length, wanted.length, `rows of ${name}`);
    const odd = wanted.findIndex(({ r, v }, i) => found[i]!.r !== r || found[i]!.v !== v);
    assert.equal(odd, -1, `a row of ${name} differs`);
  }
  assert.equal(valueOf(db, "PRAGMA page_count"), folder.rows("PRAGMA page_count")[0]!.page_count);
}
