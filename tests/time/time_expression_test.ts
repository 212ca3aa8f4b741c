import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import process, { env } from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { formatMoment, parseMoment } from "../../src/time/time_expression.ts";
import { Random } from "../support/random.ts";
import { ALIKE, ERROR, MEASURED, NOW, readingOf, REFUSED } from "./time_expression_cases.ts";

const CHILD = fileURLToPath(new URL("./time_expression_child.ts", import.meta.url));
const RUN = "Bun" in globalThis ? [] : ["run", "-A", "--no-check"];
const TIMEOUT_MS = 60_000;
const ROUNDS = Number(env.FUZZ_ROUNDS ?? 3_000);
const SEED = Number(env.FUZZ_SEED ?? Date.now() % 2 ** 31);
/** Far above the slowest, far below for ever. */
const PARSE_MS_MAX = 5_000;

/** Times when clocks are put forward or back somewhere, or a month is too short. */
const EDGES: readonly (readonly [now: string, text: string, reading: string])[] = [
  // 02:00 to 03:00 is missing in New York on this day, 01:00 to 02:00 comes twice on the other.
  ["2026-03-08T02:30:00Z", "today", "2026-03-08T02:30:00Z"],
  ["2026-03-08T02:30:00Z", "vor 5 Minuten", "2026-03-08T02:25:00Z"],
  ["2026-03-08T03:10:00Z", "il y a 30 minutes", "2026-03-08T02:40:00Z"],
  ["2026-03-08T07:30:00Z", "vor 5 Stunden", "2026-03-08T02:30:00Z"],
  ["2026-03-08T12:00:00Z", "1 day ago", "2026-03-07T12:00:00Z"],
  ["2026-03-09T02:30:00Z", "gestern", "2026-03-08T02:30:00Z"],
  ["2026-03-09T02:30:00Z", "hier", "2026-03-08T02:30:00Z"],
  ["2026-03-09T02:30:00Z", "gestern um 02:30", "2026-03-08T02:30:00Z"],
  ["2026-03-09T02:30:00Z", "8. März 2026 02:30", "2026-03-08T02:30:00Z"],
  ["2026-03-09T02:30:00Z", "2026-03-08 02:30", "2026-03-08T02:30:00Z"],
  ["2026-03-09T02:30:00Z", "8 Mar 2026 02:30", "2026-03-08T02:30:00Z"],
  ["2026-04-08T02:30:00Z", "il y a 1 mois", "2026-03-08T02:30:00Z"],
  ["2026-11-01T06:30:00Z", "vor 1 Stunde", "2026-11-01T05:30:00Z"],
  ["2026-11-01T01:30:00Z", "now", "2026-11-01T01:30:00Z"],
  ["2026-12-31T23:59:59Z", "yesterday", "2026-12-30T23:59:59Z"],
  ["2026-12-31T23:59:59Z", "gestern", "2026-12-30T23:59:59Z"],
  ["2027-01-01T00:00:00Z", "1 second ago", "2026-12-31T23:59:59Z"],
  ["2027-01-01T00:00:00Z", "friday", "2027-01-01T00:00:00Z"],
  ["2027-01-01T00:00:00Z", "hier à 23:30", "2026-12-31T23:30:00Z"],
  ["2027-01-01T00:00:00Z", "hier à 10h", "2026-12-31T10:00:00Z"],
  ["2026-03-31T10:00:00Z", "1 month ago", "2026-02-28T10:00:00Z"],
  ["2026-03-31T10:00:00Z", "vor 1 Monat", "2026-02-28T10:00:00Z"],
  ["2028-02-29T10:00:00Z", "1 year ago", "2027-02-28T10:00:00Z"],
  ["2028-02-29T10:00:00Z", "vor 1 Jahr", "2027-02-28T10:00:00Z"],
  ["2028-02-29T10:00:00Z", "2027", "2027-02-28T00:00:00Z"],
  ["2028-02-29T10:00:00Z", "29 feb", "2028-02-29T00:00:00Z"],
  // Noon itself is what chrono-node takes for want of a clock.
  ["2026-11-21T12:00:00Z", "gestern", "2026-11-20T12:00:00Z"],
  ["2026-11-21T12:00:00Z", "21. November 2025", "2025-11-21T00:00:00Z"],
  ["2026-11-21T12:00:00Z", "20. November", "2026-11-20T00:00:00Z"],
  ["2026-11-21T12:00:00Z", "21 Nov 2025", "2025-11-21T00:00:00Z"],
];

/** As it is, in capitals, in small letters. */
function cases(text: string): string[] {
  return [text, text.toUpperCase(), text.toLowerCase()];
}

async function instantOf(text: string): Promise<number> {
  const moment = await parseMoment(text, NOW);
  assert.ok(moment !== "latest" && moment.ms !== undefined, text);
  return moment.ms;
}

function assertRefused(text: string, message: RegExp): Promise<void> {
  return assert.rejects(parseMoment(text, NOW), (error) => {
    assert.ok(error instanceof TypeError, String(error));
    assert.match(error.message, message);
    return true;
  });
}

test("parseMoment() reads what the Go VFS reads, in any letter case", async () => {
  for (const [text, reading] of [...MEASURED, ...ALIKE]) {
    for (const written of cases(text)) assert.equal(await readingOf(written, NOW), reading, written);
  }
});

test("parseMoment() refuses what would be a guess", async () => {
  for (const text of REFUSED) {
    for (const written of cases(text)) assert.equal(await readingOf(written, NOW), ERROR, written);
  }
});

test("parseMoment() counts from now where clocks change and months end", async () => {
  for (const [now, text, reading] of EDGES) {
    assert.equal(await readingOf(text, Date.parse(now)), reading, `${text} at ${now}`);
  }
});

/** What a process in that time zone reads, and its offset on 1 January 2026. */
function readInZone(zone: string, questions: unknown): Promise<{ offset: number; readings: string[] }> {
  const child = spawn(process.execPath, [...RUN, CHILD, JSON.stringify(questions)], {
    env: { ...env, TZ: zone },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: TIMEOUT_MS - 10_000,
  });
  const text = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk) => text.stdout += chunk);
  child.stderr.on("data", (chunk) => text.stderr += chunk);
  return new Promise((resolve, reject) => {
    child.on("close", (code) => {
      if (code === 0) resolve(JSON.parse(text.stdout));
      else reject(new Error(`Cannot read moments in ${zone}: ${text.stderr}`));
    });
  });
}

const ZONES: readonly (readonly [zone: string, offset: number])[] = [
  ["UTC", 0],
  ["America/New_York", 300],
  ["Asia/Kolkata", -330],
  ["Pacific/Apia", -780],
];

for (const [zone, offset] of ZONES) {
  test(`parseMoment() reads the same in ${zone}`, { timeout: TIMEOUT_MS }, async () => {
    const asked = [
      ...[...MEASURED, ...ALIKE].map(([text, reading]) => ({ question: [text, NOW], reading })),
      ...REFUSED.map((text) => ({ question: [text, NOW], reading: ERROR })),
      ...EDGES.map(([now, text, reading]) => ({ question: [text, Date.parse(now)], reading })),
    ];
    const answer = await readInZone(zone, asked.map(({ question }) => question));
    assert.equal(answer.offset, offset);
    assert.deepEqual(
      answer.readings.map((reading, index) => [asked[index]!.question, reading]),
      asked.map(({ question, reading }) => [question, reading]),
    );
  });
}

test("parseMoment() reads latest in any letter case, with blanks around it", async () => {
  for (const text of ["latest", "LATEST", "Latest", " latest\n"]) {
    assert.equal(await parseMoment(text, NOW), "latest");
  }
  for (const text of ["latest 5", "the latest", "'latest'"]) assert.equal(await readingOf(text, NOW), ERROR);
});

test("parseMoment() reads a TXID of exactly 16 hex digits, bare where it cannot be a Unix time", async () => {
  const moment = { txid: 0xabn, text: "txid:00000000000000ab" };
  assert.deepEqual(await parseMoment("txid:00000000000000ab", NOW), moment);
  assert.deepEqual(await parseMoment(" TXID:00000000000000AB ", NOW), moment);
  for (const text of ["txid:", "txid:ab", "txid: 00000000000000ab", "txid:00000000000000abc", "txid:0x"]) {
    await assertRefused(text, /^Cannot read time .*: not a TXID, expected 16 hex digits after txid:$/);
  }
  for (const text of ["00000000000000ab", " 00000000000000AB\n"]) {
    assert.deepEqual(await parseMoment(text, NOW), moment, "as litestream_txid() gives it");
  }
  for (const text of ["0000000000000000", "txid:0000000000000000"]) {
    await assertRefused(text, /^Cannot read time ".*0000": TXID 0, expected one from 1 on$/);
  }
  for (const text of ["10000000000000ab", "0000000000000ab"]) assert.equal(await readingOf(text, NOW), ERROR);
});

test("parseMoment() gives RFC 3339 back as it was given", async () => {
  const texts: [text: string, ms: number][] = [
    ["2026-11-21T00:00:00+02:00", Date.UTC(2026, 10, 20, 22)],
    ["2026-11-21T00:00:00-05:30", Date.UTC(2026, 10, 21, 5, 30)],
    ["2026-11-21T00:00:00-00:30", Date.UTC(2026, 10, 21, 0, 30)],
    ["2026-11-21t02:00:00z", Date.UTC(2026, 10, 21, 2)],
    ["2026-11-21T02:00:00.5Z", Date.UTC(2026, 10, 21, 2) + 500],
    ["2026-11-21T02:00:00.250000000Z", Date.UTC(2026, 10, 21, 2) + 250],
    ["2026-11-21T02:00:00.1234Z", Date.UTC(2026, 10, 21, 2) + 123.4],
    ["2028-02-29T23:59:59Z", Date.UTC(2028, 1, 29, 23, 59, 59)],
    ["1969-12-31T23:59:59.5Z", -500],
    ["0001-01-01T00:00:00Z", -62135596800000],
    ["9999-12-31T23:59:59Z", 253402300799000],
  ];
  for (const [text, ms] of texts) assert.deepEqual(await parseMoment(` ${text} `, NOW), { ms, text });
});

test("parseMoment() says which part of RFC 3339 is wrong", async () => {
  await assertRefused("2026-13-01T00:00:00Z", /: month is 13, expected 1 to 12$/);
  await assertRefused("2026-00-01T00:00:00Z", /: month is 0, expected 1 to 12$/);
  await assertRefused("2026-02-29T00:00:00Z", /: day is 29, expected 1 to 28$/);
  await assertRefused("2026-11-21T24:00:00Z", /: hour is 24, expected 0 to 23$/);
  await assertRefused("2026-11-21T00:60:00Z", /: minute is 60, expected 0 to 59$/);
  await assertRefused("2016-12-31T23:59:60Z", /: second is 60, expected 0 to 59, for leap seconds are not/);
  await assertRefused("2026-11-21T00:00:00+24:00", /: hour of the offset is 24, expected 0 to 23$/);
  await assertRefused(
    "2026-11-21T00:00:00.0123456789Z",
    /: count of fractional digits is 10, expected 0 to 9$/,
  );
});

test("parseMoment() shows what it was given, cut where it is long", async () => {
  await assertRefused(
    "garbage",
    /^Cannot read time "garbage": not understood, expected RFC 3339, a Unix time, a TXID of 16 hex digits, or words such as "5 minutes ago"$/,
  );
  await assertRefused('a"\n', /^Cannot read time "a\\"": not understood/);
  await assertRefused("x".repeat(100), /^Cannot read time "x{60}…": not understood/);
  await assertRefused("x".repeat(101), /^Cannot read time "x{60}…": 101 characters, expected up to 100$/);
  await assertRefused("5 minutes ago".padEnd(1e6), /: 1000000 characters, expected up to 100$/);
  await assertRefused("300000 years ago", /: out of range, expected a time from 1970 to 9999$/);
});

test("formatMoment() writes up to 9 fractional digits in UTC", () => {
  assert.equal(formatMoment(0), "1970-01-01T00:00:00Z");
  assert.equal(formatMoment(NOW), "2026-11-21T02:14:36Z");
  assert.equal(formatMoment(NOW + 120), "2026-11-21T02:14:36.12Z");
  assert.equal(formatMoment(NOW + 0.25), "2026-11-21T02:14:36.00025Z");
  assert.equal(formatMoment(1.000001), "1970-01-01T00:00:00.001000001Z");
  assert.equal(formatMoment(1e-7), "1970-01-01T00:00:00Z");
  assert.equal(formatMoment(-0.5), "1969-12-31T23:59:59.9995Z");
  assert.equal(formatMoment(Date.UTC(2100, 0, 1, 10)), "2100-01-01T10:00:00Z");
});

test("parseMoment() and formatMoment() give back each other's answer", async () => {
  const random = new Random(SEED);
  for (let round = 0; round < ROUNDS; round++) {
    const ms = 1e9 + random.next(2 ** 31) * 1e3 + random.next(1e3) + (round % 2 ? random.next(1e4) / 1e4 : 0);
    const text = formatMoment(ms);
    assert.match(text, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z$/);
    assert.equal(await instantOf(text), ms, `seed ${SEED}`);
    assert.equal(formatMoment(await instantOf(text)), text, `seed ${SEED}`);
  }
});

/** Pieces of everything that is read somewhere. */
const PIECES = [
  ..."0123456789:-+.,/ zt".split(""),
  ...[...MEASURED, ...ALIKE].flatMap(([text]) => text.split(/(?<= )/)),
  ..."last next past this of the from now before after until năm mười há dentro de 月 日 年 前 ١ 😀 \u0301 \0"
    .split(" "),
];

function randomText(random: Random): string {
  const count = random.next(7);
  const words = Array.from({ length: count }, () => PIECES[random.next(PIECES.length)]);
  if (random.next(4) === 0) words.push(String.fromCharCode(random.next(0x10000)));
  return words.join(random.next(2) ? "" : " ");
}

test("parseMoment() gives a moment or a TypeError for random text, soon", { timeout: 600_000 }, async () => {
  const random = new Random(SEED);
  for (let round = 0; round < ROUNDS; round++) {
    const text = randomText(random);
    const context = `${JSON.stringify(text)}, seed ${SEED}`;
    const started = performance.now();
    const reading = await readingOf(text, NOW);
    assert.ok(performance.now() - started < PARSE_MS_MAX, context);
    if (reading === ERROR || reading === "latest") continue;
    assert.match(reading, /^\d{4}-\d\d-\d\dt\d\d:\d\d:\d\d(\.\d{1,9})?(z|[+-]\d\d:\d\d)$/i, context);
  }
});
