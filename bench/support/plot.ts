/**
 * Bars on a logarithmic scale, as SVG.
 *
 * @module
 */

/** A bar with what is written at its end. */
export interface Bar {
  /** Above 0. */
  readonly value: number;
  readonly label: string;
}

/** What is drawn: groups of bars, one bar a series in each. */
export interface BarPlot {
  readonly title: string;
  readonly series: readonly string[];
  readonly groups: readonly { readonly name: string; readonly bars: readonly Bar[] }[];
}

const COLOURS = ["#b8552b", "#1f6f8b", "#63a5ba", "#9a9a9a"];
const NAMES_WIDTH = 270;
const BARS_WIDTH = 560;
const LABELS_WIDTH = 90;
const TOP = 64;
const BAR_HEIGHT = 11;
const GROUP_GAP = 12;
const FOOT = 30;

/** Draws it; the result is a whole file. */
export function barPlot({ title, series, groups }: BarPlot): string {
  const values = groups.flatMap(({ bars }) => bars.map(({ value }) => value));
  const low = Math.floor(Math.log10(Math.min(...values)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))));
  const x = (value: number) => round((Math.log10(value) - low) / (high - low) * BARS_WIDTH);
  const groupHeight = series.length * BAR_HEIGHT + GROUP_GAP;
  const bottom = TOP + groups.length * groupHeight;
  const width = NAMES_WIDTH + BARS_WIDTH + LABELS_WIDTH;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${
      bottom + FOOT
    }" font-family="sans-serif" ` +
    'font-size="11" fill="#222">',
    `<rect width="${width}" height="${bottom + FOOT}" fill="#fff"/>`,
    `<text x="12" y="24" font-size="15" font-weight="bold">${escaped(title)}</text>`,
  ];
  series.forEach((name, i) => {
    const left = NAMES_WIDTH + i * 130;
    parts.push(
      `<rect x="${left}" y="38" width="11" height="11" fill="${COLOURS[i]}"/>`,
      `<text x="${left + 16}" y="48">${escaped(name)}</text>`,
    );
  });
  for (let power = low; power <= high; power++) {
    const left = NAMES_WIDTH + x(10 ** power);
    parts.push(
      `<line x1="${left}" y1="${TOP - 6}" x2="${left}" y2="${bottom}" stroke="#ddd"/>`,
      `<text x="${left}" y="${bottom + 16}" text-anchor="middle">${tick(power)}</text>`,
    );
  }
  groups.forEach(({ name, bars }, g) => {
    const top = TOP + g * groupHeight;
    const middle = top + (series.length * BAR_HEIGHT) / 2 + 4;
    parts.push(`<text x="${NAMES_WIDTH - 10}" y="${middle}" text-anchor="end">${escaped(name)}</text>`);
    bars.forEach(({ value, label }, i) => {
      const y = top + i * BAR_HEIGHT;
      const length = Math.max(1, x(value));
      parts.push(
        `<rect x="${NAMES_WIDTH}" y="${y}" width="${length}" height="${BAR_HEIGHT - 1}" fill="${
          COLOURS[i]
        }"/>`,
        `<text x="${NAMES_WIDTH + length + 4}" y="${y + 9}" font-size="9">${escaped(label)}</text>`,
      );
    });
  });
  return `${[...parts, "</svg>"].join("\n")}\n`;
}

const round = (value: number) => Math.round(value * 10) / 10;

const tick = (power: number) => power < 0 ? String(10 ** power) : (10 ** power).toLocaleString("en");

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
