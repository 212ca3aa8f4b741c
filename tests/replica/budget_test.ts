/** Bounds of a read transaction: what it may still read when it has reached one, and that the next begins anew. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  BudgetError,
  type ConnectOptions,
  joinReplica,
  type OpenOptions,
  openReplica,
  type Replica,
  type ReplicaDatabase,
} from "../../mod.ts";
import { allDrivers } from "../support/all_drivers.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { NOISE_SUM, noiseSql, resultCode, rowsOf, thrownBy, valueOf } from "./drivers.ts";

const drivers = await allDrivers();
const OFF: OpenOptions = { prefetch: "off", pollIntervalMs: 0 };
const row = (id: number): string => `SELECT hex(x) AS x FROM n WHERE id = ${id}`;
const SQLITE_ERROR = 1;

/** Rows that lie far apart: each needs a request of its own. */
const IDS = Array.from({ length: 40 }, (_, i) => 1 + (i + 1) * 3331 % 8000);

interface Place {
  readonly folder: ReplicaFolder;
  readonly replica: Replica;
}

function budgetTest(
  name: string,
  options: OpenOptions,
  use: (place: Place) => Promise<void> | void,
): void {
  test(name, { timeout: 60_000 }, () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(8000));
      folder.snapshot();
      await using replica = await openReplica(folder.url, options);
      await use({ folder, replica });
    }));
}

/** Reads rows until one cannot be had; gives their number and what was thrown. */
function readOn(db: ReplicaDatabase, ids: readonly number[]): { count: number; error: Error | undefined } {
  for (const [count, id] of ids.entries()) {
    try {
      rowsOf(db, row(id));
    } catch (error) {
      return { count, error: error as Error };
    }
  }
  return { count: ids.length, error: undefined };
}

/** How many of the rows a connection reads in one transaction. */
function rowsRead(replica: Replica, options: ConnectOptions): number {
  const db = replica.connect(undefined, options);
  try {
    db.exec("BEGIN");
    const { count } = readOn(db, IDS);
    db.exec("COMMIT");
    return count;
  } finally {
    db.close();
  }
}

for (const { name, Database } of drivers) {
  budgetTest(`maxRequests: ${name} reads on in memory, and anew in the next transaction`, OFF, (place) => {
    const { folder, replica } = place;
    const db = replica.connect(Database, { maxRequests: 8 });
    db.exec("BEGIN");
    const { count, error } = readOn(db, IDS);
    assert.ok(error !== undefined && count >= 3 && count < 8, `${count} rows, then ${error}`);
    const code = resultCode(error);
    if (code !== undefined) assert.equal(code, SQLITE_ERROR);
    const words = new RegExp(
      `^Cannot read page \\d+ of ${folder.url}: this transaction has made 8 requests, ` +
        String.raw`expected at most 8 \(maxRequests\)$`,
    );
    assert.ok(replica.lastError instanceof BudgetError, String(replica.lastError));
    assert.match(replica.lastError.message, words);
    assert.equal(valueOf(db, "PRAGMA litestream_error"), `BudgetError: ${replica.lastError.message}`);
    const { transaction, connection } = replica.stats({ connection: db });
    assert.equal(transaction.getRequests, 8);
    for (const id of IDS.slice(0, count)) {
      assert.deepEqual(rowsOf(db, row(id)), folder.rows(row(id)));
    }
    thrownBy(() => rowsOf(db, row(IDS[count]!)));
    const { transactions } = replica.stats({ connection: db }).connection;
    assert.equal(transactions, connection.transactions, "the transaction has ended");
    db.exec("COMMIT");
    db.exec("BEGIN");
    const next = readOn(db, IDS.slice(count));
    assert.ok(next.error && next.count >= 5, `${next.count} rows, then ${next.error}`);
    assert.equal(replica.stats({ connection: db }).transaction.getRequests, 8);
    db.exec("COMMIT");
    db.close();
  });

  budgetTest(`maxBytes: ${name} makes no request once so many were moved`, OFF, ({ replica }) => {
    const maxBytes = 100_000;
    const db = replica.connect(Database, { maxBytes });
    db.exec("BEGIN");
    const { count, error } = readOn(db, IDS);
    assert.ok(error !== undefined && count > 1, `${count} rows`);
    assert.match(
      String(replica.lastError),
      /^BudgetError: .*: this transaction has moved \d+ bytes, expected at most 100000 \(maxBytes\)$/,
    );
    const { bytes } = replica.stats({ connection: db }).transaction;
    assert.ok(bytes >= maxBytes && bytes < maxBytes + 128 * 1024, `${bytes} bytes`);
    db.close();
  });
}

budgetTest(
  "openReplica({ maxRequests }) is for all its connections, and connect() wins",
  { ...OFF, maxRequests: 8 },
  async ({ replica }) => {
    await using joined = await joinReplica(replica.share());
    const few = rowsRead(replica, {});
    assert.ok(few < 8, `${few} rows`);
    assert.ok(rowsRead(joined, {}) < IDS.length);
    const more = rowsRead(replica, { maxRequests: 16 });
    assert.ok(more > few && more < IDS.length, `${more} rows, ${few} before`);
    assert.ok(rowsRead(replica, { maxBytes: 1 }) < IDS.length);
    assert.equal(rowsRead(replica, { maxRequests: 0 }), IDS.length);
  },
);

budgetTest("maxRequests: one statement without BEGIN is one transaction", OFF, ({ replica }) => {
  const db = replica.connect(undefined, { maxRequests: 4 });
  rowsOf(db, row(1)); // with the schema, in a transaction of its own
  const { transactions } = replica.stats({ connection: db }).connection;
  for (const id of IDS) rowsOf(db, row(id));
  assert.equal(replica.stats({ connection: db }).connection.transactions, transactions + IDS.length);
  thrownBy(() => rowsOf(db, NOISE_SUM));
  assert.ok(replica.lastError instanceof BudgetError);
  db.close();
});

budgetTest("maxRequests: what others fetched costs nothing", OFF, ({ folder, replica }) => {
  const [bound, free] = [replica.connect(undefined, { maxRequests: 1 }), replica.connect()];
  const wanted = folder.rows(NOISE_SUM);
  assert.deepEqual(rowsOf(free, NOISE_SUM), wanted);
  assert.deepEqual(rowsOf(bound, NOISE_SUM), wanted);
  assert.equal(replica.stats({ connection: bound }).transaction.getRequests, 0);
  bound.close();
  free.close();
});

for (const maxRequests of [3, 6, 12]) {
  budgetTest(
    `maxRequests ${maxRequests} holds while pages are loaded ahead`,
    { pollIntervalMs: 0 },
    (place) => {
      const { replica, folder } = place;
      const db = replica.connect(undefined, { maxRequests });
      let failures = 0;
      for (let i = 0; i < 200; i++) {
        try {
          assert.deepEqual(rowsOf(db, NOISE_SUM), folder.rows(NOISE_SUM));
          break;
        } catch (error) {
          if (error instanceof assert.AssertionError) throw error;
          assert.ok(replica.lastError instanceof BudgetError, String(replica.lastError));
          failures++;
        }
        const { getRequests } = replica.stats({ connection: db }).transaction;
        assert.ok(getRequests <= maxRequests, `${getRequests} requests`);
      }
      assert.ok(failures < 200, "no attempt went further than the one before");
      db.close();
    },
  );
}

budgetTest("maxRequests: a bound that suffices changes nothing", { pollIntervalMs: 0 }, (place) => {
  const { replica, folder } = place;
  const db = replica.connect(undefined, { maxRequests: 5_000, maxBytes: 100_000_000 });
  assert.deepEqual(rowsOf(db, NOISE_SUM), folder.rows(NOISE_SUM));
  assert.ok(replica.stats({ connection: db }).transaction.aheadHits > 100);
  db.close();
});

budgetTest("maxRequests and maxBytes refuse what is no count", OFF, async ({ folder, replica }) => {
  for (const wrong of [-1, 1.5, NaN]) {
    for (const name of ["maxRequests", "maxBytes"]) {
      const words = new RegExp(`Cannot use option ${name}: ${wrong}, expected a whole number from 0 to`);
      assert.throws(() => replica.connect({ [name]: wrong }), { name: "RangeError", message: words });
      await assert.rejects(openReplica(folder.url, { [name]: wrong }), {
        name: "RangeError",
        message: words,
      });
    }
  }
});
