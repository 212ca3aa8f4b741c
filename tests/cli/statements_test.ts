import assert from "node:assert/strict";
import { test } from "node:test";
import {
  onlyStatement,
  parametersOf,
  splitStatements,
  statementsOf,
  StatementSplitter,
} from "../../src/cli/statements.ts";
import { Random } from "../support/random.ts";

const TRIGGER =
  "CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN SELECT CASE WHEN 1 THEN 2 END; DELETE FROM b; END;";

for (
  const [sql, whole, rest] of [
    ["SELECT 1", [], "SELECT 1"],
    ["SELECT 1;", ["SELECT 1;"], ""],
    ["SELECT 1; SELECT 2;\n", ["SELECT 1;", "SELECT 2;"], ""],
    [";;  ; SELECT 1;;", ["SELECT 1;"], ""],
    ["-- all of it; a comment\n/* and; another */ ", [], ""],
    ["SELECT 1 -- ;\n, 2;", ["SELECT 1 -- ;\n, 2;"], ""],
    ['SELECT \';\', "a;""b", [c;], `d;`;x', ['SELECT \';\', "a;""b", [c;], `d;`;'], "x"],
    ["SELECT 'it''s; SELECT 2;", [], "SELECT 'it''s; SELECT 2;"],
    ["SELECT 1 /* ; ", [], "SELECT 1 /* ; "],
    [TRIGGER, [TRIGGER], ""],
    [`EXPLAIN ${TRIGGER} SELECT 1;`, [`EXPLAIN ${TRIGGER}`, "SELECT 1;"], ""],
    [TRIGGER.slice(0, -1), [], TRIGGER.slice(0, -1)],
    ["CREATE TABLE trigger_like (a); SELECT 1;", ["CREATE TABLE trigger_like (a);", "SELECT 1;"], ""],
    ["BEGIN; COMMIT;", ["BEGIN;", "COMMIT;"], ""],
  ] as const
) {
  test(`splitStatements() cuts ${JSON.stringify(sql)}`, () => {
    assert.deepEqual(splitStatements(sql), { whole: [...whole], rest });
  });
}

test("StatementSplitter loses nothing of statements that come line by line", () => {
  const sql = `SELECT ';\n' AS "a;\nb" -- ;\n FROM t; ${
    TRIGGER.replaceAll(" ", "\n")
  } SELECT /* ; \n */\n [x;y];`;
  const splitter = new StatementSplitter();
  const whole = sql.split("\n").flatMap((line) => splitter.push(`${line}\n`));
  assert.equal(splitter.rest, "");
  assert.equal(splitter.isPending, false);
  assert.deepEqual(whole, splitStatements(sql).whole);
  assert.equal(whole.length, 3);
});

test("parametersOf() finds names and positions, and none in quotes or comments", () => {
  assert.deepEqual(parametersOf("SELECT :a, @b, $c, :a, '?:x', \"$y\" -- :z"), {
    names: [":a", "@b", "$c"],
    count: 0,
  });
  assert.deepEqual(parametersOf("SELECT ?, ?3, ?"), { names: [], count: 4 });
});

test("statementsOf() takes a comment that is not closed for none, at the end or alone", () => {
  assert.deepEqual(statementsOf("SELECT 1; /* trailing"), ["SELECT 1;"]);
  assert.deepEqual(statementsOf("SELECT 1 /* trailing"), ["SELECT 1 /* trailing"]);
  assert.deepEqual(statementsOf("/* unterminated"), []);
  assert.deepEqual(statementsOf("/*"), ["/*"]); // no comment yet, says SQLite
  assert.deepEqual(statementsOf("-- report"), []);
});

test("onlyStatement() ends a statement behind its comments, and refuses what is none, or more than one", () => {
  const one: [sql: string, statement: string][] = [
    ["CREATE VIEW v AS SELECT 1 -- note", "CREATE VIEW v AS SELECT 1 -- note\n;"],
    ["CREATE VIEW v AS SELECT 1 /* note", "CREATE VIEW v AS SELECT 1 ;"],
    ["CREATE VIEW v AS SELECT 1 /* ; */ -- ;", "CREATE VIEW v AS SELECT 1 /* ; */ -- ;\n;"],
    ["CREATE TABLE t (a, b)", "CREATE TABLE t (a, b);"],
    [TRIGGER.slice(0, -1), TRIGGER],
    ["CREATE VIEW v AS SELECT 1 /*\ngo\n*/ + 1", "CREATE VIEW v AS SELECT 1 /*\ngo\n*/ + 1;"],
    [TRIGGER.slice(0, -1).replace("1", "1\n/\n1"), TRIGGER.replace("1", "1\n/\n1")],
    ["CREATE VIEW v AS SELECT '\ngo\n;'", "CREATE VIEW v AS SELECT '\ngo\n;';"],
  ];
  for (const [sql, statement] of one) assert.equal(onlyStatement(sql), statement, sql);
  const others = [
    "",
    "-- nothing",
    "CREATE TABLE t (a);\n.shell id",
    "CREATE TABLE t (a); CREATE TABLE u (a)",
    "CREATE VIEW v AS SELECT 'open",
    "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b;",
    "CREATE TABLE t (a --\ngo\n.shell id\n)",
    "CREATE TABLE t (a\n / -- \n)",
    'CREATE VIEW v AS SELECT\ngo /**/\n.shell "id" FROM go',
    "CREATE VIEW v AS SELECT 1\n / /* x */\n 2",
    "CREATE VIEW v AS SELECT 1\n//* x */\n 2",
    'CREATE VIEW v AS SELECT\ngo --\rx\n.shell "id" FROM go',
    `CREATE VIEW v AS SELECT '\ngo${"-".repeat(60)}\rx`,
    `CREATE VIEW v AS SELECT '${"/\n".repeat(100_000)}'`,
  ];
  for (const sql of others) assert.equal(onlyStatement(sql), undefined, sql);
});

test("StatementSplitter looks at each line once", { timeout: 60_000 }, () => {
  const rows = Array.from({ length: 40_000 }, (_, i) => `(${i}, 'some text; of ''row'' ${i}', "a", 0x1f),\n`);
  const text = Array.from({ length: 40_000 }, (_, i) => `line ${i} of a text; it''s long\n`);
  const comment = Array.from({ length: 40_000 }, (_, i) => `line ${i} of a comment; it's long\n`);
  const lines = [
    "INSERT INTO t VALUES\n",
    ...rows,
    "(1, '",
    ...text,
    "', /*",
    ...comment,
    "*/ 2, 3)\n",
    ";\n",
  ];
  const splitter = new StatementSplitter();
  assert.deepEqual(lines.flatMap((line) => splitter.push(line)), [lines.join("").trimEnd()]);
  assert.equal(splitter.isPending, false);
});

test("StatementSplitter cuts random SQL the same, line by line or at once", () => {
  const random = new Random(17);
  const parts = [
    "'",
    '"',
    "`",
    "[",
    "]",
    "--",
    "/*",
    "*/",
    ";",
    " ",
    "\n",
    "\n",
    "a",
    "END",
    "CREATE TRIGGER",
    "''",
    "*",
    "/",
  ];
  for (let round = 0; round < 3_000; round++) {
    const sql = Array.from({ length: random.next(30) }, () => parts[random.next(parts.length)]).join("") +
      "\n";
    const splitter = new StatementSplitter();
    const whole = sql.split(/(?<=\n)/).flatMap((line) => splitter.push(line));
    assert.deepEqual({ whole, rest: splitter.rest }, splitStatements(sql), JSON.stringify(sql));
  }
});
