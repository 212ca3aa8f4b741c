/**
 * What came of an endurance run: what grew and what went wrong in words, and all of it as tables.
 *
 * @module
 */
import type { EnduranceResult, SubjectResult } from "./endurance_run.ts";
import type { SubjectSample } from "./endurance_subject.ts";
import { cycleMeans, minuteMedians, type Point, type Trend, trendOf } from "./endurance_trend.ts";
import { table } from "./text_table.ts";

/** What is measured in a sample. */
export type Measure = Exclude<keyof SubjectSample, "atMs" | "kind" | "weather">;

/** What a process does first makes it grow, until each kind of work has been done and each pool was once full. */
const WARM_UP = 1 / 6;

/** An hour is measured as soon as a run is long enough, and more once the warm-up is, in seconds. */
const MEASURED_SECONDS_MIN = 3_600;
const WARM_UP_SECONDS_MAX = 2_700;

/** How much resident memory may change in an hour, at rest and at work, as a part of its level. */
const SLOPE_MAX = 0.01;

/** Shorter runs tell of slopes, and fail by none: an hour's change cannot be told from a few minutes'. */
const SLOPE_SECONDS_MIN = 1_200;

/** How much more of something a process at rest may hold late than early: what a runtime keeps in pools. */
const LEVELS: Partial<Record<Measure, number>> = {
  threads: 6,
  files: 6,
  views: 4,
  replicas: 0,
  connections: 0,
  hiddenNames: 0,
  slots: 64,
};

/** Connections that one core, or one runtime, keeps open at most. */
const SOCKETS_MAX = 64;

/** What nothing may be left of once all is closed. */
const GONE: readonly Measure[] = [
  "views",
  "objects",
  "runs",
  "chunks",
  "replicas",
  "connections",
  "hiddenNames",
  "poolBytes",
];

/** What of a runtime's own may be left more than there was before, once all is closed. */
const LEFT: Partial<Record<Measure, number>> = { threads: 6, files: 6 };

/** How long the warm-up of a run lasts, in seconds. */
export function warmUpSeconds(seconds: number): number {
  return Math.min(WARM_UP_SECONDS_MAX, Math.max(seconds * WARM_UP, seconds - MEASURED_SECONDS_MIN));
}

/** Tells of a moment whether it is measured: after the warm-up, before the run was ended. */
function measured({ beganMs, seconds }: EnduranceResult): (atMs: number) => boolean {
  const [fromMs, untilMs] = [beganMs + warmUpSeconds(seconds) * 1000, beganMs + seconds * 1000];
  return (atMs) => atMs >= fromMs && atMs <= untilMs;
}

/** The samples of a kind that are measured. */
function warmPoints(
  subject: SubjectResult,
  result: EnduranceResult,
  measure: Measure,
  kind: SubjectSample["kind"],
): Point[] {
  const isMeasured = measured(result);
  return subject.samples
    .filter((sample) => sample.kind === kind && isMeasured(sample.atMs))
    .map((sample) => [sample.atMs, sample[measure]]);
}

/** The trend of a process while it worked: of its cycles of weather, or of its minutes where there were no storms. */
export function trendOfSubject(subject: SubjectResult, result: EnduranceResult, measure: Measure): Trend {
  const points = warmPoints(subject, result, measure, "run");
  const beginningsMs = result.storms.map(([fromMs]) => fromMs).filter(measured(result));
  return trendOf(beginningsMs.length > 2 ? cycleMeans(points, beginningsMs) : minuteMedians(points));
}

/** The trend of what a process held at rest after the warm-up, garbage and free memory given back. */
export function trendAtRest(subject: SubjectResult, result: EnduranceResult, measure: Measure): Trend {
  return trendOf(warmPoints(subject, result, measure, "rest"));
}

/** What must not have happened to a process, in words; empty when all is well. */
export function faultsOf(subject: SubjectResult, result: EnduranceResult): string[] {
  const { name, faults, samples, end } = subject;
  return [
    ...faults,
    ...(end === "0" ? [] : [`ended with ${end}`]),
    ...levelFaults(samples),
    ...endFaults(subject),
    ...slopeFaults(subject, result),
  ].map((text) => `${name}: ${text}`);
}

function slopeFaults(subject: SubjectResult, result: EnduranceResult): string[] {
  if (result.seconds < SLOPE_SECONDS_MIN) return [];
  return ([["at rest", trendAtRest], ["at work", trendOfSubject]] as const).flatMap(([when, trend]) => {
    const { slope } = trend(subject, result, "rssBytes");
    return Math.abs(slope) <= SLOPE_MAX
      ? []
      : [`resident memory ${when} changes by ${percent(slope)} an hour`];
  });
}

/** What a process at rest holds more of in the second half of the run than it ever did in the first. */
function levelFaults(samples: readonly SubjectSample[]): string[] {
  const rests = samples.filter(({ kind }) => kind === "rest");
  const half = Math.ceil(rests.length / 2);
  const most = (some: readonly SubjectSample[], measure: Measure) =>
    Math.max(0, ...some.map((sample) => sample[measure]));
  return (Object.keys(LEVELS) as Measure[]).flatMap((measure) => {
    const [early, late] = [most(rests.slice(0, half), measure), most(rests.slice(half), measure)];
    return late <= early + LEVELS[measure]! ? [] : [`${measure} at rest: ${early}, later ${late}`];
  });
}

function endFaults({ samples, runtime }: SubjectResult): string[] {
  const begun = samples.find(({ kind }) => kind === "begun");
  const closed = samples.find(({ kind }) => kind === "closed");
  if (begun === undefined || closed === undefined) return ["has not closed all"];
  // Bun's connections are its process's; Deno's end with the thread that has asked
  const socketsMax = begun.sockets + (runtime === "bun" ? SOCKETS_MAX : 2);
  if (closed.sockets > socketsMax) {
    return [`sockets after closing all: ${closed.sockets}, before ${begun.sockets}`];
  }
  const left = GONE.filter((measure) => closed[measure] !== 0);
  const more = (Object.keys(LEFT) as Measure[]).filter((measure) =>
    closed[measure] > begun[measure] + LEFT[measure]!
  );
  return [...left, ...more].map((measure) =>
    `${measure} after closing all: ${closed[measure]}, before ${begun[measure]}`
  );
}

/** A part as per cent, with a sign. */
export function percent(part: number): string {
  return `${part < 0 ? "−" : "+"}${Math.abs(part * 100).toFixed(2)} %`;
}

const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1);

/** The result in Markdown. */
export function reportText(result: EnduranceResult): string {
  const { subjects } = result;
  const memory = (["rssBytes", "anonBytes", "heapBytes", "coreHeapBytes", "poolBytes"] as const).flatMap((
    measure,
  ) =>
    subjects.flatMap((subject) =>
      ([["at work", trendOfSubject], ["at rest", trendAtRest]] as const).map(([when, trend]) => {
        const { level, slope, low, high } = trend(subject, result, measure);
        return [
          subject.name,
          measure,
          when,
          mib(level),
          percent(slope),
          `${percent(low)} … ${percent(high)}`,
        ];
      })
    )
  );
  const held = subjects.flatMap((subject) => {
    const rests = subject.samples.filter(({ kind }) => kind === "rest");
    const of = (kind: string) => subject.samples.filter((sample) => sample.kind === kind);
    return ([
      ...Object.keys(LEVELS),
      "poolThreads",
      "sockets",
      "objects",
      "runs",
      "chunks",
      "diskBytes",
    ] as Measure[]).map((
      measure,
    ) => [
      subject.name,
      measure,
      of("begun").map((sample) => sample[measure]).join(),
      rests.map((sample) => sample[measure]).join(" "),
      of("closed").map((sample) => sample[measure]).join(),
    ]);
  });
  const counts = subjects.flatMap((subject) => [
    `${subject.name}: ${JSON.stringify(subject.done)}`,
    `  errors ${JSON.stringify(subject.errors)}; weather ${JSON.stringify(subject.weather)}; recoveries ms ${
      subject.recoveries.join(" ")
    }; faults ${subject.faults.length}, late ${subject.late.length}`,
    `  ${JSON.stringify(subject.stats)}`,
  ]);
  return [
    `${result.seconds} s, seed ${result.seed}, ${result.storms.length} storms, ${result.generations} transactions of the primary; slowest listing beside storms ${result.slowestMs} ms`,
    table([["process", "measure", "", "level MiB", "slope an hour", "95 %"], ...memory]),
    table([["process", "measure", "begun", "at rest", "closed"], ...held]),
    counts.join("\n"),
  ].join("\n\n");
}
