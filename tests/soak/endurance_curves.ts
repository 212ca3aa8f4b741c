/**
 * The curves of an endurance run as SVG: a panel a process, memory above, threads and descriptors below, storms in grey.
 *
 * `bun tests/soak/endurance_curves.ts FOLDER/result.json OUT.svg` draws them from a result.
 *
 * @module
 */
import { readFile, writeFile } from "node:fs/promises";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { type Measure, percent, trendAtRest, trendOfSubject } from "./endurance_report.ts";
import type { EnduranceResult, SubjectResult } from "./endurance_run.ts";
import { minuteMedians, type Point } from "./endurance_trend.ts";

interface Curve {
  readonly measure: Measure;
  readonly name: string;
  readonly colour: string;
}

const MEMORY: readonly Curve[] = [
  { measure: "rssBytes", name: "resident", colour: "#b8552b" },
  { measure: "anonBytes", name: "resident, of no file", colour: "#d9a441" },
  { measure: "coreHeapBytes", name: "JavaScript of the core", colour: "#1f6f8b" },
  { measure: "heapBytes", name: "JavaScript of the main thread", colour: "#63a5ba" },
  { measure: "poolBytes", name: "decoded pages", colour: "#5b8c3e" },
];
const COUNTS: readonly Curve[] = [
  { measure: "sockets", name: "sockets", colour: "#7a4b8c" },
  { measure: "files", name: "other descriptors", colour: "#b0a030" },
  { measure: "threads", name: "threads", colour: "#444" },
];

const WIDTH = 980;
const TOP = 64;
const PANEL = { width: 470, height: 236, left: 44, plot: 405, memory: 120, counts: 50, gap: 22 } as const;
const MIB = 2 ** 20;

/** The next round number from a value on. */
function ceiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 1.5, 2, 3, 4, 5, 7.5, 10].map((step) => step * power).find((step) => step >= value)!;
}

const round = (value: number) => Math.round(value * 10) / 10;

function text(x: number, y: number, words: string, more = ""): string {
  return `<text x="${round(x)}" y="${round(y)}"${more}>${words}</text>`;
}

/** One plot: curves over minutes, from 0 to a round number. */
function plot(
  subject: SubjectResult,
  result: EnduranceResult,
  { curves, top, height, unit }: { curves: readonly Curve[]; top: number; height: number; unit: number },
): string[] {
  const minutes = result.seconds / 60;
  const pointsOf = ({ measure }: Curve): Point[] =>
    minuteMedians(
      subject.samples.filter(({ kind }) => kind === "run").map((sample) => [
        sample.atMs - result.beganMs,
        sample[measure] / unit,
      ]),
    );
  const drawn = curves.map((curve) => ({ curve, points: pointsOf(curve) }));
  const most = ceiling(Math.max(1, ...drawn.flatMap(({ points }) => points.map(([, value]) => value))));
  const x = (ms: number) => round(PANEL.left + ms / 60_000 / minutes * PANEL.plot);
  const y = (value: number) => round(top + height - value / most * height);
  const storms = result.storms.map(([fromMs, toMs]) => {
    const [left, right] = [x(fromMs - result.beganMs), x(toMs - result.beganMs)];
    return `<rect x="${left}" y="${top}" width="${round(right - left)}" height="${height}" fill="#eee"/>`;
  });
  const lines = [0, most / 2, most].flatMap((value) => [
    `<path d="M${PANEL.left} ${y(value)}h${PANEL.plot}" stroke="#ddd"/>`,
    text(PANEL.left - 5, y(value) + 4, String(round(value)), ' text-anchor="end"'),
  ]);
  const paths = drawn.filter(({ points }) => points.length > 0).map(({ curve, points }) => {
    const path = points.map(([ms, value]) => `${x(ms)} ${y(value)}`).join("L");
    return `<path d="M${path}" fill="none" stroke="${curve.colour}" stroke-width="1.5"/>`;
  });
  const rests = curves !== MEMORY
    ? []
    : subject.samples.filter(({ kind }) => kind === "rest").map((sample) => {
      const [left, above] = [x(sample.atMs - result.beganMs), y(sample.rssBytes / unit)];
      return `<circle cx="${left}" cy="${above}" r="2" fill="${MEMORY[0]!.colour}"/>`;
    });
  return [...storms, ...lines, ...paths, ...rests];
}

function panel(subject: SubjectResult, result: EnduranceResult): string[] {
  const atRest = trendAtRest(subject, result, "rssBytes");
  const atWork = trendOfSubject(subject, result, "rssBytes");
  const countsTop = 20 + PANEL.memory + PANEL.gap;
  const minutes = Math.round(result.seconds / 60);
  const foot = countsTop + PANEL.counts + 14;
  return [
    text(
      PANEL.left,
      12,
      `<tspan font-weight="bold">${subject.name}</tspan>: resident an hour ${
        percent(atRest.slope)
      } at rest (95 %: ${percent(atRest.low)} … ${percent(atRest.high)}), ${percent(atWork.slope)} at work`,
    ),
    ...plot(subject, result, { curves: MEMORY, top: 20, height: PANEL.memory, unit: MIB }),
    ...plot(subject, result, { curves: COUNTS, top: countsTop, height: PANEL.counts, unit: 1 }),
    ...[0, 0.5, 1].map((part) =>
      text(PANEL.left + part * PANEL.plot, foot, `${round(minutes * part)} min`, ' text-anchor="middle"')
    ),
  ];
}

/** Draws them; the result is a whole file. */
export function curvesOf(result: EnduranceResult): string {
  const rows = Math.ceil(result.subjects.length / 2);
  const height = TOP + rows * PANEL.height;
  let left = 12;
  const legend = [...MEMORY, ...COUNTS].flatMap(({ name, colour }) => {
    const at = left;
    left += 30 + name.length * 5.6;
    return [`<path d="M${round(at)} 44h14" stroke="${colour}" stroke-width="3"/>`, text(at + 18, 48, name)];
  });
  return `${
    [
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="11" ` +
      'fill="#222">',
      `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
      text(
        12,
        24,
        `What ${result.subjects.length} processes held in ${
          Math.round(result.seconds / 60)
        } minutes: MiB above (dots: resident at rest), counts below; storms in grey`,
        ' font-size="15" font-weight="bold"',
      ),
      ...legend,
      ...result.subjects.flatMap((subject, i) => [
        `<g transform="translate(${i % 2 * (PANEL.width + 20)} ${TOP + Math.floor(i / 2) * PANEL.height})">`,
        ...panel(subject, result),
        "</g>",
      ]),
      "</svg>",
    ].join("\n")
  }\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [from, to] = process.argv.slice(2);
  if (!from || !to) throw new Error("Cannot draw curves: expected the paths of a result and of a picture");
  await writeFile(to, curvesOf(JSON.parse(await readFile(from, "utf8"))));
}
