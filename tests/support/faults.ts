/**
 * Fault schedules for the fake S3 server: which request goes wrong, and how.
 *
 * @module
 */

/** How a request goes wrong. */
export type Fault =
  /** Answered with a status and, unless `body` says otherwise, S3's XML for `code`. */
  | {
    kind: "status";
    status: number;
    code?: string;
    message?: string;
    elements?: Record<string, string>;
    headers?: Record<string, string>;
    body?: string;
  }
  /** The connection is reset before any answer. */
  | { kind: "reset" }
  /** The connection is reset after the headers. */
  | { kind: "resetAfterHeaders" }
  /** The connection ends after so many bytes of body, fewer than Content-Length says. */
  | { kind: "cut"; after: number }
  /** Nothing comes any more after so many bytes of body; the connection stays. */
  | { kind: "stall"; after: number }
  /** No answer at all; the connection stays. */
  | { kind: "silence" }
  /** Content-Range has this value, or is absent where it is empty. */
  | { kind: "contentRange"; value: string }
  /** One bit of the body is another: of this byte, or of the one in the middle. */
  | { kind: "flipped"; at?: number }
  /** Status 200 with the whole object. */
  | { kind: "ignoreRange" }
  /** If-Match is not looked at. */
  | { kind: "ignoreIfMatch" }
  /** If-None-Match is not looked at. */
  | { kind: "ignoreIfNoneMatch" }
  /** All is done as asked, then it goes wrong: what is stored is stored. */
  | { kind: "doneBut"; then: Fault }
  /** Of the keys to be removed at once, matching ones are not, and the answer says so. */
  | { kind: "removeErrors"; keys: RegExp; code: string }
  /** Body and Content-Length agree, but have so many bytes more (or fewer) than Content-Range says. */
  | { kind: "lyingLength"; by: number }
  /** So many bytes more follow the body that Content-Length announces. */
  | { kind: "longerBody"; by: number }
  /** The body is sent in chunks without Content-Length, with so many bytes more (or fewer). */
  | { kind: "chunked"; by: number }
  /** The body is gzip-compressed and says so. */
  | { kind: "gzip" }
  /** Headers are added to, or replace, those of the true answer. */
  | { kind: "headers"; headers: Record<string, string> }
  /** Matching keys are missing from the listing. */
  | { kind: "staleListing"; hide: RegExp }
  /** Matching keys have another tag in the listing. */
  | { kind: "mistaggedListing"; keys: RegExp }
  /** The true answer, later. */
  | { kind: "slow"; delayMs: number }
  /** The true answer, once this has come about. */
  | { kind: "held"; until: Promise<unknown> };

/** What a rule looks at. */
export interface FaultSubject {
  readonly method: string;
  /** The object's key; empty for a listing. */
  readonly key: string;
  /** A listing's prefix; empty for other requests. */
  readonly prefix: string;
  /** Path and query as they were sent. */
  readonly target?: string;
}

/** When a fault happens: all that is given must hold. */
export interface FaultRule {
  readonly fault: Fault;
  readonly method?: string;
  /** Part of the key (or of a listing's prefix), or a pattern for it. */
  readonly key?: string | RegExp;
  /** Part of path and query. */
  readonly target?: string;
  /** Only listings, or only requests for objects. */
  readonly on?: "list" | "object";
  /** Only the n-th of the requests that match the above, from 1. */
  readonly nth?: number | readonly number[];
  /** Only the first so many of them. */
  readonly times?: number;
  /** Only this share of them, drawn from the seed. */
  readonly probability?: number;
}

/** Picks faults by rules; the first rule that applies holds. The same seed gives the same draws. */
export class FaultSchedule {
  readonly #rules: readonly FaultRule[];
  readonly #matches: number[];
  #state: number;

  constructor(rules: readonly FaultRule[], seed = 1) {
    this.#rules = rules;
    this.#matches = rules.map(() => 0);
    this.#state = seed >>> 0;
  }

  /** The fault of this request; undefined where it goes well. */
  pick(subject: FaultSubject): Fault | undefined {
    let picked: Fault | undefined;
    this.#rules.forEach((rule, i) => {
      if (!matches(rule, subject)) return;
      const nth = this.#matches[i] = (this.#matches[i] ?? 0) + 1;
      const drawn = rule.probability === undefined || this.#random() < rule.probability;
      if (drawn && falls(rule, nth)) picked ??= rule.fault;
    });
    return picked;
  }

  /** mulberry32 */
  #random(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }
}

function matches(rule: FaultRule, { method, key, prefix, target = "" }: FaultSubject): boolean {
  if (rule.method !== undefined && rule.method !== method) return false;
  if (rule.on !== undefined && (rule.on === "object") !== (key !== "")) return false;
  if (rule.target !== undefined && !target.includes(rule.target)) return false;
  const subject = key === "" ? prefix : key;
  if (typeof rule.key === "string") return subject.includes(rule.key);
  return rule.key === undefined || rule.key.test(subject);
}

function falls(rule: FaultRule, nth: number): boolean {
  if (typeof rule.nth === "number" && rule.nth !== nth) return false;
  if (typeof rule.nth === "object" && !rule.nth.includes(nth)) return false;
  return rule.times === undefined || nth <= rule.times;
}
