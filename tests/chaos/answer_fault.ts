/**
 * What becomes of a true answer under a fault: pure.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Random } from "../support/random.ts";
import type { FaultKind } from "./fault_schedule.ts";
import type { WireAnswer } from "./upstream.ts";

/** How an answer is sent. */
export interface Delivery {
  /** What is sent, one after the other. */
  readonly pieces: readonly Buffer[];
  /** Before each of them, in ms. */
  readonly pauseMs: number;
  /** What becomes of the connection. */
  readonly then: "keep" | "end" | "reset" | "stall";
}

/** S3's codes for the statuses that are faults. */
const CODES: Readonly<Partial<Record<FaultKind, readonly [number, string]>>> = {
  "403": [403, "AccessDenied"],
  "404": [404, "NoSuchKey"],
  "412": [412, "PreconditionFailed"],
  "416": [416, "InvalidRange"],
  "429": [429, "TooManyRequests"],
  "500": [500, "InternalError"],
  "503": [503, "SlowDown"],
};

/** What is answered where there is no such object. */
export const ABSENT: WireAnswer = {
  status: 404,
  headers: new Map([["content-type", "application/xml"]]),
  body: Buffer.from(errorXml("NoSuchKey", "The specified key does not exist.")),
};

const LATENCY_MS_MAX = 80;
const DRIP_PIECES_MAX = 16;
const DRIP_MS_MAX = 12;
const SKEW_MS = 3_600_000;

/** An answer as it is. */
export function plainDelivery(answer: WireAnswer): Delivery {
  return { pieces: [headOf(answer), answer.body], pauseMs: 0, then: "keep" };
}

/** What the server answers in place of what it was asked for; undefined where the kind is no refusal. */
export function refusalOf(kind: FaultKind, dice: Random, nowMs: number): WireAnswer | undefined {
  if (kind === "clock skew") return skewRefusal(dice, nowMs);
  const [status, code] = CODES[kind] ?? [0, ""];
  if (status === 0) return undefined;
  const headers = new Map([["content-type", "application/xml"]]);
  if (status === 429 || (status === 503 && dice.next(4) === 0)) {
    headers.set("retry-after", dice.next(8) === 0 ? "1" : "0");
  }
  // Proxies and balancers have no S3 XML.
  const body = dice.next(5) === 0 ? "<html>no</html>" : errorXml(code, "A fault of the schedule.");
  return { status, headers, body: Buffer.from(body) };
}

function skewRefusal(dice: Random, nowMs: number): WireAnswer {
  const serverTime = new Date(nowMs + (dice.next(2) * 2 - 1) * SKEW_MS).toISOString();
  const body = errorXml("RequestTimeTooSkewed", "The difference between the times is too large.", serverTime);
  return { status: 403, headers: new Map([["content-type", "application/xml"]]), body: Buffer.from(body) };
}

function errorXml(code: string, message: string, serverTime = ""): string {
  const time = serverTime === "" ? "" : `<ServerTime>${serverTime}</ServerTime>`;
  return `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message>${time}</Error>`;
}

/** A true answer under a fault; undefined where that fault cannot happen to it. */
export function faultyDelivery(
  kind: FaultKind,
  dice: Random,
  answer: WireAnswer,
  nowMs: number,
): Delivery | undefined {
  const [head, body] = [headOf(answer), answer.body];
  switch (kind) {
    case "latency":
      return { ...plainDelivery(answer), pauseMs: 1 + dice.next(LATENCY_MS_MAX / 2) };
    case "stall":
      return broken(Buffer.concat([head, body]), dice, "stall");
    case "reset in headers":
      return broken(head, dice, "reset");
    case "reset in body":
      return body.length < 2 ? undefined : inBody(answer, dice, "reset");
    case "cut body":
      return body.length < 2 ? undefined : cutDelivery(answer, dice);
    case "padded body":
      return body.length < 2 ? undefined : paddedDelivery(answer, dice);
    case "other range":
      return isWhole(answer) ? plainDelivery({ ...answer, body: rotated(body, dice) }) : undefined;
    case "wrong content-range":
      return answer.status === 206 ? plainDelivery(misranged(answer, dice)) : undefined;
    case "flipped":
      return isWhole(answer) || isListing(answer)
        ? plainDelivery({ ...answer, body: flipped(body, dice) })
        : undefined;
    case "clock skew":
      return plainDelivery(misdated(answer, dice, nowMs));
    case "drip":
      return dripping(Buffer.concat([head, body]), dice);
    default:
      return undefined;
  }
}

function headOf({ status, headers, body }: WireAnswer, length = body.length): Buffer {
  const lines = [...headers].map(([name, value]) => `${name}: ${value}\r\n`);
  const size = status === 204 || status === 304 ? "" : `content-length: ${length}\r\n`;
  return Buffer.from(`HTTP/1.1 ${status} Answer\r\n${lines.join("")}${size}\r\n`, "latin1");
}

/** Some of it, not all. */
function broken(bytes: Buffer, dice: Random, then: Delivery["then"]): Delivery {
  return { pieces: [bytes.subarray(0, dice.next(bytes.length))], pauseMs: 0, then };
}

function inBody(answer: WireAnswer, dice: Random, then: Delivery["then"]): Delivery {
  const size = 1 + dice.next(answer.body.length - 1);
  return { pieces: [headOf(answer), answer.body.subarray(0, size)], pauseMs: 0, then };
}

function cutDelivery(answer: WireAnswer, dice: Random): Delivery {
  if (dice.next(3) > 0) return inBody(answer, dice, "end");
  return plainDelivery({ ...answer, body: answer.body.subarray(0, dice.next(answer.body.length)) });
}

function paddedDelivery(answer: WireAnswer, dice: Random): Delivery {
  const longer = Buffer.concat([answer.body, Buffer.from(dice.bytes(1 + dice.next(40)))]);
  if (dice.next(2) === 0) return plainDelivery({ ...answer, body: longer });
  return { pieces: [headOf(answer), longer], pauseMs: 0, then: "end" };
}

/** Whether it is a whole object: only these have a checksum over all their bytes. */
function isWhole({ status, headers, body }: WireAnswer): boolean {
  return status === 206 && body.length > 1 &&
    headers.get("content-range") === `bytes 0-${body.length - 1}/${body.length}`;
}

function isListing({ status, body }: WireAnswer): boolean {
  return status === 200 && body.includes("<ListBucketResult");
}

/** Bytes of the same object that begin elsewhere. */
function rotated(body: Buffer, dice: Random): Buffer {
  const by = 1 + dice.next(body.length - 1);
  return Buffer.concat([body.subarray(by), body.subarray(0, by)]);
}

function flipped(body: Buffer, dice: Random): Buffer {
  const changed = Buffer.from(body);
  for (let count = 1 + dice.next(3); count > 0; count--) {
    changed[dice.next(changed.length)]! ^= 1 << dice.next(8);
  }
  return changed.equals(body) ? flipped(body, dice) : changed;
}

function misranged(answer: WireAnswer, dice: Random): WireAnswer {
  const [, first = 0, last = 0, size = 0] =
    /^bytes (\d+)-(\d+)\/(\d+)$/.exec(answer.headers.get("content-range") ?? "")?.map(Number) ?? [];
  const values = [
    `bytes ${first + 1}-${last + 1}/${size + 1}`,
    `bytes ${first}-${last}/${size + 1}`,
    `bytes ${last}-${first}/${size}`,
    `bytes */${size}`,
    "all of it",
    "",
  ];
  const value = values[dice.next(values.length)]!;
  const headers = new Map(answer.headers);
  if (value === "") headers.delete("content-range");
  else headers.set("content-range", value);
  return { ...answer, headers };
}

function misdated(answer: WireAnswer, dice: Random, nowMs: number): WireAnswer {
  const date = new Date(nowMs + (dice.next(2) * 2 - 1) * SKEW_MS).toUTCString();
  return { ...answer, headers: new Map(answer.headers).set("date", date) };
}

function dripping(bytes: Buffer, dice: Random): Delivery {
  const size = Math.ceil(bytes.length / (2 + dice.next(DRIP_PIECES_MAX - 1)));
  const pieces: Buffer[] = [];
  for (let offset = 0; offset < bytes.length; offset += size) {
    pieces.push(bytes.subarray(offset, offset + size));
  }
  return { pieces, pauseMs: 1 + dice.next(DRIP_MS_MAX), then: "keep" };
}
