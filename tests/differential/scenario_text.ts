/**
 * A scenario as a script for a person.
 *
 * @module
 */
import type { Scenario, ScenarioEvent } from "./scenario.ts";

/** Settings and statements in the order in which they happen. */
export function scenarioText({ seed, place, daemon, primaries, readers, events }: Scenario): string {
  return [
    `-- seed ${seed}, place ${place}, daemon ${JSON.stringify(daemon)}`,
    ...primaries.map((setup) => `-- primary ${JSON.stringify(setup)}`),
    ...readers.map((reader, i) => `-- reader ${i} ${JSON.stringify(reader)}`),
    ...events.flatMap((event, i) => eventLines(event, i)),
    "",
  ].join("\n");
}

function eventLines(event: ScenarioEvent, i: number): string[] {
  if (event.kind !== "write") return [`-- ${i}: ${JSON.stringify(event)}`];
  const { primary, steps, isAwaited } = event;
  return [
    `-- ${i}: primary ${primary}${isAwaited ? ", until it is replicated" : ""}`,
    ...steps.flatMap((step) => [...step.map((sql) => `${sql};`), "--"]),
  ];
}
