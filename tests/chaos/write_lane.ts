/**
 * A lane that writes a replica of its own: numbered transactions, each of which must be there in the end.
 *
 * @module
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Replica } from "../../mod.ts";
import { openPlain, type Row } from "../support/sqlite.ts";
import { GRACE_MS, type Lane, type LaneParts, LaneTools, PATIENT, QUERY_MS } from "./lane.ts";
import { BrokenPromise } from "./promise_check.ts";

/** Rows that are kept, so that the database stays small. */
const KEPT = 100;
/** More than a writer makes a file of in memory. */
const LARGE = 17_000_000;
/** How long a lease may be held by an opening of this lane that ended before it could be given up, in ms. */
const LEASE_MS = 31_000;

/** How often is tried to store what is left once nothing goes wrong. */
const SYNCS_MAX = 3;

const LAST_SQL = "SELECT coalesce(max(i), 0) AS last, count(*) AS count, coalesce(min(i), 1) AS first FROM n";

/** What a lane writes with. */
export interface WriteLaneOptions {
  /** Whether it takes the lease, and now and then writes what is larger than a file made in memory. */
  readonly isLeased?: boolean;
}

/** Writes. */
export class WriteLane implements Lane {
  readonly #tools: LaneTools;
  readonly #isLeased: boolean;
  /** Restores what is stored to a path, past any fault. */
  readonly #restore: (path: string) => Promise<void>;
  #open: { readonly replica: Replica; readonly name: string } | undefined;
  /** The last transaction that was told of. */
  #told = 0;
  /** One more may be there: its commit failed. */
  #mayBeMore = false;

  constructor(
    parts: LaneParts,
    restore: (path: string) => Promise<void>,
    { isLeased = false }: WriteLaneOptions = {},
  ) {
    this.#tools = new LaneTools(parts);
    this.#isLeased = isLeased;
    this.#restore = restore;
  }

  async round(): Promise<void> {
    if (this.#open === undefined) return await this.#begin();
    const { random } = this.#tools.parts;
    const count = 1 + random.next(4);
    for (let i = 0; i < count && this.#open; i++) await this.#commit();
    if (this.#open) await this.#sync(this.#open.replica);
    if (this.#open && random.next(12) === 0) await this.#end();
  }

  async #begin(patience: Partial<typeof PATIENT> = {}): Promise<void> {
    const { random, folder } = this.#tools.parts;
    const replica = await this.#tools.open({
      write: true,
      bufferPath: join(folder, "log"),
      lease: this.#isLeased,
      syncIntervalMs: [0, 10, 200][random.next(3)]!,
      flushOnSignals: false,
      ...patience,
    }, ["ConflictError"]);
    if (replica === undefined) return;
    const name = await this.#tools.check.run({
      name: "look at what is there",
      deadlineMs: 2 * QUERY_MS,
      act: () => this.#connected(replica),
    });
    if (name === undefined) await this.#close(replica);
    else this.#open = { replica, name };
  }

  async #connected(replica: Replica): Promise<string> {
    const name = await this.#tools.connect(replica);
    await this.#tools.run(name, "CREATE TABLE IF NOT EXISTS n(i INTEGER PRIMARY KEY, pad BLOB)", "SELECT 1");
    this.#found(await this.#tools.run(name, LAST_SQL));
    return name;
  }

  /** Holds what is there against what was told. */
  #found(rows: readonly Row[]): void {
    const { last, count, first } = rows[0] as Record<string, number>;
    const most = this.#told + (this.#mayBeMore ? 1 : 0);
    if (last! < this.#told || last! > most) {
      throw new BrokenPromise(`transaction ${last} is the last, expected ${this.#told} to ${most}`);
    }
    if (count !== Math.min(last!, KEPT) || first !== Math.max(1, last! - KEPT + 1)) {
      throw new BrokenPromise(`${count} rows from ${first} to ${last}`);
    }
    this.#told = last!;
    this.#mayBeMore = false;
  }

  async #commit(): Promise<void> {
    const { name } = this.#open!;
    const next = this.#told + 1;
    this.#mayBeMore = true;
    const { random } = this.#tools.parts;
    const isLarge = this.#isLeased && random.next(40) === 0;
    const size = isLarge ? LARGE : random.next(20) === 0 ? 40_000 : 100;
    const done = await this.#tools.check.run({
      name: "commit",
      deadlineMs: QUERY_MS,
      also: ["ConflictError"],
      act: () =>
        this.#tools.run(
          name,
          "BEGIN IMMEDIATE",
          `UPDATE n SET pad = NULL WHERE i = ${next - 1} AND length(pad) = ${LARGE}`,
          `INSERT INTO n VALUES (${next}, randomblob(${size}))`,
          `DELETE FROM n WHERE i <= ${next - KEPT}`,
          "COMMIT",
          "SELECT 1",
        ),
    });
    if (done === undefined) return await this.#end();
    this.#told = next;
    this.#mayBeMore = false;
  }

  async #sync(replica: Replica): Promise<boolean> {
    const synced = await this.#tools.check.run({
      name: "sync",
      deadlineMs: 40_000 + GRACE_MS,
      also: ["ConflictError"],
      act: () => replica.sync(),
    });
    return synced !== undefined;
  }

  async #end(): Promise<void> {
    if (this.#open === undefined) return;
    const { replica, name } = this.#open;
    this.#open = undefined;
    await this.#tools.disconnect(name);
    await this.#close(replica);
  }

  async #close(replica: Replica): Promise<void> {
    await this.#tools.check.run({
      name: "close a writer",
      deadlineMs: 60_000 + GRACE_MS,
      also: ["ConflictError"],
      act: () => replica.close(),
    });
  }

  /** All that was told of is stored, and restored by Litestream. */
  async recover(): Promise<void> {
    for (let attempt = 1; attempt <= SYNCS_MAX; attempt++) {
      if (this.#open === undefined) await this.#begin(PATIENT);
      if (this.#open === undefined && this.#isLeased) await delay(LEASE_MS);
      if (this.#open && await this.#sync(this.#open.replica)) break;
      await this.#end();
    }
    if (this.#open === undefined) {
      return this.#tools.check.broken(
        `it cannot store when nothing goes wrong: ${this.#tools.check.failure}`,
      );
    }
    await this.#tools.check.run({
      name: "litestream restore",
      deadlineMs: 120_000,
      act: () => this.#restored(),
    });
  }

  async #restored(): Promise<void> {
    const path = join(this.#tools.parts.folder, "restored.db");
    await rm(path, { force: true });
    await this.#restore(path);
    const plain = await openPlain(path);
    try {
      this.#found(plain.all(LAST_SQL));
      const check = Object.values(plain.all("PRAGMA integrity_check")[0]!).join();
      if (check !== "ok") throw new BrokenPromise(`what was restored: ${check}`);
    } finally {
      plain.close();
      await rm(path, { force: true });
    }
  }

  async close(): Promise<void> {
    await this.#end();
    await this.#tools.asker.close();
  }
}
