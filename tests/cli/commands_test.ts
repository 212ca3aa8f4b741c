/** Each command over replicas that a real Litestream has made, in a folder and in a bucket; and every exit code. */
import assert from "node:assert/strict";
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { FakeS3 } from "../support/fake_s3.ts";
import {
  folderUrl,
  litestreamBinary,
  replicate,
  restore,
  s3ServerBinary,
  skipWithout,
  startS3Server,
  withFolder,
} from "../support/real.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { VERSION } from "../../src/cli/version.ts";
import { contentOf } from "./content.ts";
import { runMain } from "./running.ts";

const noDaemon = skipWithout({ litestream: litestreamBinary() });
const noS3 = skipWithout({ litestream: litestreamBinary(), "S3 server": s3ServerBinary() });

const BEFORE = `CREATE TABLE ratings (id INTEGER PRIMARY KEY, who TEXT UNIQUE, stars REAL, raw BLOB);
  CREATE INDEX by_stars ON ratings (stars);
  CREATE TABLE gone (x); INSERT INTO gone VALUES (1);
  CREATE TABLE pairs (a TEXT, b INT, c, PRIMARY KEY (a, b)) WITHOUT ROWID;
  CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT);
  CREATE TRIGGER logs AFTER INSERT ON ratings BEGIN INSERT INTO log (what) VALUES ('in ' || new.who); END;
  CREATE VIEW good AS SELECT * FROM ratings WHERE stars > 3;
  INSERT INTO pairs VALUES ('a', 1, NULL), ('b', 2, x'00ff');
  INSERT INTO ratings VALUES (1, 'Reuben', 5, NULL), (2, 'BLT', 1.5, x'00ff'), (3, 'Club', 2, NULL);`;
/** Two names are swapped: no order of single updates keeps them unique. */
const AFTER = `UPDATE ratings SET who = 'x' WHERE id = 1; UPDATE ratings SET who = 'Reuben' WHERE id = 2;
  UPDATE ratings SET who = 'BLT' WHERE id = 1; DELETE FROM ratings WHERE id = 3;
  INSERT INTO ratings VALUES (9007199254740993, 'it''s 日本' || char(27) || '[31m', -0.25, NULL);
  DROP TABLE gone; CREATE TABLE visits (x, y); INSERT INTO visits VALUES (1.0, 'a'), (NULL, 2);
  ALTER TABLE pairs ADD COLUMN d DEFAULT 7; UPDATE pairs SET c = 3 WHERE b = 1;
  DROP VIEW good; CREATE VIEW bad AS SELECT * FROM ratings WHERE stars < 3 -- two or less
  ;`;

for (const place of ["a folder", "a bucket"] as const) {
  test(`query, points, diff, stats and restore of ${place}`, {
    skip: place === "a folder" ? noDaemon : noS3,
    timeout: 120_000,
  }, () =>
    withFolder(async (folder) => {
      const server = place === "a bucket" ? await startS3Server() : undefined;
      try {
        const url = server?.url("db") ?? folderUrl(join(folder, "replica"));
        const env = { ...server?.env, XDG_STATE_HOME: folder };
        const places: [bigint, string][] = [];
        await replicate({
          db: join(folder, "source.db"),
          url,
          env: server?.env ?? {},
          async run(sqlite, daemon) {
            for (const sql of [BEFORE, AFTER]) {
              sqlite.exec(sql);
              places.push([await daemon.sync(), sql]);
            }
          },
        });
        const run = async (...args: string[]) => {
          const ran = await runMain(args, { env });
          for (const secret of Object.values(server?.env ?? {})) {
            assert.ok(!(ran.out + ran.err).includes(secret), args.join(" "));
          }
          return ran;
        };
        const [first, last] = places.map(([txid]) => txid.toString(16).padStart(16, "0")) as [string, string];

        const rows = "SELECT id, who, stars, raw FROM ratings ORDER BY id";
        assert.deepEqual(await run("query", url, rows), {
          code: 0,
          out: "id,who,stars,raw\r\n1,BLT,5.0,\r\n2,Reuben,1.5,x'00ff'\r\n" +
            "9007199254740993,it's 日本\x1b[31m,-0.25,\r\n",
          err: "",
        });
        const points = JSON.parse((await run("points", url, "--json")).out) as {
          txid: string;
          time: string;
        }[];
        assert.deepEqual([first, last].filter((txid) => !points.some((point) => point.txid === txid)), []);
        for (const at of [first, `txid:${first}`, "latest"]) {
          const { out } = await run(
            "query",
            url,
            "SELECT who FROM ratings WHERE id = ?",
            "1",
            "--at",
            at,
            "--list",
          );
          assert.equal(out, at === "latest" ? "who\nBLT\n" : "who\nReuben\n", at);
        }
        const newest = await run("points", url, "--limit", "1", "--ndjson");
        assert.equal(JSON.parse(newest.out).txid, points.at(-1)!.txid);
        assert.equal((await run("points", url, "--to", points[0]!.time, "--json")).out, "[]\n");

        const changes = await run("diff", url, "--from", first, "--to", last, "--table", "ratings");
        assert.equal(
          changes.out,
          "~ update ratings id=1\n~ update ratings id=2\n- delete ratings id=3\n+ insert ratings id=9007199254740993\n",
        );
        const script = await run("diff", url, "--from", first, "--sql");
        assert.equal(script.code, 0, script.err);
        const [before, after] = [join(folder, "before.db"), join(folder, "after.db")];
        const restored = await run("restore", url, before, "--at", first);
        assert.match(restored.out, new RegExp(`^Restored .*: TXID ${first}, \\d+ pages, `));
        await restore(url, after, { env: server?.env ?? {} });
        copyFileSync(before, join(folder, "changed.db"));
        const changed = new DatabaseSync(join(folder, "changed.db"));
        changed.exec(script.out);
        changed.close();
        assert.equal(contentOf(join(folder, "changed.db")), contentOf(after));
        assert.notEqual(contentOf(before), contentOf(after));

        const stats = JSON.parse((await run("stats", url, "--json")).out);
        assert.equal(stats.txid, last);
        assert.equal(stats.databaseBytes, stats.pages * stats.pageSize);
        assert.ok(stats.levels.length >= 1 && stats.files >= stats.levels.length && stats.bytes > 0);
        const shown = await run("stats", url);
        assert.match(shown.out, /following {2}\$1\.93 a month while nothing is written, else \$4\.06/);
      } finally {
        await server?.close();
      }
    }));
}

test("exit codes: 0, 1, 2, 3 and 4, each with one line on stderr and nothing on stdout", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("CREATE TABLE ratings (stars); INSERT INTO ratings VALUES (5)");
    const here = join(folder.home, "here.db");
    writeFileSync(here, "mine");
    const cases: [number, string[], RegExp][] = [
      [1, ["query", folder.url, "SELECT * FROM rating"], /no such table: rating; did you mean "ratings"\?/],
      [
        1,
        ["query", folder.url, "SELECT satrs FROM ratings"],
        /no such column: satrs; did you mean "stars"\?/,
      ],
      [1, ["query", folder.url, "SELEC 1"], /syntax error/],
      [1, ["query", folder.url, "DELETE FROM ratings"], /readonly/],
      [2, ["query", folder.url, "SELECT :a"], /parameter "a" has no value/],
      [2, ["query", folder.url, "SELECT 1", "--tabel"], /Cannot use option --tabel/],
      [2, ["query", folder.url, "SELECT 1", "--csv", "--json"], /--csv and --json at once/],
      [2, ["query", folder.url, "SELECT 1", "--at", "whenever"], /Cannot read time "whenever"/],
      [2, ["query", folder.url, "SELECT 1", "--timeout", "soon"], /expected a duration/],
      [2, ["query", folder.url, "SELECT 1", "--at"], /--at: its value is missing/],
      [2, ["query", "SELECT 1"], /Cannot find the replica/],
      [2, ["query", folder.url, ";"], /no statement/],
      [2, ["qeury", folder.url], /did you mean "query"\?/],
      [2, ["diff", folder.url], /expected --from/],
      [2, ["restore", folder.url], /no file is named/],
      [2, ["shell", folder.url, "--write", "--at", "yesterday"], /--write with --at/],
      [3, ["query", join(folder.home, "nowhere"), "SELECT 1"], /no LTX files there/],
      [
        3,
        ["query", join(folder.home, "nowhere"), "SELECT 1"],
        /there is no such folder, expected .*; check the path\n/,
      ],
      [3, ["query", folder.url, "SELECT 1", "--at", "1999-01-01"], /expected a later time/],
      [3, [
        "query",
        "s3://bucket/db?endpoint=http://127.0.0.1:1",
        "SELECT 1",
        "--anonymous",
        "--timeout",
        "2s",
      ], /./],
      [4, ["restore", folder.url, here], /it is there already/],
    ];
    for (const [code, args, message] of cases) {
      const ran = await runMain(args);
      assert.equal(ran.code, code, `${args.join(" ")}: ${ran.err}`);
      assert.match(ran.err, /^error: [^\n]*\n$/, args.join(" "));
      assert.match(ran.err, message);
      assert.equal(ran.out, "", args.join(" "));
    }
    const { code, err } = await runMain(["restore", folder.url, folder.home]);
    assert.deepEqual([code, /there is a folder, expected a file or none\n$/.test(err)], [4, true], err);
    assert.equal(readFileSync(here, "utf8"), "mine");
    assert.equal((await runMain(["restore", folder.url, here, "--force", "-q"])).code, 0);
    assert.match(contentOf(here), /stars/);
  }));

test("what is secret in a URL, an option or the environment is never repeated", async () => {
  await using fake = await FakeS3.start();
  const secret = "s3cr3t-s3cr3t";
  const env = { AWS_ACCESS_KEY_ID: "AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY: secret };
  const place = `?endpoint=${fake.endpoint}&region=us-east-1`;
  for (
    const args of [
      ["query", `s3://bucket/db${place}`, "SELECT 1", "--log", "debug", "--timeout", "500ms"],
      ["query", `s3://user:${secret}@bucket/db${place}`, "SELECT 1", "--timeout", "500ms"],
      ["query", `sftp://user:${secret}@127.0.0.1:1/db`, "SELECT 1", "--timeout", "500ms"],
      ["query", `webdav://user:${secret}@127.0.0.1:1/db`, "SELECT 1", "--timeout", "500ms"],
      ["query", `nonsense://user:${secret}@host/db`, "SELECT 1"],
      ["query", `s3://bucket/db${place}&secret-access-key=${secret}`, "SELECT 1", "--timeout", "500ms"],
      ["query", "./x", "SELECT 1", `--secret-access-key=${secret}`],
      ["query", "./x", "SELECT 1", "--secret-access-key", secret],
      [`sftp://user:${secret}@host/db`],
      ["restore", "./x", "y", `sftp://user:${secret}@host/db`],
      ["info"],
    ]
  ) {
    const { out, err } = await runMain(args, { env });
    assert.ok(!(out + err).includes(secret), `${args.join(" ")}: ${out}${err}`);
  }
});

test("a replica that is named by the environment, SQL from standard input, bounds and --timer", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("CREATE TABLE t (x); INSERT INTO t VALUES (1), (2)");
    const env = { LITESTREAM_REPLICA_URL: folder.url };
    const { out } = await runMain(["query", "SELECT sum(x) AS s FROM t", "--list", "--no-header"], { env });
    assert.equal(out, "3\n");
    const sql = "-- two\nSELECT 1 AS a; SELECT :b AS b -- no end";
    const ran = await runMain(["query", "-", "-p", "b=2", "--csv", "--timer"], { env, stdin: sql });
    assert.equal(ran.out, "a\r\n1\r\nb\r\n2\r\n");
    assert.match(
      ran.err,
      /^open .* s · run .* s · \d+ requests \(\d+ GET, \d+ LIST\) · .*B · \d+ round trips? · \$/,
    );
    const commented = await runMain(["query", "/* c */ SELECT sum(x) AS s FROM t", "--json"], { env });
    assert.equal(commented.out, '[{"s":3}]\n', commented.err);
    const restored = join(folder.home, "restored.db");
    assert.equal((await runMain(["restore", restored], { env })).code, 0);
    assert.ok(existsSync(restored));
    const path = folder.url.slice("file://".length);
    assert.equal((await runMain(["query", path, "SELECT x FROM t LIMIT 1", "--json"])).out, '[{"x":1}]\n');
    assert.match((await runMain(["query", path, "SELECT 1", "--log", "loud"])).err, /it names no level/);
  }));

test("what is looked at is not written to, nor brought to a file, whatever the environment says", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("CREATE TABLE t (x); INSERT INTO t VALUES (1)");
    const state = join(folder.home, "state");
    const env = {
      LITESTREAM_WRITE_ENABLED: "true",
      LITESTREAM_HYDRATION_ENABLED: "true",
      LITESTREAM_HYDRATION_PATH: join(folder.home, "copy.db"),
      XDG_STATE_HOME: state,
    };
    const before = readdirSync(folder.home, { recursive: true }).sort();
    for (
      const args of [
        ["query", folder.url, "SELECT x FROM t"],
        ["points", folder.url],
        ["stats", folder.url],
        [
          "diff",
          folder.url,
          "--from",
          "0000000000000001",
        ],
      ]
    ) assert.equal((await runMain(args, { env })).code, 0, args.join(" "));
    assert.deepEqual(readdirSync(folder.home, { recursive: true }).sort(), before);
  }));

test("query takes SQL that begins or ends with a comment", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("CREATE TABLE t (x); INSERT INTO t VALUES (1), (2)");
    const run = async (...args: string[]) => await runMain(["query", folder.url, ...args, "--json"]);
    for (
      const sql of [
        "-- report\nSELECT sum(x) AS s FROM t",
        "--report\nSELECT sum(x) AS s FROM t",
        "--report=5\nSELECT sum(x) AS s FROM t",
        "--\nSELECT sum(x) AS s FROM t",
        "/* report */ SELECT sum(x) AS s FROM t",
        "SELECT sum(x) AS s FROM t; /* trailing",
        "SELECT sum(x) AS s FROM t /* trailing",
        "SELECT sum(x) AS s FROM t; -- trailing",
      ]
    ) {
      assert.deepEqual(await run(sql), { code: 0, out: '[{"s":3}]\n', err: "" }, sql);
    }
    const parameters = await run("-p", "a=-- no\ncomment", "--param=b=\n", "SELECT :a AS a, :b AS b");
    assert.equal(parameters.out, '[{"a":"-- no\\ncomment","b":"\\n"}]\n', parameters.err);
    const positional = await runMain([
      "query",
      folder.url,
      "--json",
      "--",
      "SELECT ? AS a",
      "-- no\ncomment",
    ]);
    assert.equal(positional.out, '[{"a":"-- no\\ncomment"}]\n', positional.err);
    assert.match((await run("SELECT 1", "--at", "-- a moment")).err, /Cannot read time "-- a moment"/);
    for (const sql of ["/* unterminated", "-- nothing"]) assert.match((await run(sql)).err, /no statement/);
    assert.match((await run("SELECT 1", "--report")).err, /Cannot use option --report: there is none/);
  }));

test("shell ends a script's comment that is not closed with the script", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("CREATE TABLE t (x); INSERT INTO t VALUES (1), (2)");
    for (
      const stdin of [
        "SELECT sum(x) AS s FROM t; /* trailing",
        "/* a\n*/ SELECT sum(x) AS s FROM t\n-- end\n",
      ]
    ) {
      const ran = await runMain(["shell", folder.url, "--json"], { stdin });
      assert.deepEqual(ran, { code: 0, out: '[{"s":3}]\n', err: "" }, stdin);
    }
  }));

test("version, info and help", async () => {
  assert.deepEqual(await runMain(["--version"]), { code: 0, out: `litestream-vfs ${VERSION}\n`, err: "" });
  for (const file of ["package.json", "deno.json"]) {
    assert.equal(
      JSON.parse(readFileSync(new URL(`../../${file}`, import.meta.url), "utf8")).version,
      VERSION,
      file,
    );
  }
  assert.match(
    (await runMain(["info"], { env: { LITESTREAM_X: "hidden" } })).out,
    /environment,.*LITESTREAM_X/,
  );
  const help = await runMain(["--help"]);
  assert.equal(help.code, 0);
  const names = [...help.out.matchAll(/^ {2}([a-z]+) .*\n/gm)].map(([, name]) => name!).slice(0, 8);
  assert.deepEqual(names, ["query", "shell", "restore", "points", "diff", "stats", "info", "version"]);
  for (const name of names) {
    const own = await runMain([name, "--help"]);
    assert.equal(own.code, 0);
    assert.match(own.out, new RegExp(`^litestream-vfs ${name}`));
    assert.ok(name === "version" || own.out.includes("Examples:"), name);
    assert.equal((await runMain(["help", name])).out, own.out);
    assert.notEqual((await runMain([name, "--", "--help"])).out, own.out, "a value");
  }
  for (const line of help.out.split("\n")) assert.ok(line.length <= 120, line);
  assert.deepEqual(await runMain([]), { code: 2, out: "", err: help.out });
});

test("on a terminal rows are a table, and neither data nor names speak to it", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step(
      `CREATE TABLE "t\x1b[2J" ("c\x9b" TEXT); INSERT INTO "t\x1b[2J" VALUES (char(27) || ']0;x' || char(7))`,
    );
    const env = { NO_COLOR: "1" };
    for (
      const more of [["query", folder.url, 'SELECT * FROM "t\x1b[2J"'], [
        "query",
        folder.url,
        'SELECT "\x1b" FROM x',
      ]]
    ) {
      for (const mode of [[], ["--csv"], ["--json"], ["--line"]]) {
        const { out, err } = await runMain([...more, ...mode], { env, isTerminal: true });
        // deno-lint-ignore no-control-regex
        assert.doesNotMatch(out + err, /[\x00-\x09\x0b-\x1f\x7f-\x9f]/, `${more} ${mode}`);
      }
    }
    const script = ".tables\n.schema\n.nonsense\x1b[2J\n.diff latest\n";
    const { out, err } = await runMain(["shell", folder.url], { env, isTerminal: true, stdin: script });
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(out + err, /[\x00-\x09\x0b-\x1f\x7f-\x9f]/);
    assert.match(out, /t\\x1b\[2J/);
    const { out: colored } = await runMain(["query", folder.url, "SELECT 1 AS a, NULL AS b"], {
      isTerminal: true,
    });
    assert.equal(
      colored,
      " \x1b[1ma\x1b[22m │ \x1b[1mb\x1b[22m\n───┼──────\n 1 │ \x1b[2mNULL\x1b[22m\n\x1b[2m(1 row)\x1b[22m\n",
    );
    const { out: plain } = await runMain(["query", folder.url, "SELECT 1 AS a", "--no-color"], {
      isTerminal: true,
    });
    assert.equal(plain, " a\n───\n 1\n(1 row)\n");
    assert.ok(!existsSync("t"));
  }));
