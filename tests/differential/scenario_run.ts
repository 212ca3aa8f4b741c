/**
 * Runs a scenario in this runtime and compares all that is read with what `litestream restore` makes of the same TXID.
 *
 * @module
 */
import { ReplicaError } from "../../src/errors.ts";
import { allDrivers } from "../support/all_drivers.ts";
import { compareQueries, compareRestored } from "./comparison.ts";
import { momentOf } from "./moment.ts";
import type { Outcome } from "./outcome.ts";
import { compareReach } from "./reach.ts";
import { described, granted } from "./refusal.ts";
import { type AskedReading, type RunOptions, RunState } from "./run_state.ts";
import type { Scenario, ScenarioEvent } from "./scenario.ts";
import { World } from "./world.ts";

/** Runs it; what differs is told, not thrown. */
export async function runScenario(scenario: Scenario, options: RunOptions = {}): Promise<Outcome> {
  const drivers = await allDrivers();
  const world = await World.start(scenario);
  try {
    const run = new RunState(scenario, world, drivers, options);
    try {
      for (const [i, event] of scenario.events.entries()) await happen(run, i, event);
    } finally {
      await run.readers.closeAll();
    }
    return outcomeOf(run);
  } finally {
    await world.close();
  }
}

function outcomeOf({ scenario, world, counts, differences, notes, readers }: RunState): Outcome {
  const { statements, refused } = world.written;
  return {
    counts: { ...counts, scenarios: 1, primaries: scenario.primaries.length, statements },
    differences,
    notes: [...notes, ...readers.warnings],
    refusedStatements: refused,
  };
}

async function happen(run: RunState, i: number, event: ScenarioEvent): Promise<void> {
  switch (event.kind) {
    case "write":
      return await run.world.write(event.primary, event.steps, event.isAwaited);
    case "pause":
      return await new Promise((resolve) => setTimeout(resolve, event.ms));
    case "close":
      return await run.readers.close(event.reader);
    case "settle":
      await run.world.settle();
      run.isSettled = true;
      return;
    case "reach":
      return await read(run, { event: i, reader: event.reader, moment: { by: "txid" } }, event.kind);
    default:
      return await read(run, { ...event, event: i }, event.kind);
  }
}

async function read(run: RunState, asked: AskedReading, kind: "query" | "restore" | "reach"): Promise<void> {
  const reading = run.reading(asked);
  if (run.world.synced(reading.settings.primary) === 0n) return; // nothing is replicated yet, as in scenarios made smaller
  try {
    const opened = await run.readers.get(reading.reader);
    if (kind === "reach") {
      if (run.isSettled) await compareReach(run, reading, opened);
      return;
    }
    if (reading.isHydrated && reading.settings.hydrate) await opened.replica.hydrated();
    const moment = await momentOf(run, reading, opened);
    const compare = kind === "query" ? compareQueries : compareRestored;
    await granted(run, reading, moment, () => compare(run, reading, opened, moment));
  } catch (error) {
    if (!(error instanceof ReplicaError)) throw error;
    run.differ("error", reading, described(error));
  }
}
