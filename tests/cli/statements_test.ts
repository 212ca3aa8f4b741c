import assert from "node:assert/strict";
import { test } from "node:test";
import { onlyStatement, parametersOf, splitStatements, statementsOf } from "../../src/cli/statements.ts";

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

test("splitStatements() loses nothing of statements that come line by line", () => {
  const sql = `SELECT ';\n' AS "a;\nb" -- ;\n FROM t; ${
    TRIGGER.replaceAll(" ", "\n")
  } SELECT /* ; \n */\n [x;y];`;
  const whole: string[] = [];
  let rest = "";
  for (const line of sql.split("\n")) {
    const cut = splitStatements(`${rest}${line}\n`);
    whole.push(...cut.whole);
    rest = cut.rest;
  }
  assert.equal(rest, "");
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
