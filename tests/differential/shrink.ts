/**
 * Makes a scenario that differs smaller, as long as it still differs.
 *
 * @module
 */
import type { DaemonSettings, ReaderSettings, Scenario, ScenarioEvent } from "./scenario.ts";

/** Whether a scenario differs. */
export type Differs = (scenario: Scenario) => Promise<boolean>;

/** A scenario's daemon where nothing is special. */
const PLAIN_DAEMON: DaemonSettings = {
  levels: ["100ms", "200ms"],
  snapshotInterval: "1h",
  snapshotRetention: "1h",
  l0Retention: "1h",
  writesFrames: false,
};

/**
 * Makes a scenario smaller: events, statements, readers' settings and what is special of the rest, each left out unless it
 * then differs no more. Ends when nothing more can be left out, or in time.
 */
export async function shrinkScenario(
  scenario: Scenario,
  differs: Differs,
  { timeMs = Infinity }: { timeMs?: number } = {},
): Promise<Scenario> {
  const deadlineMs = Date.now() + timeMs;
  const isLeft = () => Date.now() < deadlineMs;
  let smallest = scenario;
  const attempt = async (smaller: Scenario): Promise<boolean> => {
    if (!isLeft() || JSON.stringify(smaller) === JSON.stringify(smallest) || !await differs(smaller)) {
      return false;
    }
    smallest = smaller;
    return true;
  };
  for (let before = ""; isLeft() && before !== JSON.stringify(smallest);) {
    before = JSON.stringify(smallest);
    await leaveOut(smallest.events, (events) => attempt({ ...smallest, events }));
    await shrinkWrites(() => smallest, attempt);
    for (const plainer of plainerThan(smallest)) await attempt(plainer(smallest));
  }
  await attempt(withoutUnused(smallest));
  return smallest;
}

/** Leaves out parts of a list, large ones first, as long as `attempt` takes what is left. */
export async function leaveOut<T>(
  items: readonly T[],
  attempt: (left: readonly T[]) => Promise<boolean>,
): Promise<readonly T[]> {
  let left = items;
  for (let size = Math.ceil(left.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = left.length - size; from > -size; from -= size) {
      const without = [...left.slice(0, Math.max(0, from)), ...left.slice(from + size)];
      if (without.length < left.length && await attempt(without)) left = without;
    }
  }
  return left;
}

/** Steps of each write, then statements of each step. */
async function shrinkWrites(now: () => Scenario, attempt: Differs): Promise<void> {
  for (let i = 0; i < now().events.length; i++) {
    const event = now().events[i]!;
    if (event.kind !== "write") continue;
    const withSteps = (steps: typeof event.steps) => attempt(withEvent(now(), i, { ...event, steps }));
    const steps = await leaveOut(
      event.steps,
      (left) => left.length > 0 ? withSteps(left) : Promise.resolve(false),
    );
    let kept = [...steps];
    for (const [j, step] of steps.entries()) {
      const left = await leaveOut(
        step,
        (statements) => statements.length > 0 ? withSteps(kept.with(j, statements)) : Promise.resolve(false),
      );
      kept = kept.with(j, left);
    }
    await attempt(withEvent(now(), i, { ...event, steps: kept, isAwaited: true }));
  }
}

function withEvent(scenario: Scenario, i: number, event: ScenarioEvent): Scenario {
  return { ...scenario, events: scenario.events.with(i, event) };
}

/** Ways to make what is not a list plainer. */
function plainerThan({ readers, primaries, daemon, events }: Scenario): ((scenario: Scenario) => Scenario)[] {
  return [
    (scenario) => ({ ...scenario, place: "folder" }),
    (scenario) => ({ ...scenario, daemon: PLAIN_DAEMON }),
    ...(Object.keys(daemon) as (keyof DaemonSettings)[]).map((name) => (scenario: Scenario) => {
      return { ...scenario, daemon: { ...scenario.daemon, [name]: PLAIN_DAEMON[name] } };
    }),
    ...primaries.keys().map((i) => (scenario: Scenario) => {
      const plain = { ...scenario.primaries[i]!, pageSize: 4096, autoVacuum: 0, encoding: "UTF-8" };
      return { ...scenario, primaries: scenario.primaries.with(i, plain) };
    }),
    ...readers.entries().flatMap(([i, reader]) =>
      (Object.keys(reader) as (keyof ReaderSettings)[]).filter((name) => name !== "primary").map(
        (name) => (scenario: Scenario) => {
          const { [name]: _, ...rest } = scenario.readers[i]!;
          return { ...scenario, readers: scenario.readers.with(i, rest as ReaderSettings) };
        },
      )
    ),
    ...events.entries().flatMap(([i, event]) =>
      plainerEvents(event).map((plainer) => (scenario: Scenario) => {
        return withEvent(scenario, i, plainer);
      })
    ),
  ];
}

function plainerEvents(event: ScenarioEvent): ScenarioEvent[] {
  if (event.kind !== "query" && event.kind !== "restore") return [];
  const { isMoved: _, ...unmoved } = event.moment;
  const plainer: ScenarioEvent[] = [{ ...event, moment: { by: "refreshed" } }, { ...event, moment: unmoved }];
  if (event.kind === "query") plainer.push({ ...event, driver: 0 }, { ...event, isHydrated: false });
  return plainer;
}

/** Without primaries and readers that no event names. */
function withoutUnused(scenario: Scenario): Scenario {
  const readers = scenario.readers.filter((_, i) =>
    scenario.events.some((event) => "reader" in event && event.reader === i)
  );
  const isUsed = (i: number) =>
    readers.some(({ primary }) => primary === i) ||
    scenario.events.some((event) => event.kind === "write" && event.primary === i);
  const primaries = scenario.primaries.filter((_, i) => isUsed(i));
  const primaryAt = (i: number) => primaries.indexOf(scenario.primaries[i]!);
  const readerAt = (i: number) => readers.indexOf(scenario.readers[i]!);
  const events = scenario.events.map((event): ScenarioEvent => {
    if (event.kind === "write") return { ...event, primary: primaryAt(event.primary) };
    return "reader" in event ? { ...event, reader: readerAt(event.reader) } : event;
  });
  return {
    ...scenario,
    primaries,
    readers: readers.map((reader) => ({ ...reader, primary: primaryAt(reader.primary) })),
    events,
  };
}
