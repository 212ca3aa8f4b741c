/**
 * What people write for a moment: a TXID, RFC 3339, a Unix time, or words such as `5 minutes ago`.
 *
 * Numbers, clocks, days and durations in English are read here; chrono-node is asked about dates with the name of a
 * month, and about other languages. It is asked for the parts of a date, never for an instant: it reckons in the
 * process's time zone, and an answer must not depend on that.
 *
 * @module
 */
import type { Chrono, ParsedComponents } from "chrono-node";
import { formatTxid, parseTxid } from "../ltx/txid.ts";

/** An instant; `ms` counts from the Unix epoch, with a fraction where digits below a millisecond were given. */
export interface TimeMoment {
  /** Milliseconds since the Unix epoch, as near as a number comes: 0.25 µs these days. */
  readonly ms: number;
  /** Never set: an instant names no transaction. */
  readonly txid?: undefined;
  /** As `litestream_time` shows it: RFC 3339 as it was given, everything else in UTC. */
  readonly text: string;
}

/** A transaction named by its number. */
export interface TxidMoment {
  /** Never set: a transaction's time is in its file. */
  readonly ms?: undefined;
  /** The transaction. */
  readonly txid: bigint;
  /** `txid:` and 16 lower-case hex digits. */
  readonly text: string;
}

/** What {@link parseMoment} gives; `ms` is undefined for a TXID and only there. */
export type Moment = TimeMoment | TxidMoment;

interface CalendarDay {
  readonly year: number;
  /** From 1. */
  readonly month: number;
  readonly day: number;
}

interface Clock {
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
  /** The digits after the point. */
  readonly fraction: string;
  /** What its zone is ahead of UTC. */
  readonly offsetMinutes: number;
}

/** Whole months, because they differ in length, and all the rest. */
interface Duration {
  readonly months: number;
  readonly ms: number;
}

/** The slowest text of this length that was found takes chrono-node 0.1 s, one of 200 takes 0.6 s. */
const CHARACTERS_MAX = 100;
const SHOWN_CHARACTERS_MAX = 60;
const FRACTION_DIGITS_MAX = 9;
const EXPECTED = 'RFC 3339, a Unix time, a TXID of 16 hex digits, or words such as "5 minutes ago"';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
/** What a part of a month is counted in. */
const MONTH_DAYS = 30;
/** The last millisecond of 9999. */
const MS_MAX = 253402300799999;

const MIDNIGHT: Clock = { hour: 0, minute: 0, second: 0, fraction: "", offsetMinutes: 0 };

const RFC_3339 = /^(\d{4})-(\d\d)-(\d\d)t(\d\d:\d\d:\d\d(?:\.\d+)?)(z|[+-]\d\d:\d\d)$/i;
/** What begins like RFC 3339: where it is wrong, nobody must guess. */
const NUMERIC_START = /^\d{4}[-/.]\d/;
const NUMERIC_DAY = /^(\d{4})([-/.])(\d{1,2})\2(\d{1,2})$/;
const UNIX_TIME = /^(\d{10})(\d{3})?(\d{3})?(?:\.\d+)?$/;

/** Minutes ahead of UTC. Names that stand for several zones, such as IST, are not here. */
const ZONES = new Map<string, number>([
  ...named("z utc gmt wet", 0),
  ...named("west cet", 60),
  ...named("cest eet", 120),
  ...named("eest", 180),
  ...named("jst", 540),
  ...named("edt", -240),
  ...named("est cdt", -300),
  ...named("cst mdt", -360),
  ...named("mst pdt", -420),
  ...named("pst", -480),
]);

const ZONE = `${[...ZONES.keys()].join("|")}|[+-]\\d\\d(?::?\\d\\d)?`;
const CLOCK = "\\d{1,2}:\\d\\d(?::\\d\\d(?:\\.\\d+)?)?(?: ?[ap]m)?|\\d{1,2} ?[ap]m|noon|midnight";
/** A day, which may be missing, then a clock, then a zone. */
const DAY_AND_CLOCK = new RegExp(
  `^(?:at |(?<day>.+?)(?:,? at |,? |(?<=\\d)t))?(?<clock>${CLOCK})(?: ?(?<zone>${ZONE}))?$`,
);

const WEEKDAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const DAY_WORDS: Readonly<Record<string, number>> = { yesterday: -1, today: 0, tomorrow: 1 };

/** Words that keep the time of day. */
const SHIFTS: Readonly<Record<string, Duration>> = {
  now: { months: 0, ms: 0 },
  today: { months: 0, ms: 0 },
  yesterday: { months: 0, ms: -DAY_MS },
  tomorrow: { months: 0, ms: DAY_MS },
  "last week": { months: 0, ms: -7 * DAY_MS },
  "next week": { months: 0, ms: 7 * DAY_MS },
  "last month": { months: -1, ms: 0 },
  "next month": { months: 1, ms: 0 },
  "last year": { months: -12, ms: 0 },
  "next year": { months: 12, ms: 0 },
};

/** Each unit by all its names. */
const UNITS = new Map<string, Duration>([
  ...named("s sec secs second seconds", { months: 0, ms: SECOND_MS }),
  ...named("m min mins minute minutes", { months: 0, ms: MINUTE_MS }),
  ...named("h hr hrs hour hours", { months: 0, ms: HOUR_MS }),
  ...named("d day days", { months: 0, ms: DAY_MS }),
  ...named("w wk wks week weeks", { months: 0, ms: 7 * DAY_MS }),
  ...named("mo mos month months", { months: 1, ms: 0 }),
  ...named("y yr yrs year years", { months: 12, ms: 0 }),
]);

const NUMBERS = "an one two three four five six seven eight nine ten eleven twelve".split(" ");
const AMOUNT = `\\d{1,12}(?:\\.\\d{1,9})?|(?:a|${NUMBERS.join("|")})(?= )`;
/** One amount of one unit, with what joins it to the next. */
const PART = `(${AMOUNT}) ?([a-z]+)(?:, and |, | and | |(?=\\d)|$)`;

/** Spanish for a duration, which chrono-node reads in the future only. */
const SPANISH = new Map<string, string>([
  ...named("un una uno", "a"),
  ...named("y", "and"),
  ...named("segundo segundos", "seconds"),
  ...named("minuto minutos", "minutes"),
  ...named("hora horas", "hours"),
  ...named("día días dia dias", "days"),
  ...named("semana semanas", "weeks"),
  ...named("mes meses", "months"),
  ...named("año años", "years"),
]);

/** The other languages; the first that understands all of a text is believed. */
const LANGUAGES: readonly (() => Promise<{ readonly casual: Chrono }>)[] = [
  () => import("chrono-node/es"),
  () => import("chrono-node/de"),
  () => import("chrono-node/fr"),
  () => import("chrono-node/it"),
  () => import("chrono-node/pt"),
  () => import("chrono-node/nl"),
  () => import("chrono-node/sv"),
  () => import("chrono-node/fi"),
  () => import("chrono-node/ru"),
  () => import("chrono-node/uk"),
  () => import("chrono-node/ja"),
  () => import("chrono-node/zh"),
  () => import("chrono-node/vi"),
  () => import("chrono-node/id"),
  () => import("chrono-node/ar"),
];

/**
 * A plus sign, which the Go VFS takes for the past; `ago`, which is Spanish for August; fractions of a second, which
 * chrono-node cuts wrongly; zones, some of which it reads only where the process is in UTC.
 */
const NOT_FOR_OTHER_LANGUAGES =
  /^\+|(?<![a-z])ago(?![a-z])|:\d\d[.,]\d|[^a-z](?:utc|gmt|wet|wez|wt|egst)\W*$/;

/** What makes a number a clock: minutes, or a letter or word behind it. */
const CLOCK_IN_OTHER_LANGUAGES = /\d(?::\d\d|\p{Letter}| uhr)/u;

/** One that is in use begins with a zero, and no Unix time in µs does. */
const BARE_TXID = /^0[0-9a-f]{15}$/;

/** The Gregorian calendar, weekdays too, repeats after so many years. */
const CALENDAR_YEARS = 400;

/**
 * Reads what somebody wrote for a moment, in any letter case: `latest`, a TXID as `litestream_txid()` gives it or with
 * `txid:` before it, RFC 3339, Unix seconds (10 digits), milliseconds (13) or microseconds (16), or words, which count
 * from `nowMs` and are in UTC.
 *
 * A duration without `in` lies in the past. A day without a clock is its midnight, a weekday the last such day, today
 * included. The answer does not depend on the process's time zone.
 *
 * @throws {TypeError} it is anything else, has words left over, or is outside 1970 to 9999 without being RFC 3339
 */
export async function parseMoment(text: string, nowMs: number): Promise<Moment | "latest"> {
  if (text.length > CHARACTERS_MAX) {
    throw unreadable(text, `${text.length} characters`, `up to ${CHARACTERS_MAX}`);
  }
  const given = text.trim();
  const words = given.normalize("NFC").toLowerCase().replace(/\s+/g, " ");
  if (words === "latest") return "latest";
  if (words.startsWith("txid:")) return readTxid(words, words.slice("txid:".length));
  if (BARE_TXID.test(words)) return readTxid(words, words);
  const rfc3339 = readRfc3339(given);
  if (rfc3339 !== undefined) return { ms: rfc3339, text: given };
  const ms = readUnixTime(words) ?? readShift(words, nowMs) ?? readYear(words, nowMs) ??
    await readDayAndClock(words, nowMs) ?? await readOtherLanguage(words, nowMs);
  if (ms === undefined) throw unreadable(given);
  if (!(ms >= 0 && ms <= MS_MAX)) throw unreadable(given, "out of range", "a time from 1970 to 9999");
  return { ms, text: formatMoment(ms) };
}

/**
 * Writes an instant as RFC 3339 in UTC, such as `2026-11-21T02:14:36.25Z`: as many fractional digits, up to 9, as tell
 * `ms` from the numbers beside it.
 */
export function formatMoment(ms: number): string {
  const whole = Math.floor(ms);
  const below = ms > whole ? String(ms).split(".")[1] ?? "" : "";
  const fraction = whole < 0 ? (ms - whole).toFixed(6).slice(2) : below.slice(0, 6);
  return `${new Date(whole).toISOString().slice(0, -1)}${fraction}`.replace(/\.?0+$/, "") + "Z";
}

/** The error of a text that is no moment. */
function unreadable(text: string, found = "not understood", wanted = EXPECTED): TypeError {
  const cut = text.length > SHOWN_CHARACTERS_MAX;
  const shown = JSON.stringify(cut ? `${text.slice(0, SHOWN_CHARACTERS_MAX)}…` : text);
  return new TypeError(`Cannot read time ${shown}: ${found}, expected ${wanted}`);
}

function readTxid(words: string, digits: string): TxidMoment {
  if (!/^[0-9a-f]{16}$/.test(digits)) throw unreadable(words, "not a TXID", "16 hex digits after txid:");
  const txid = parseTxid(digits);
  if (txid === 0n) throw unreadable(words, "TXID 0", "one from 1 on");
  return { txid, text: `txid:${formatTxid(txid)}` };
}

/** @see RFC 3339, section 5.6 */
function readRfc3339(text: string): number | undefined {
  const match = RFC_3339.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, clock = "", zone = ""] = match;
  return instant(
    text,
    { year: Number(year), month: Number(month), day: Number(day) },
    readClock(text, clock, zone.toLowerCase()),
  );
}

/** Seconds, milliseconds or microseconds; what stands behind a point is dropped. */
function readUnixTime(words: string): number | undefined {
  const match = UNIX_TIME.exec(words);
  if (match === null) return undefined;
  const [, seconds, milliseconds = "000", microseconds = "0"] = match;
  return Number(`${seconds}${milliseconds}.${microseconds}`);
}

/** The moment a duration or a word such as `yesterday` away from now. */
function readShift(words: string, nowMs: number): number | undefined {
  const spanish = /^hace (.+)$/.exec(words)?.[1];
  const english = spanish?.split(" ").map((word) => SPANISH.get(word) ?? word).join(" ");
  const shift = Object.hasOwn(SHIFTS, words)
    ? SHIFTS[words]
    : readDuration(english === undefined ? words : `${english} ago`);
  return shift && shifted(nowMs, shift);
}

/** A duration with its sign: `in` lies ahead, everything else in the past. */
function readDuration(words: string): Duration | undefined {
  const match = /^(in |- ?)?(.+?)( ago)?$/.exec(words);
  if (match === null) return undefined;
  const [, before, amounts = "", ago] = match;
  const ahead = before === "in ";
  const sum = ahead && ago ? undefined : sumOfParts(amounts);
  if (sum === undefined) return undefined;
  return ahead ? sum : { months: -sum.months, ms: -sum.ms };
}

/** Adds up `2 hours and 5 minutes`; each unit may stand once. */
function sumOfParts(words: string): Duration | undefined {
  const part = new RegExp(PART, "y");
  const seen = new Set<Duration>();
  let [months, ms] = [0, 0];
  while (part.lastIndex < words.length) {
    const match = part.exec(words);
    const unit = UNITS.get(match?.[2] ?? "");
    if (match === null || unit === undefined || seen.has(unit)) return undefined;
    seen.add(unit);
    const amount = readAmount(match[1] ?? "");
    const whole = Math.trunc(amount * unit.months);
    months += whole;
    ms += amount * unit.ms + (amount * unit.months - whole) * MONTH_DAYS * DAY_MS;
  }
  return { months, ms: Math.round(ms) };
}

function readAmount(word: string): number {
  return /^\d/.test(word) ? Number(word) : Math.max(1, NUMBERS.indexOf(word));
}

/** A year alone is this day of that year. */
function readYear(words: string, nowMs: number): number | undefined {
  if (!/^\d{4}$/.test(words)) return undefined;
  const { year } = dayOf(nowMs);
  const midnight = Math.floor(nowMs / DAY_MS) * DAY_MS;
  return shifted(midnight, { months: (Number(words) - year) * 12, ms: 0 });
}

/** A day, a clock, or both. */
async function readDayAndClock(words: string, nowMs: number): Promise<number | undefined> {
  const groups = DAY_AND_CLOCK.exec(words)?.groups;
  const day = await readDay(groups ? groups.day ?? "today" : words, nowMs);
  if (day === undefined) return undefined;
  return instant(words, day, groups?.clock ? readClock(words, groups.clock, groups.zone ?? "z") : MIDNIGHT);
}

async function readDay(words: string, nowMs: number): Promise<CalendarDay | undefined> {
  if (Object.hasOwn(DAY_WORDS, words)) return dayOf(nowMs + DAY_WORDS[words]! * DAY_MS);
  const weekday = readWeekday(words);
  if (weekday >= 0) return dayOf(nowMs - (new Date(nowMs).getUTCDay() - weekday + 7) % 7 * DAY_MS);
  const match = NUMERIC_DAY.exec(words);
  if (match !== null) return { year: Number(match[1]), month: Number(match[3]), day: Number(match[4]) };
  return NUMERIC_START.test(words) ? undefined : await readWrittenDay(words, nowMs);
}

/** 0 for Sunday; -1 where it is no weekday. */
function readWeekday(words: string): number {
  const name = words.replace(/^on /, "");
  return WEEKDAYS.findIndex((weekday) => name === weekday || name === weekday.slice(0, 3));
}

/** A day with the name of its month, or between slashes; this year unless it names one. */
async function readWrittenDay(words: string, nowMs: number): Promise<CalendarDay | undefined> {
  const { strict } = await import("chrono-node/en");
  const parts = wholeText(strict, words, distantReference(nowMs, CALENDAR_YEARS));
  if (parts === undefined || parts.isCertain("hour") || parts.isCertain("timezoneOffset")) return undefined;
  if (parts.tags().has("result/relativeDate")) return undefined;
  if (!parts.isCertain("month") || !parts.isCertain("day")) return undefined;
  const year = parts.isCertain("year") ? parts.get("year")! : dayOf(nowMs).year;
  const day = { year, month: parts.get("month")!, day: parts.get("day")! };
  if (parts.isCertain("year") && !writesYear(words, year)) return undefined;
  return fitsItsWeekday(parts, instant(words, day, MIDNIGHT)) ? day : undefined;
}

/** Whether a year stands there with two digits at least; chrono-node takes `5 nov 5` for 2005. */
function writesYear(words: string, year: number): boolean {
  return words.includes(String(year).slice(-2));
}

/** Whether the weekday written beside a day, if any, is right. */
function fitsItsWeekday(parts: ParsedComponents, ms: number): boolean {
  return !parts.isCertain("weekday") || parts.get("weekday") === new Date(ms).getUTCDay();
}

/** All the rest: other languages than English. */
async function readOtherLanguage(words: string, nowMs: number): Promise<number | undefined> {
  if (NUMERIC_START.test(words) || !/\p{Letter}/u.test(words) || NOT_FOR_OTHER_LANGUAGES.test(words)) {
    return undefined;
  }
  for (const load of LANGUAGES) {
    const ms = readIn((await load()).casual, words, nowMs);
    if (ms !== undefined) return ms;
  }
  return undefined;
}

/**
 * Reads in one language. chrono-node reckons in the process's time zone, where clocks are put forward and some hours do
 * not exist; so it reckons 400 years ago, before there were such hours. Asked once more for 800 years ago, a year that
 * came along counts from now, one that stayed was written down.
 */
function readIn(language: Chrono, words: string, nowMs: number): number | undefined {
  const near = wholeText(language, words, distantReference(nowMs, CALENDAR_YEARS));
  const far = near && wholeText(language, words, distantReference(nowMs, 2 * CALENDAR_YEARS));
  if (!near || !far || !namesADay(near)) return undefined;
  const moved = near.get("year")! - far.get("year")!;
  if (moved === 0 && !writesYear(words, near.get("year")!)) return undefined;
  const named = { year: near.get("year")! + moved, month: near.get("month")!, day: near.get("day")! };
  const day = hasSpilled(near, nowMs) ? dayOf(dayStart(named.year, named.month, 0)) : named;
  const clock = clockOf(words, near, { isCounted: moved !== 0 && near.isCertain("year"), nowMs });
  if (clock === undefined || !fitsItsWeekday(near, instant(words, day, MIDNIGHT))) return undefined;
  return instant(words, day, clock);
}

/** Whether months were counted to one too short for the day, which chrono-node then takes into the month behind it. */
function hasSpilled(parts: ParsedComponents, nowMs: number): boolean {
  if (parts.isCertain("day") || !parts.tags().has("result/relativeDate")) return false;
  return parts.get("day")! < dayOf(nowMs).day;
}

/** Whether a day is written, or counted from now, and no zone of its own. */
function namesADay(parts: ParsedComponents): boolean {
  const tags = parts.tags();
  if (tags.has("result/relativeDate") || tags.has("casualReference/now")) return true;
  return !parts.isCertain("timezoneOffset") && parts.isCertain("day") && parts.isCertain("month");
}

/**
 * The clock that was written; else now's where the day is counted from now, and midnight where the day is written.
 * chrono-node fills in now's, or 12:00 for want of a better; anything else it fills in, as for evenings, is a guess.
 */
function clockOf(
  words: string,
  parts: ParsedComponents,
  { isCounted, nowMs }: { isCounted: boolean; nowMs: number },
): Clock | undefined {
  const clock = {
    hour: parts.get("hour") ?? 0,
    minute: parts.get("minute") ?? 0,
    second: parts.get("second") ?? 0,
    fraction: String(parts.get("millisecond") ?? 0).padStart(3, "0"),
    offsetMinutes: 0,
  };
  const tags = parts.tags();
  const isShift = tags.has("result/relativeDate") || tags.has("casualReference/now");
  if (parts.isCertain("hour")) return isShift || CLOCK_IN_OTHER_LANGUAGES.test(words) ? clock : undefined;
  const now = clockAt(nowMs);
  const counted = isCounted || isShift;
  const isNow = now.hour === clock.hour && now.minute === clock.minute && now.second === clock.second;
  if (counted && isNow) return now;
  if (clock.hour !== 12 || clock.minute !== 0 || clock.second !== 0) return undefined;
  return counted ? now : MIDNIGHT;
}

function clockAt(ms: number): Clock {
  const date = new Date(ms);
  return {
    hour: date.getUTCHours(),
    minute: date.getUTCMinutes(),
    second: date.getUTCSeconds(),
    fraction: String(date.getUTCMilliseconds()).padStart(3, "0"),
    offsetMinutes: 0,
  };
}

/** The one date that chrono-node finds, if it is made of all the words. */
function wholeText(chrono: Chrono, words: string, reference: Date): ParsedComponents | undefined {
  const [result, ...others] = chrono.parse(words, reference);
  if (result === undefined || others.length > 0 || result.end) return undefined;
  return result.index === 0 && result.text === words ? result.start : undefined;
}

/** So many years before now, on a clock of the process's time zone that shows what UTC's shows now. */
function distantReference(nowMs: number, years: number): Date {
  const now = new Date(nowMs);
  return new Date(
    now.getUTCFullYear() - years,
    now.getUTCMonth(),
    now.getUTCDate(),
    now.getUTCHours(),
    now.getUTCMinutes(),
    now.getUTCSeconds(),
    now.getUTCMilliseconds(),
  );
}

/** Reads `10:00`, `10:30:15.5`, `2:30pm`, `noon`; a zone is `z`, a name, or an offset. */
function readClock(text: string, clock: string, zone: string): Clock {
  const offsetMinutes = readZone(text, zone);
  if (clock === "noon" || clock === "midnight") {
    return { ...MIDNIGHT, hour: clock === "noon" ? 12 : 0, offsetMinutes };
  }
  const match = /^(\d+)(?::(\d+)(?::(\d+)(?:\.(\d+))?)?)? ?([ap]m)?$/.exec(clock);
  const [, hours, minutes = "0", seconds = "0", fraction = "", half] = match ?? [];
  const hour = half ? within(text, "hour", Number(hours), 1, 12) % 12 : Number(hours);
  within(text, "count of fractional digits", fraction.length, 0, FRACTION_DIGITS_MAX);
  return {
    hour: half === "pm" ? hour + 12 : hour,
    minute: Number(minutes),
    second: Number(seconds),
    fraction,
    offsetMinutes,
  };
}

function readZone(text: string, zone: string): number {
  const known = ZONES.get(zone);
  if (known !== undefined) return known;
  const hours = within(text, "hour of the offset", Number(zone.slice(1, 3)), 0, 23);
  const minutes = within(text, "minute of the offset", Number(zone.slice(3).replace(":", "")), 0, 59);
  return (zone.startsWith("-") ? -1 : 1) * (hours * 60 + minutes);
}

/** The instant of a day's clock; every part is checked. */
function instant(text: string, { year, month, day }: CalendarDay, clock: Clock): number {
  within(text, "month", month, 1, 12);
  within(text, "day", day, 1, monthDays(year, month));
  within(text, "hour", clock.hour, 0, 23);
  within(text, "minute", clock.minute, 0, 59);
  if (clock.second === 60) {
    throw unreadable(text, "second is 60", "0 to 59, for leap seconds are not counted");
  }
  within(text, "second", clock.second, 0, 59);
  const minutes = clock.hour * 60 + clock.minute - clock.offsetMinutes;
  const digits = clock.fraction.padEnd(3, "0");
  const ms = dayStart(year, month, day) + minutes * MINUTE_MS + clock.second * SECOND_MS +
    Number(digits.slice(0, 3));
  const below = `${digits.slice(3)}0`;
  // Written out as digits, the sum is rounded once.
  return ms < 0 ? ms + Number(`0.${below}`) : Number(`${ms}.${below}`);
}

/** Gives `value` back, or says which part is wrong. */
function within(text: string, part: string, value: number, min: number, max: number): number {
  if (value < min || value > max) throw unreadable(text, `${part} is ${value}`, `${min} to ${max}`);
  return value;
}

/** Moves by months first, to the month's last day where it is shorter, then by the rest. */
function shifted(ms: number, by: Duration): number {
  const { year, month, day } = dayOf(ms);
  const index = year * 12 + month - 1 + by.months;
  const [toYear, toMonth] = [Math.floor(index / 12), (index % 12 + 12) % 12 + 1];
  const toDay = Math.min(day, monthDays(toYear, toMonth));
  return dayStart(toYear, toMonth, toDay) + (ms - dayStart(year, month, day)) + by.ms;
}

function dayOf(ms: number): CalendarDay {
  const date = new Date(ms);
  return { year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, day: date.getUTCDate() };
}

function monthDays(year: number, month: number): number {
  return new Date(dayStart(year, month + 1, 0)).getUTCDate();
}

/** A day's first millisecond; Date.UTC() alone takes the year 26 for 1926. */
function dayStart(year: number, month: number, day: number): number {
  return new Date(0).setUTCFullYear(year, month - 1, day);
}

function named<T>(names: string, value: T): [string, T][] {
  return names.split(" ").map((name) => [name, value]);
}
