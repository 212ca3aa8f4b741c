import assert from "node:assert/strict";
import { test } from "node:test";
import { Output } from "../../src/cli/output.ts";
import { ProgressBar } from "../../src/cli/progress_bar.ts";
import { bytesText, countText, dollarsText, durationText } from "../../src/cli/units.ts";

function barOn(isTTY: boolean, columns = 100) {
  const texts: string[] = [];
  const stream = {
    isTTY,
    columns,
    write(text: string, onTaken: () => void) {
      texts.push(text);
      onTaken();
    },
    on() {},
  };
  let ms = 0;
  const bar = new ProgressBar(new Output(stream, { NO_COLOR: "1" }), () => ms);
  const show = (atMs: number, pages: number) => {
    ms = atMs;
    bar.show({ bytes: pages * 1000, bytesTotal: 4_000_000, pages, pagesTotal: 4_000 });
  };
  return { texts, bar, show };
}

test("ProgressBar writes over its line on a terminal, with rate and time left", () => {
  const { texts, bar, show } = barOn(true);
  show(100, 0);
  show(1_000, 1_000);
  show(2_000, 4_000);
  bar.end();
  assert.deepEqual(texts, [
    "\r\x1b[K░░░░░░░░░░░░░░░░░░░░░░░░   0%  0/4,000 pages  0 B of 4.0 MB fetched",
    "\r\x1b[K██████░░░░░░░░░░░░░░░░░░  25%  1,000/4,000 pages  1.0 MB of 4.0 MB fetched  1.0 MB/s  3 s left",
    "\r\x1b[K████████████████████████ 100%  4,000/4,000 pages  4.0 MB of 4.0 MB fetched  2.0 MB/s",
    "\n",
  ]);
});

test("ProgressBar never fills a terminal's line, or it could not be written over", () => {
  const { texts, show } = barOn(true, 40);
  show(1_000, 1_000);
  assert.equal(texts[0]!.slice("\r\x1b[K".length).length, 39);
});

test("ProgressBar writes a line every two seconds elsewhere, and one at the end", () => {
  const { texts, bar, show } = barOn(false);
  for (let ms = 100; ms <= 4_100; ms += 100) show(ms, ms / 2);
  show(4_200, 4_000);
  show(4_300, 4_000);
  bar.end();
  assert.deepEqual(texts.map((text) => text.slice(0, 24)), [
    " 25%  1,000/4,000 pages ",
    " 50%  2,000/4,000 pages ",
    "100%  4,000/4,000 pages ",
  ]);
});

test("units: bytes, counts, spans and dollars as people read them", () => {
  assert.deepEqual([0, 999, 1000, 999_949, 999_950, 207_486_976].map(bytesText), [
    "0 B",
    "999 B",
    "1.0 kB",
    "999.9 kB",
    "1.0 MB",
    "207.5 MB",
  ]);
  assert.deepEqual([0, 999, 1000, 1234567n].map(countText), ["0", "999", "1,000", "1,234,567"]);
  assert.deepEqual([5, 59_400, 65_000, 3_720_000, 176_400_000].map(durationText), [
    "0.005 s",
    "59 s",
    "1 min 5 s",
    "1 h 2 min",
    "2 d 1 h",
  ]);
  assert.deepEqual([0, 2.756, 0.0000058].map(dollarsText), ["$0.00", "$2.76", "$0.0000058"]);
});
