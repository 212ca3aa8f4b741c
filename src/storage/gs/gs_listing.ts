/**
 * Pages of listings, as Google's JSON interface writes them.
 *
 * @see https://cloud.google.com/storage/docs/json_api/v1/objects/list
 * @module
 */

import { type Asked, wrongAnswer } from "../http_fault.ts";
import type { OddAnswers } from "../odd_answers.ts";
import type { StoredNow, StoredObject } from "../storage.ts";

/** Name of the metadata in which Litestream keeps an object's time. */
export const TIMESTAMP = "litestream-timestamp";

/** What a page may have. */
const PAGE_FIELDS = ["kind", "items", "nextPageToken", "prefixes"];

/** One page. */
export interface GsPage {
  readonly objects: StoredObject[];
  /** Empty: it was the last. */
  readonly nextPageToken: string;
}

/** An object as the interface describes it; nothing of it is sure. */
interface Resource {
  readonly name?: unknown;
  readonly size?: unknown;
  readonly generation?: unknown;
  readonly timeCreated?: unknown;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** Reads a page. @throws {StorageError} it is none; what may have been damaged on its way may be asked for again */
export function parsePage(bytes: Uint8Array, asked: Asked, odd: OddAnswers): GsPage {
  const page = jsonOf(bytes, asked, "a listing", odd) as {
    items?: readonly Resource[];
    nextPageToken?: string;
  };
  const unknown = Object.keys(page).find((name) => !PAGE_FIELDS.includes(name));
  if (unknown !== undefined && odd.isNew(`field ${unknown}`)) { // a service that has it gives it again
    throw wrongAnswer(asked, `a listing with "${unknown}"`, PAGE_FIELDS.join(", "), { retryable: true });
  }
  const { items = [], nextPageToken = "" } = page;
  if (!Array.isArray(items)) throw wrongAnswer(asked, "a listing of another form", "items");
  return {
    objects: items.map((item: Resource) => ({
      key: item.name as string,
      size: typeof item.size === "string" ? Number(item.size) : NaN,
      ...stateOf(item),
    })),
    nextPageToken,
  };
}

/** Reads what is told of an object that was put. @throws {StorageError} it is nothing of the kind */
export function parseMade(bytes: Uint8Array, asked: Asked): StoredNow {
  const made = stateOf(jsonOf(bytes, asked, "an object") as Resource);
  if (made.etag === "") throw wrongAnswer(asked, "an answer without generation", "one with it");
  return made;
}

/** As Litestream spells a time: RFC 3339, the fraction of a second without zeros at its end. */
export function formatTimestamp(ms: number): string {
  return new Date(ms).toISOString().replace(/\.?0+Z$/, "Z");
}

function stateOf({ generation, timeCreated, metadata }: Resource): StoredNow {
  const ownMs = parseTimestamp(metadata?.[TIMESTAMP]);
  return {
    etag: typeof generation === "string" ? generation : "",
    modifiedMs: Number.isNaN(ownMs) ? parseTimestamp(timeCreated) : ownMs,
  };
}

/** NaN where it is no RFC 3339; a runtime need not take more than three digits of a second. */
function parseTimestamp(value: unknown): number {
  if (typeof value !== "string") return NaN;
  return Date.parse(value.replace(/(\.\d{3})\d+/, "$1"));
}

function jsonOf(bytes: Uint8Array, asked: Asked, noun: string, odd?: OddAnswers): object {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (typeof value === "object" && value !== null) return value;
  } catch (cause) {
    const answer = new TextDecoder().decode(bytes);
    const retryable = /^\s*\{/.test(answer) && odd?.isNew(answer) === true;
    const wanted = `${noun} of Google's JSON interface`;
    throw wrongAnswer(asked, "an answer that is no JSON", wanted, { retryable, cause });
  }
  throw wrongAnswer(asked, "an answer that is no JSON object", `${noun} of Google's JSON interface`);
}
