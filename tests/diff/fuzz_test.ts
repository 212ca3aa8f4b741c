import assert from "node:assert/strict";
import { env } from "node:process";
import { test } from "node:test";
import { ReplicaError } from "../../src/errors.ts";
import { Random } from "../support/random.ts";
import { changedPages, diff, FilePages, withDatabase } from "./database_pair.ts";

const ROUNDS = Number(env.FUZZ_ROUNDS ?? 400);
const SEED = Number(env.FUZZ_SEED ?? Date.now() % 2 ** 31);

/** Slower than any sound comparison of these small databases by far. */
const ROUND_MS_MAX = 5000;

const TABLES = `
  CREATE TABLE a(id INTEGER PRIMARY KEY, body TEXT); CREATE TABLE b(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
  CREATE TABLE c(x, y, PRIMARY KEY(y, x)); CREATE INDEX i ON a(body); CREATE TABLE gone(x);
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120)
    INSERT INTO a SELECT i, i || replace(hex(zeroblob(i * 9)), '0', 'x') FROM n;
  INSERT INTO b SELECT body, id FROM a; INSERT INTO c SELECT id, substr(body, 1, 50) FROM a;
  INSERT INTO gone SELECT body FROM a; DROP TABLE gone;`;
const CHANGES = `
  UPDATE a SET body = substr(body, 1, 700) || '#' || substr(body, 702) WHERE id > 100;
  DELETE FROM a WHERE id = 7; DELETE FROM b WHERE v % 9 = 1; INSERT INTO c VALUES (1, 'new'); CREATE TABLE d(x);`;

/** Bytes that matter: page types, cell counts, child and overflow pgnos, pointers, sizes. */
function damage(state: FilePages, random: Random): FilePages {
  const bytes = state.bytes.slice();
  for (let count = 1 + random.next(4); count > 0; count--) {
    const page = random.next(state.commit) * state.pageSize;
    const at = page + (random.next(2) === 0 ? random.next(24) : random.next(state.pageSize)) +
      (page === 0 && random.next(2) === 0 ? 100 : 0);
    const kind = random.next(5);
    if (kind === 0) bytes[at]! ^= 1 << random.next(8);
    else if (kind === 1) bytes[at] = random.next(256);
    else if (kind === 2) bytes[at] = random.next(state.commit + 2);
    else if (kind === 3) {
      bytes.copyWithin(page, random.next(state.commit) * state.pageSize, random.next(bytes.length));
    } else bytes.fill([0, 0xff, 0x81][random.next(3)]!, at, at + random.next(12));
  }
  return new FilePages(bytes.slice(0, state.bytes.length), state.pageSize);
}

for (const autoVacuum of [0, 1]) {
  test(`diffDatabases() ends on damaged pages with a ReplicaError or a result, auto_vacuum ${autoVacuum} (FUZZ_SEED=${SEED}, ${ROUNDS} rounds)`, async () => {
    await withDatabase({ pageSize: 512, setup: `PRAGMA auto_vacuum = ${autoVacuum}` }, async (database) => {
      database.db.exec(TABLES);
      const from = database.state();
      database.db.exec(CHANGES);
      const to = database.state();
      let faults = 0;
      for (let round = 0; round < ROUNDS; round++) {
        const random = new Random(SEED + round);
        const pair = random.next(2) === 0 ? [damage(from, random), to] : [from, damage(to, random)];
        if (random.next(4) === 0) pair[0] = damage(pair[1]!, random);
        faults += await endsWell(pair[0]!, pair[1]!, `FUZZ_SEED=${SEED + round}`);
      }
      assert.ok(faults > ROUNDS / 20 && faults < ROUNDS, `${faults} faults`);
    });
  });
}

/** 1 where the comparison ended in a fault. */
async function endsWell(from: FilePages, to: FilePages, name: string): Promise<number> {
  const began = performance.now();
  const pages = from.commit + to.commit;
  from.reads.length = to.reads.length = 0;
  let faults = 0;
  try {
    await diff(from, to);
  } catch (error) {
    if (!(error instanceof ReplicaError)) throw new Error(name, { cause: error });
    assert.match(error.message, /^Cannot [^:]+: .+, expected .+$/);
    faults = 1;
  }
  assert.ok(performance.now() - began < ROUND_MS_MAX, `${name} took too long`);
  assert.ok(
    from.reads.length + to.reads.length < 8 * pages,
    `${name} read ${from.reads.length + to.reads.length} of ${pages} pages`,
  );
  return faults;
}

test("diffDatabases() ends where changed pages were not named", async () => {
  await withDatabase({ pageSize: 512 }, async (database) => {
    database.db.exec(TABLES);
    const from = database.state();
    database.db.exec(CHANGES);
    const to = database.state();
    const all = [...changedPages(from, to)];
    const { diffDatabases } = await import("../../src/diff/diff.ts");
    for (let round = 0; round < 50; round++) {
      const random = new Random(SEED + round);
      const changed = new Set(all.filter(() => random.next(3) > 0));
      try {
        await Array.fromAsync(diffDatabases({ from, to, changed }));
      } catch (error) {
        assert.ok(error instanceof ReplicaError, `FUZZ_SEED=${SEED + round}: ${error}`);
      }
    }
  });
});
