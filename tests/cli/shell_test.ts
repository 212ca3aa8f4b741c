/** The shell on a terminal. */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { skipWithout } from "../support/real.ts";
import { Terminal, terminalMaker } from "./running.ts";

const skip = skipWithout({ "python3 with a pty module": terminalMaker() });
const ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c;";
const PROMPT = "replica> \x1b[10G";

async function withShell(
  folder: ReplicaFolder,
  use: (terminal: Terminal) => Promise<void>,
  more: { args?: string[]; env?: Record<string, string> } = {},
): Promise<void> {
  const args = ["shell", folder.url, ...more.args ?? []];
  const terminal = new Terminal(args, { XDG_STATE_HOME: folder.home, NO_COLOR: "1", ...more.env });
  try {
    await use(terminal);
  } finally {
    terminal.kill();
  }
}

function withRatings(use: (folder: ReplicaFolder) => Promise<void>): Promise<void> {
  return withReplicaFolder({}, async (folder) => {
    folder.step(
      "CREATE TABLE ratings (id INTEGER PRIMARY KEY, stars INT); INSERT INTO ratings VALUES (1, 5)",
    );
    folder.step("INSERT INTO ratings VALUES (2, 3); CREATE INDEX by_stars ON ratings (stars)");
    await use(folder);
  });
}

test(
  "a session: statements of several lines, completion, dot commands, moments, and history for the next one",
  {
    skip,
    timeout: 120_000,
  },
  () =>
    withRatings(async (folder) => {
      const history = join(folder.home, "litestream-vfs", "shell_history");
      mkdirSync(join(folder.home, "litestream-vfs"), { recursive: true });
      writeFileSync(history, "SELECT 'from before';\n");
      chmodSync(history, 0o644);
      await withShell(folder, async (terminal) => {
        const run = async (line: string, wanted: string) => {
          terminal.type(`${line}\r`);
          const shown = await terminal.until(wanted);
          await terminal.until(PROMPT);
          return shown;
        };
        await terminal.until(PROMPT);
        terminal.type("\x1b[A");
        await terminal.until("SELECT 'from before';");
        await run("", "(1 row)");
        terminal.type("SELECT sum(stars) AS s\r");
        await terminal.until("    ...> ");
        terminal.type("FROM rat");
        await terminal.until("FROM rat");
        terminal.type("\t");
        await terminal.until("ings ");
        await run(";", " s\r\n───\r\n 8\r\n(1 row)");
        await run(".tables", "ratings\r\n");
        await run(".indexes ratings", "by_stars\r\n");
        await run(
          ".schema ratings",
          "CREATE TABLE ratings (id INTEGER PRIMARY KEY, stars INT);\r\nCREATE INDEX by_stars",
        );
        await run(".databases", "main: file://");
        await run(".mode ndjson", "");
        await run("SELECT 1 AS a; SELECT ';' AS b;", '{"a":1}\r\n{"b":";"}');
        await run(".mode list", "");
        await run(".headers off", "");
        await run(".timer on", "");
        await run("SELECT 'timed';", "timed\r\nrun ");
        await run(".timer off", "");
        await run(".points", "0000000000000002|");
        await run(".diff 0000000000000001", "+ insert ratings id=2\r\n1 change");
        await run(".stats", "this shell: ");
        await run(".help", "A statement ends at its semicolon");
        await run(".tabels", "did you mean .tables?");
        await run(".open ./nowhere", "no LTX files there");
        await run("SELECT * FROM absent;", "no such table: absent");
        terminal.type(".at 0000000000000001\r");
        await terminal.until("replica@0000000000000001> ");
        terminal.type("SELECT count(*) || ' then' FROM ratings;\r");
        await terminal.until("1 then");
        await run(".at latest", "TXID 0000000000000002");
        await run(" SELECT 'untold';", "untold\r\n");
        const script = join(folder.home, "script.sql");
        writeFileSync(script, ".headers on\nSELECT 7 AS\n seven;\nSELECT 8 AS eight");
        await run(`.read ${script}`, "seven\r\n7\r\neight\r\n8\r\n");
        terminal.type(".quit\r");
        assert.equal(await terminal.ended(), 0);
      });
      const kept = readFileSync(history, "utf8");
      assert.match(
        kept,
        /^SELECT 'from before';\nSELECT 'from before';\nSELECT sum\(stars\) AS s\nFROM ratings ;\n\.tables\n/,
      );
      assert.doesNotMatch(kept, /untold|\.open/);
      assert.equal(statSync(history).mode & 0o777, 0o600);
    }),
);

test("Ctrl-C ends what runs and not the shell; on an empty line twice it leaves, with 130", {
  skip,
  timeout: 120_000,
}, () =>
  withRatings((folder) =>
    withShell(folder, async (terminal) => {
      await terminal.until(PROMPT);
      terminal.type(`SELECT 1 AS begun; ${ENDLESS}\r`);
      await terminal.until("(1 row)");
      terminal.type("\x03");
      await terminal.until("interrupted\r\n");
      await terminal.until(PROMPT);
      terminal.type("SELECT count(*) AS still FROM ratings;\r");
      await terminal.until(" still\r\n───────\r\n     2\r\n");
      await terminal.until(PROMPT);
      terminal.type("SELECT 'half");
      await terminal.until("half");
      terminal.type("\x03");
      await terminal.until("^C\r\n");
      await terminal.until(PROMPT);
      terminal.type("SELECT\r");
      await terminal.until("...> ");
      terminal.type("\x03");
      await terminal.until(PROMPT); // the statement is dropped, too
      terminal.type("\x03");
      await terminal.until("Ctrl-C again, Ctrl-D or .quit leaves");
      await terminal.until(PROMPT);
      terminal.type("\x03");
      assert.equal(await terminal.ended(), 130);
    })
  ));

test("--write asks first, marks its prompt, and what was committed is stored when Ctrl-D leaves", {
  skip,
  timeout: 120_000,
}, () =>
  withRatings(async (folder) => {
    await withShell(folder, async (terminal) => {
      await terminal.until('Type "write" to go on: ');
      terminal.type("no\r");
      await terminal.until("Nothing was opened");
      assert.equal(await terminal.ended(), 0);
    }, { args: ["--write"] });
    await withShell(folder, async (terminal) => {
      await terminal.until('Type "write" to go on: ');
      terminal.type("write\r");
      await terminal.until("replica# ");
      terminal.type("BEGIN; INSERT INTO ratings VALUES (3, 1);\r");
      await terminal.until("replica*# ");
      terminal.type("COMMIT;\r");
      await terminal.until("replica# ");
      terminal.type(`UPDATE ratings SET stars = 4 RETURNING 'begun'; ${ENDLESS}\r`);
      await terminal.until("(3 rows)");
      terminal.type("\x03");
      await terminal.until("interrupted\r\n");
      await terminal.until("replica# ");
      terminal.type("\x04");
      assert.equal(await terminal.ended(), 0);
    }, { args: ["--write"] });
    await withShell(folder, async (terminal) => {
      await terminal.until(PROMPT);
      terminal.type("SELECT count(*) || ' rows of ' || sum(stars) AS s FROM ratings;\r");
      await terminal.until("3 rows of 12");
      terminal.type(".quit\r");
      await terminal.ended();
    });
  }));

test(
  "restore shows a bar on a terminal, in colours unless NO_COLOR is set",
  { skip, timeout: 120_000 },
  () =>
    withRatings(async (folder) => {
      for (const NO_COLOR of ["1", ""]) {
        const out = join(folder.home, `restored${NO_COLOR}.db`);
        const terminal = new Terminal(["restore", folder.url, out], { NO_COLOR });
        await terminal.until(
          NO_COLOR ? "████████████████████████ 100%" : "\x1b[32m████████████████████████\x1b[39m 100%",
        );
        await terminal.until("Restored file://");
        assert.equal(await terminal.ended(), 0);
        terminal.kill();
      }
    }),
);
