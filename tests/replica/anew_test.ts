/** A database made anew under other names, with more transactions than the one before it: never mixed with that. */
import assert from "node:assert/strict";
import { existsSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import { ReplicaFolder } from "../support/replica_folder.ts";
import { valueOf, withConnection } from "./drivers.ts";
import { pause, until } from "./following.ts";
import { type Gated, gateOf, waitingOf } from "./gated_storage.ts";
import { Reader } from "./reader.ts";

const ROWS = 2000;

const tagged = (tag: string) =>
  `CREATE TABLE t (id INTEGER PRIMARY KEY, tag, pad); WITH RECURSIVE n (i) AS
    (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS}) INSERT INTO t SELECT i, '${tag}', randomblob(300) FROM n`;

/** A replica of one file, and another whose files have other names: a snapshot, and what follows it. */
class TwoReplicas {
  readonly #old: ReplicaFolder;
  readonly #new: ReplicaFolder;

  private constructor(old: ReplicaFolder, anew: ReplicaFolder) {
    [this.#old, this.#new] = [old, anew];
  }

  static async with(use: (two: TwoReplicas) => Promise<void>): Promise<void> {
    const two = new TwoReplicas(await ReplicaFolder.make(), await ReplicaFolder.make());
    try {
      two.#old.step(tagged("old"));
      two.#new.record(tagged("new"));
      two.#new.snapshot();
      two.#new.step("CREATE TABLE u (a)");
      await use(two);
    } finally {
      two.#old.close();
      two.#new.close();
    }
  }

  get home(): string {
    return this.#old.home;
  }

  async open(options: OpenOptions): Promise<Replica> {
    const module = new URL("./gated_storage.ts", import.meta.url);
    return await openReplica({
      storage: { module, options: { folder: this.#old.path } },
      pollIntervalMs: 0,
      prefetch: "off",
      cacheBytesMax: 1024 * 1024,
      log: () => {},
      ...options,
    });
  }

  /** Puts the other replica in place of the first. */
  swap(): void {
    renameSync(this.#old.path, `${this.#old.path}.gone`);
    renameSync(this.#new.path, this.#old.path);
  }

  shut(what: Gated): void {
    writeFileSync(gateOf(this.#old.path, what), "");
  }

  async isWaiting(what: Gated): Promise<void> {
    await until(`a ${what} waits`, () => existsSync(waitingOf(this.#old.path, what)));
  }

  release(what: Gated): void {
    rmSync(gateOf(this.#old.path, what));
  }
}

for (const onReplaced of ["follow", "error"] as const) {
  test(`A transaction that looks for its files sees no row of a database made anew (onReplaced: ${onReplaced})`, () =>
    TwoReplicas.with(async (two) => {
      await using replica = await two.open({ onReplaced });
      const reader = await Reader.start({ shared: replica.share() });
      try {
        await reader.ask("BEGIN");
        assert.deepEqual((await reader.ask("SELECT tag FROM t WHERE id = 1")).rows, [{ tag: "old" }]);
        two.swap();
        two.shut("list");
        const asked = reader.ask(`SELECT tag FROM t WHERE id = ${ROWS}`);
        await two.isWaiting("list");
        const refreshed = replica.refresh().catch(() => {});
        await pause(300); // levels are listed meanwhile, and tell of the other one's files
        two.release("list");
        const { rows, error } = await asked;
        assert.deepEqual(rows, []);
        assert.match(String(error?.lastError), /nothing tells that what is there now is the same database/);
        await refreshed;
      } finally {
        await reader.close();
      }
    }));
}

test("hydrate: a copy that is closed while another database takes its place is not laid under that", () =>
  TwoReplicas.with(async (two) => {
    const hydrate = join(two.home, "copy.db");
    const before = await two.open({ hydrate, onReplaced: "follow" });
    await before.hydrated();
    two.swap();
    two.shut("read");
    const refreshed = before.refresh().catch(() => {});
    await two.isWaiting("read");
    await before.close();
    await refreshed;
    two.release("read");
    await using after = await two.open({ hydrate, onReplaced: "follow" });
    await after.hydrated();
    withConnection(after, undefined, (db) => {
      assert.equal(valueOf(db, "SELECT count(*) FROM t WHERE tag = 'new'"), ROWS);
      assert.equal(valueOf(db, "PRAGMA integrity_check"), "ok");
    });
  }));
