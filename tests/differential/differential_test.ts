/**
 * A short round of comparing with a real Litestream. The long form: `node scripts/differential.mjs`.
 *
 * `DIFFERENTIAL_SEED=N` draws the same round again.
 */
import assert from "node:assert/strict";
import { env } from "node:process";
import { test } from "node:test";
import { litestreamBinary, skipWithout } from "../support/real.ts";
import { drawScenario, type Scenario } from "./scenario.ts";
import { runScenario } from "./scenario_run.ts";
import { scenarioText } from "./scenario_text.ts";
import { shrinkScenario } from "./shrink.ts";

const noDaemon = skipWithout({ litestream: litestreamBinary() });
const SEED = Number(env.DIFFERENTIAL_SEED ?? Date.now() % 2 ** 31);
/** Of a round that fits into `npm test`. In a folder: a server takes a second to start. */
const SIZE = { primaries: 1, readersEach: 3, writes: 3, settledReads: 8 };

test(`What is read is what Litestream restores at the same TXID (DIFFERENTIAL_SEED=${SEED})`, {
  skip: noDaemon,
  timeout: 240_000,
}, async () => {
  const scenario: Scenario = { ...drawScenario(SEED, SIZE), place: "folder" };
  const { counts, differences } = await runScenario(scenario);
  const told = differences.map(({ kind, event, text }) => `${kind} at event ${event}: ${text}`);
  assert.equal(told.length, 0, [...told, scenarioText(scenario)].join("\n"));
  assert.ok(counts.cases >= 10 && counts.queries > 100, JSON.stringify(counts));
});

/** One primary, two writes, one look. */
const SMALL: Scenario = {
  ...drawScenario(1, { primaries: 1, readersEach: 1, writes: 0, settledReads: 0 }),
  place: "folder",
  readers: [{ primary: 0, prefetch: "off" }],
  events: [
    {
      kind: "write",
      primary: 0,
      steps: [["CREATE TABLE t0(k INTEGER PRIMARY KEY, a)", "INSERT INTO t0 VALUES (1, 2)"]],
      isAwaited: true,
    },
    {
      kind: "write",
      primary: 0,
      steps: [["INSERT INTO t0 VALUES (2, 3)"], ["DELETE FROM t0"]],
      isAwaited: true,
    },
    { kind: "settle" },
    { kind: "query", reader: 0, driver: 0, moment: { by: "newest" }, questions: 0 },
  ],
};

test("runScenario() finds an answer that differs", { skip: noDaemon, timeout: 120_000 }, async () => {
  const spoil = (sql: string, answer: string) => sql.includes("NOT INDEXED") ? "1 rows other" : answer;
  const { differences } = await runScenario(SMALL, { spoil });
  assert.deepEqual(differences.map(({ kind, event }) => ({ kind, event })), [{ kind: "answer", event: 3 }]);
  assert.match(differences[0]!.text, /^TXID \d+, p0 by .*NOT INDEXED\n +1 rows other, expected 0 rows /);
});

test("shrinkScenario() leaves only what a difference needs", async () => {
  const scenario = drawScenario(8, { primaries: 3, readersEach: 2, writes: 5, settledReads: 5 });
  let tried = 0;
  const needed = /^DELETE FROM t/;
  const differs = ({ events, readers, primaries }: Scenario): Promise<boolean> => {
    tried++;
    const writes = events.some((event) =>
      event.kind === "write" && primaries[event.primary]!.name === "p1" &&
      event.steps.flat().some((sql) => needed.test(sql))
    );
    const reads = events.some((event) =>
      event.kind === "query" && primaries[readers[event.reader]!.primary]!.name === "p1"
    );
    return Promise.resolve(writes && reads);
  };
  assert.ok(await differs(scenario), "the scenario has what is looked for");
  const { events, readers, primaries, ...small } = await shrinkScenario(scenario, differs);
  assert.deepEqual(events.map(({ kind }) => kind).sort(), ["query", "write"]);
  const [write] = events.filter((event) => event.kind === "write");
  assert.equal(write!.steps.flat().length, 1);
  assert.match(write!.steps[0]![0]!, needed);
  assert.deepEqual(readers, [{ primary: 0 }]);
  assert.deepEqual(primaries.map(({ name, pageSize }) => ({ name, pageSize })), [{
    name: "p1",
    pageSize: 4096,
  }]);
  assert.equal(small.place, "folder");
  assert.match(scenarioText({ ...small, events, readers, primaries }), /^DELETE FROM t.*;$/m);
  assert.ok(tried < 600, `${tried} attempts`);
});
