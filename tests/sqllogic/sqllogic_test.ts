/** SQL over a replica, read and written, gives what it gives with plain SQLite: scripts in sqllogictest's format. */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { allDrivers } from "../support/all_drivers.ts";
import { litestreamBinary, restore, skipWithout } from "../support/real.ts";
import { OWN_CORPUS, readScript, scriptPaths } from "./corpus.ts";
import type { Outcome } from "./outcome.ts";
import { DaemonPrimary, FolderPrimary } from "./primary.ts";
import { randomScript } from "./random_script.ts";
import { readScripts } from "./reading.ts";
import { parseScript, type Script } from "./script.ts";
import { SETTINGS } from "./setting.ts";
import { writeScripts } from "./writing.ts";

const drivers = await allDrivers();
const skip = skipWithout({ litestream: litestreamBinary() });
const seed = Number(process.env.SQLLOGIC_SEED ?? 20_261_122);
/** Each script runs once in each way, with one of these; another seed deals them out differently. */
const settings = SETTINGS.slice(0, 3);
const groups = settings.map((setting, k) => ({
  setting,
  driver: drivers[k % drivers.length]!,
  scripts: dealt(k),
}));

function dealt(k: number): Script[] {
  const paths = scriptPaths(OWN_CORPUS).filter((_, i) =>
    (i + seed) % settings.length === k % settings.length
  );
  const drawn = randomScript(seed + k, { statements: 12, queriesEach: 4 });
  return [...paths.map((path) => readScript(OWN_CORPUS, path)), drawn];
}

function assertEqual({ differences, queries }: Outcome): void {
  assert.deepEqual(differences, [], `SQLLOGIC_SEED=${seed}`);
  assert.ok(queries > 50, `${queries} queries`);
}

for (const { setting, driver, scripts } of groups) {
  test(
    `queries over a replica answer as over a plain file: ${setting.name}`,
    { timeout: 240_000 },
    async () => {
      const primary = await FolderPrimary.make(setting.pageSize);
      try {
        assertEqual(await readScripts(scripts, { primary, setting, drivers }));
      } finally {
        await primary.close();
      }
    },
  );

  test(
    `a written replica answers as a plain file, and is restored as one: ${setting.name}`,
    { skip, timeout: 240_000 },
    async () => assertEqual(await writeScripts(scripts, { setting, driver, seed, restore })),
  );
}

test(
  "queries over what Litestream replicates answer as over a plain file",
  { skip, timeout: 240_000 },
  async () => {
    const setting = settings[1]!;
    const primary = await DaemonPrimary.make(setting.pageSize);
    try {
      const outcome = await readScripts([readOwn("schema.test"), readOwn("wide.test")], {
        primary,
        setting,
        drivers,
      });
      assert.deepEqual(outcome.differences, []);
      assert.ok(outcome.queries >= 20 && outcome.expected === outcome.queries);
    } finally {
      await primary.close();
    }
  },
);

function readOwn(name: string): Script {
  return readScript(OWN_CORPUS, `${OWN_CORPUS}/${name}`);
}

const WRONG = `
statement ok
CREATE TABLE t(a)

statement error
INSERT INTO t VALUES (1), (2), (3)

query I nosort first
SELECT a FROM t ORDER BY a
----
1
2
4

query I nosort first
SELECT a FROM t ORDER BY a DESC

query I nosort
SELECT b FROM t
`;

test("what a script says wrongly is told, in both ways", { skip }, async () => {
  const wrong = [parseScript("wrong.test", WRONG)];
  const [setting, driver] = [settings[1]!, drivers[0]!];
  const primary = await FolderPrimary.make(setting.pageSize);
  const read = await readScripts(wrong, { primary, setting, drivers: [driver] });
  await primary.close();
  const written = await writeScripts(wrong, { setting, driver, seed, restore });
  for (const { differences } of [read, written]) {
    const [error, values, label, failure, ...others] = differences;
    assert.match(error!, /wrong.test:5: .*"", expected an error/);
    assert.match(values!, /wrong.test:8: \[1, 2, 3\], expected \[1, 2, 4\]/);
    assert.match(label!, /wrong.test:15: differs from first/);
    assert.match(failure!, /wrong.test:18: fails: ".*no such column: b.*", expected rows/);
    assert.deepEqual(others, []);
  }
});
