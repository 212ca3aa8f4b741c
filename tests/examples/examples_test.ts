/** Every example, run as its comment says, against a replica whose answers are known. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { load } from "sqlite-vec";
import { IS_BUN } from "../replica/drivers.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { BEST, EXAMPLES, recordRatings, runExample } from "./example.ts";

const LIMIT = { timeout: 120_000 };
const DAY_MS = 24 * 60 * 60 * 1000;

/** Examples by file, with what they print; those of the other runtime are listed so that none is forgotten. */
const READERS: Record<string, (lines: string[]) => void> = {
  ...(IS_BUN && {
    "drizzle_bun.ts": (lines) => assertBest(lines, String),
    "custom_sqlite.ts": (lines) => assert.deepEqual(lines, ['{"n":3}']),
  }),
  ...(!IS_BUN && {
    "drizzle_deno.ts": (lines) => assertBest(lines, String),
    "db_sqlite.ts": (lines) => assert.deepEqual(lines, ['[{"n":3}]']),
  }),
  "kysely.ts": (lines) => assertBest(lines, Number),
};

/** Tested by themselves, here or in files of their own. */
const OTHERS = [
  "deno_cron.ts",
  "hono_api.ts",
  "opentelemetry.ts",
  "query_pool.ts",
  "query_worker.ts",
  "read_your_writes.ts",
  "sqlite_vec.ts",
  "yesterday_report.ts",
];
const OF_OTHER_RUNTIME = IS_BUN
  ? ["drizzle_deno.ts", "db_sqlite.ts"]
  : ["drizzle_bun.ts", "custom_sqlite.ts"];

/** The best sandwiches, whose averages Drizzle gives as text, and that a transaction saw one state. */
function assertBest([rows, isSame]: string[], as: (stars: number) => unknown): void {
  const wanted = BEST.map(({ stars, ...rest }) => ({ ...rest, stars: String(as(stars)) }));
  const found = JSON.parse(rows!).map((row: { stars: unknown }) => ({ ...row, stars: String(row.stars) }));
  assert.deepEqual(found.map(sorted), wanted.map(sorted));
  assert.equal(isSame, "true");
}

function sorted(row: object): object {
  return Object.fromEntries(Object.entries(row).sort(([a], [b]) => a < b ? -1 : 1));
}

for (const [name, check] of Object.entries(READERS)) {
  test(`docs/examples/${name}`, LIMIT, () =>
    withReplicaFolder({}, async (folder) => {
      recordRatings(folder);
      const standIn = new URL("../support/db_sqlite_stand_in.ts", import.meta.url).href;
      check(await runExample(name, { args: [folder.url], env: { DB_SQLITE_MODULE: standIn } }));
    }));
}

test("docs/examples/sqlite_vec.ts", LIMIT, () =>
  withReplicaFolder({}, async (folder) => {
    const { DatabaseSync } = await import("node:sqlite");
    folder.record((source) => {
      source.exec("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)");
      const db = new DatabaseSync(source.path, { allowExtension: true });
      load(db);
      db.exec("CREATE VIRTUAL TABLE notes_index USING vec0(embedding float[4])");
      const notes = { rye: [1, 0, 0, 0], pastrami: [0, 1, 0, 0], mustard: [0.3, 0.7, 0, 0] };
      for (const [i, [text, vector]] of Object.entries(notes).entries()) {
        db.prepare("INSERT INTO notes VALUES (?, ?)").run(i + 1, text);
        db.prepare("INSERT INTO notes_index (rowid, embedding) VALUES (?, ?)")
          .run(BigInt(i + 1), new Uint8Array(new Float32Array(vector).buffer));
      }
      db.close();
    });
    folder.snapshot();
    const [rows] = await runExample("sqlite_vec.ts", { args: [folder.url] });
    assert.deepEqual(JSON.parse(rows!), [
      { text: "pastrami", distance: 0.141 },
      { text: "mustard", distance: 0.283 },
    ]);
  }));

test(
  "docs/examples/yesterday_report.ts",
  LIMIT,
  () =>
    withReplicaFolder({ timeMs: (txid) => Date.UTC(2026, 10, 19, 12) + txid * DAY_MS }, async (folder) => {
      recordRatings(folder); // on the 20th
      folder.step("INSERT INTO ratings (sandwich, stars) VALUES ('blt', 5), ('melt', 1)"); // on the 21st
      folder.step("INSERT INTO ratings (sandwich, stars) VALUES ('club', 5)"); // on the 22nd
      const report = (now: string) => runExample("yesterday_report.ts", { args: [folder.url, now] });
      assert.deepEqual(await report("2026-11-22T09:30:00Z"), [
        "2026-11-21T00:00:00.000Z to 2026-11-22T00:00:00.000Z",
        "blt: 1 new, 3.5 → 4",
        "melt: 1 new, none → 1",
      ]);
    }),
);

test("docs/examples/read_your_writes.ts", LIMIT, () =>
  withReplicaFolder({}, async (folder) => {
    recordRatings(folder);
    const env = { XDG_STATE_HOME: folder.home };
    assert.deepEqual(await runExample("read_your_writes.ts", { args: [folder.url], env }), [
      '{"sandwich":"reuben"}',
      '{"sandwich":"monte cristo"}',
    ]);
  }));

test("every example is run, and says how", () => {
  const files = readdirSync(EXAMPLES).filter((name) => name.endsWith(".ts")).sort();
  assert.deepEqual(files, [...Object.keys(READERS), ...OTHERS, ...OF_OTHER_RUNTIME].sort());
  for (const name of files) {
    const source = readFileSync(new URL(name, EXAMPLES), "utf8");
    assert.match(source, /^\/\*\*/, name);
    if (!/^query_/.test(name)) assert.match(source, /docs\/examples\//, `${name} does not say how it is run`);
  }
});
