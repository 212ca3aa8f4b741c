import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { rounds } from "../soak/soak_support.ts";
import { allDrivers } from "../support/all_drivers.ts";
import { goVfsLibrary, queryGoVfs } from "../support/go_vfs.ts";
import { type LocalDatabase, openLocal } from "../support/local_database.ts";
import { folderUrl, litestreamBinary, restore, skipWithout, withFolder } from "../support/real.ts";
import { type Compared, compareWork } from "../write/compared_work.ts";
import { dump } from "../write/workload.ts";

const skip = skipWithout({ litestream: litestreamBinary(), "the Go VFS": goVfsLibrary() });
const ROUNDS = rounds("WORKLOAD_ROUNDS", 1);
const STEPS = 300;
const MODES = ["DELETE", "TRUNCATE", "PERSIST", "MEMORY"];
const [{ Database }] = await allDrivers() as [Awaited<ReturnType<typeof allDrivers>>[number]];

/** What is asked of both: the schema, and all tables' rows. */
function questions(local: LocalDatabase): string[] {
  const tables = local.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").all();
  return [
    "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name, type",
    ...tables.map(({ name }) => `SELECT rowid AS r, a, b, hex(c) AS c FROM "${name}" ORDER BY rowid`),
  ];
}

/** Writes, and reads what was written with everything that can. */
async function compareAll(
  folder: string,
  round: { pageSize: number; journalMode: string; seed: number },
): Promise<Compared> {
  const url = folderUrl(join(folder, "replica"));
  const done = await compareWork(folder, url, { ...round, steps: STEPS, Database });
  for (const [txid, state] of done.states) {
    const out = join(folder, `restored-${txid}.db`);
    await restore(url, out, { txid });
    const database = await openLocal(out);
    assert.deepEqual({ ...database.prepare("PRAGMA integrity_check").get() }, { integrity_check: "ok" });
    assert.equal(dump(database), state, `seed ${round.seed}, TXID ${txid}`);
    database.close();
  }
  const local = await openLocal(join(folder, "local.db"));
  const asked = questions(local);
  const theirs = await queryGoVfs({ url, sql: asked });
  for (const [at, sql] of asked.entries()) {
    const ours = local.prepare(sql).all().map((row) => ({ ...row }));
    assert.deepEqual(theirs[at]!.map((row) => ({ ...row })), ours, `seed ${round.seed}: ${sql}`);
  }
  local.close();
  return done;
}

for (const [i, pageSize] of [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536].entries()) {
  test(
    `litestream restores every TXID that was written, the Go VFS reads the last, pages of ${pageSize} bytes`,
    { skip, timeout: 3_600_000 },
    async () => {
      let transactions = 0;
      let txids = 0;
      for (let round = 0; round < ROUNDS; round++) {
        const seed = 5 + i + 8 * round;
        const done = await withFolder((folder) =>
          compareAll(folder, { pageSize, journalMode: MODES[i % 4]!, seed })
        );
        transactions += done.transactions;
        txids += done.states.size;
      }
      console.log(`# ${transactions} transactions in ${txids} TXIDs, pages of ${pageSize} bytes`);
      assert.ok(txids >= 3 * ROUNDS, `${txids} TXIDs`);
    },
  );
}
