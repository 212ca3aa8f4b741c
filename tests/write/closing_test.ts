/** close(): all that was told committed is stored when it is fulfilled, and nothing is committed after it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { listLogs } from "../../src/write/write_log.ts";
import { thrownBy, withConnection } from "../replica/drivers.ts";
import { Reader, type ReaderAnswer } from "../replica/reader.ts";
import { outcome, spawnScript } from "../soak/soak_support.ts";
import { LTX, withBucket } from "./rival.ts";
import type { HeldCommit } from "./closing_child.ts";
import type { ForcedClose } from "./forced_child.ts";

const MODES = ["NORMAL", "EXCLUSIVE"];

/** Commits that are asked for at once. */
const BATCH = 20;

/** Commits numbered rows until one is refused; gives those that were told, and what it was refused with. */
async function commitUntilRefused(other: Reader): Promise<{ told: string[]; why: ReaderAnswer["error"] }> {
  const told: string[] = [];
  for (let i = 0;; i += BATCH) {
    const numbers = Array.from({ length: BATCH }, (_, k) => i + k);
    const answers = await Promise.all(
      numbers.map((number) => other.ask(`INSERT INTO t(who) VALUES (${number})`)),
    );
    told.push(...numbers.filter((_, k) => !answers[k]!.error).map(String));
    const refused = answers.find(({ error }) => error);
    if (refused) return { told, why: refused.error };
  }
}

for (const mode of MODES) {
  for (const compact of [false, true]) {
    const beside = compact ? ", while it waits for upkeep as well" : "";
    test(
      `what another thread was told committed is stored when close() is fulfilled: ${mode}${beside}`,
      { timeout: 120_000 },
      () =>
        withBucket(async (bucket) => {
          for (let round = 0; round < 4; round++) {
            const replica = await bucket.open("log", { compact });
            withConnection(replica, undefined, (db) => db.exec("DELETE FROM t"));
            await replica.sync();
            const other = await Reader.start({ shared: replica.share() });
            await other.ask(`PRAGMA locking_mode = ${mode}`);
            const committing = commitUntilRefused(other);
            bucket.server.options.latencyMs = compact ? 50 : 0;
            await delay(20 + 3 * round);
            await replica.close();
            const stored = new Set(await bucket.rows());
            bucket.server.options.latencyMs = 0;
            const next = await bucket.open("log");
            const { told, why } = await committing;
            assert.match(why!.lastError, /^ReplicaClosedError: /);
            assert.ok(told.length > 0);
            assert.deepEqual(told.filter((row) => !stored.has(row)), [], "told, and not stored");
            assert.ok(stored.size <= told.length + 1, "refused, and stored");
            await next.close();
            await other.close();
            assert.deepEqual((await bucket.rows()).length, stored.size, "nothing came afterwards");
          }
        }),
    );
  }
}

test("after close() statements fail with words, and nothing of them is kept or stored", () =>
  withBucket(async (bucket) => {
    const replica = await bucket.open("log");
    const other = await Reader.start({ shared: replica.share() });
    for (const sql of ["BEGIN IMMEDIATE", "INSERT INTO t(who) VALUES ('under way')"]) {
      assert.equal((await other.ask(sql)).error, undefined);
    }
    const db = replica.connect();
    db.exec("BEGIN");
    assert.equal(db.prepare("SELECT count(*) AS n FROM t").get().n, 0);
    await replica.close();
    const late = [
      await other.ask("COMMIT"),
      await other.ask("ROLLBACK"),
      await other.ask("INSERT INTO t(who) VALUES (1)"),
    ];
    assert.ok(late[0]!.error && late[2]!.error, JSON.stringify(late));
    assert.match(late[2]!.error.lastError, /^ReplicaClosedError: /);
    assert.match(
      thrownBy(() => db.exec("INSERT INTO t(who) VALUES (2)")).message,
      /I\/O|locked|closed|readonly/,
    );
    assert.match(String(replica.lastError), /^ReplicaClosedError: /);
    db.close();
    assert.throws(() => replica.connect());
    await assert.rejects(replica.sync(), { name: "ReplicaClosedError" });
    assert.deepEqual(await listLogs(join(bucket.folder, "log")), []);
    assert.equal(bucket.server.keys().filter((key) => LTX.test(key)).length, 1);
    await (await bucket.open("log")).close();
    await other.close();
    assert.deepEqual(await bucket.rows(), []);
  }));

for (const when of ["before", "after"]) {
  test(`close({ force }) of a writer with an upload under way ends its core's work, its connection closed ${when}`, async () => {
    const child = spawnScript("../write/forced_child.ts", [when]);
    const { how, printed } = await outcome(child, 20_000);
    const came: ForcedClose = { other: 1, again: 1 };
    assert.deepEqual([how, printed], ["0", `${JSON.stringify(came)}\n`]);
  });
}

const COMPILER = process.env.CC ?? "cc";

/** Why no sync can be held here, as `skip` of node:test takes it: `false` when it can. */
const noHold = process.platform !== "linux"
  ? "holding a process's syncs needs Linux"
  : spawnSync(COMPILER, ["--version"]).status !== 0
  ? "holding a process's syncs needs a C compiler"
  : false;

/** Has a commit wait for the disk on another thread while its process closes the replica, or syncs it. */
async function heldCommit(mode: string, act: "close" | "sync"): Promise<HeldCommit> {
  const folder = await mkdtemp(join(tmpdir(), "closing-test-"));
  try {
    const library = join(folder, "held_sync.so");
    const source = fileURLToPath(new URL("../c/held_sync.c", import.meta.url));
    const made = spawnSync(COMPILER, ["-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"]);
    assert.equal(made.status, 0, String(made.stderr));
    const script = fileURLToPath(new URL("./closing_child.ts", import.meta.url));
    const before = "Deno" in globalThis ? ["run", "-A", "--no-check"] : [];
    const env = { ...process.env, LD_PRELOAD: library, HELD_SYNC: join(folder, "hold") };
    const child = spawnSync(process.execPath, [...before, script, folder, mode, act], { env });
    assert.equal(child.status, 0, String(child.stderr));
    return JSON.parse(String(child.stdout));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

for (const mode of MODES) {
  test(
    `close() waits for a commit that waits for the disk, and stores it: ${mode}`,
    { skip: noHold },
    async () => {
      const { next, ...came } = await heldCommit(mode, "close");
      assert.deepEqual(came, { told: "well", ended: "well", stored: [1], reopened: "well" });
      assert.match(next, /^ReplicaClosedError: /);
    },
  );
}

test("sync() waits for a commit that waits for the disk, and stores it", { skip: noHold }, async () => {
  const came = await heldCommit("NORMAL", "sync");
  assert.deepEqual(came, { told: "well", ended: "well", stored: [0, 1], next: "well", reopened: "" });
});
