/**
 * The long form: every script in every way, with each driver of the runtime it is started in.
 *
 *     npm run sqllogic                     our own corpus and 40 scripts drawn at random, in both runtimes
 *     bun tests/sqllogic/run.ts            the same in Bun; `deno run -A --no-check` in Deno
 *
 *     --corpus FOLDER    the scripts below a folder, such as SQLite's own: https://sqlite.org/sqllogictest
 *     --match PATTERN    of these the ones whose path matches
 *     --every N          of these every Nth
 *     --seed N           of what is drawn; printed, and another each day
 *     --drawn N          scripts drawn at random; 40, with --corpus 0
 *     --settings N       of the settings so many in turn for each script; all, with --corpus 1
 *     --ways read,daemon,write
 *
 * A line a script tells how many statements and queries were compared, and what differed; the last one sums up. It exits
 * with 1 where anything differed.
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { allDrivers, type TestedDriver } from "../support/all_drivers.ts";
import { restore } from "../support/real.ts";
import { OWN_CORPUS, readScript, scriptPaths } from "./corpus.ts";
import { Outcome } from "./outcome.ts";
import { DaemonPrimary, FolderPrimary } from "./primary.ts";
import { randomScript } from "./random_script.ts";
import { readScripts } from "./reading.ts";
import type { Script } from "./script.ts";
import { type Setting, SETTINGS } from "./setting.ts";
import { writeScripts } from "./writing.ts";

const { values } = parseArgs({
  options: {
    corpus: { type: "string" },
    match: { type: "string", default: "" },
    every: { type: "string", default: "1" },
    seed: { type: "string", default: String(Math.floor(Date.now() / 86_400_000)) },
    drawn: { type: "string" },
    settings: { type: "string" },
    ways: { type: "string", default: "read,daemon,write" },
  },
});

const folder = values.corpus ?? OWN_CORPUS;
const isOwn = values.corpus === undefined;
const seed = Number(values.seed);
const settingCount = Number(values.settings ?? (isOwn ? SETTINGS.length : 1));
const drawnCount = Number(values.drawn ?? (isOwn ? 40 : 0));

/** One way to run a script. */
type Way = (script: Script, setting: Setting, drivers: readonly TestedDriver[]) => Promise<Outcome>;

const WAYS: Record<string, Way> = {
  async read(script, setting, drivers) {
    return await readFrom(await FolderPrimary.make(setting.pageSize), script, setting, drivers);
  },
  async daemon(script, setting, drivers) {
    return await readFrom(await DaemonPrimary.make(setting.pageSize), script, setting, drivers);
  },
  async write(script, setting, drivers) {
    const sum = new Outcome();
    for (const driver of drivers) sum.add(await writeScripts([script], { setting, driver, seed, restore }));
    return sum;
  },
};

async function readFrom(
  primary: DaemonPrimary | FolderPrimary,
  script: Script,
  setting: Setting,
  drivers: readonly TestedDriver[],
): Promise<Outcome> {
  try {
    return await readScripts([script], { primary, setting, drivers });
  } finally {
    await primary.close();
  }
}

function* scripts(): Generator<Script> {
  const paths = scriptPaths(folder, new RegExp(values.match!));
  for (const [i, path] of paths.entries()) if (i % Number(values.every) === 0) yield readScript(folder, path);
  for (let i = 0; i < drawnCount; i++) yield randomScript(seed + i, { statements: 60, queriesEach: 8 });
}

/** Runs one script in one way; what it throws is a difference, too. */
async function attempt(
  [name, way]: readonly [string, Way],
  script: Script,
  setting: Setting,
  drivers: readonly TestedDriver[],
): Promise<Outcome> {
  const outcome = await way(script, setting, drivers).catch((error) => {
    const failed = new Outcome();
    failed.note(`${script.name}: ${error instanceof Error ? error.stack : error}`);
    return failed;
  });
  for (const text of outcome.differences) console.log(`DIFFERS ${name}, ${setting.name}: ${text}`);
  return outcome;
}

const drivers = await allDrivers();
const ways = Object.entries(WAYS).filter(([name]) => values.ways!.split(",").includes(name));
console.log(`seed ${seed}; ${drivers.map(({ name }) => name).join(", ")}`);
const total = new Outcome();
let count = 0;
for (const script of scripts()) {
  const sum = new Outcome();
  for (let k = 0; k < settingCount; k++) {
    const setting = SETTINGS[(count + k) % SETTINGS.length]!;
    for (const way of ways) sum.add(await attempt(way, script, setting, drivers));
  }
  count++;
  const { statements, queries, expected, skipped, differenceCount } = sum;
  console.log(
    `${script.name}: ${statements} statements, ${queries} queries (${expected} with answers), ` +
      `${skipped} skipped, ${differenceCount} differ`,
  );
  total.add(sum);
}
console.log(
  `${count} scripts, ${total.statements} statements, ${total.queries} queries ` +
    `(${total.expected} with answers), ${total.skipped} skipped, ${total.differenceCount} differ`,
);
process.exitCode = count > 0 && total.differenceCount === 0 ? 0 : 1;
