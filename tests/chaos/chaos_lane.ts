/**
 * ChaosLane: what becomes of the requests of one user of a server.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import type { Random } from "../support/random.ts";
import type { HttpRequest } from "../support/request_reader.ts";
import { ABSENT, type Delivery, faultyDelivery, plainDelivery, refusalOf } from "./answer_fault.ts";
import type { ChaosMemory } from "./chaos_memory.ts";
import { ChaosSchedule, type DrawnFault, type FaultKind, type RequestClass } from "./fault_schedule.ts";
import { type Listed, type ListingHistory, ListingPage } from "./listing_page.ts";
import type { WireAnswer } from "./upstream.ts";

/** Longest time that an answer waits to be overtaken, in ms. */
const OVERTAKEN_MS = 150;
/** A late write comes after so long at most, in ms. */
const LATE_MS_MAX = 400;
/** An object that is gone is back after so many requests of its lane at most. */
const GONE_REQUESTS_MAX = 24;
/** By how much another range lies elsewhere, in bytes. */
const SHIFT_MAX = 64;

/** What a request is about. */
interface Asked {
  readonly request: HttpRequest;
  readonly requested: RequestClass | undefined;
  /** The object's key in its bucket; empty for a listing. */
  readonly key: string;
  readonly listed: Listed | undefined;
}

function askedBy(request: HttpRequest): Asked {
  const url = new URL(request.target, "http://s3");
  const key = decodeURIComponent(url.pathname).split("/").slice(2).join("/");
  const query = url.searchParams;
  const isListing = request.method === "GET" && query.get("list-type") === "2";
  const requested = isListing
    ? "list"
    : request.method === "GET"
    ? key === "" ? undefined : "read"
    : request.method === "DELETE" || query.has("delete")
    ? "remove"
    : "put";
  const after = query.get("start-after") ?? "";
  const isContinued = query.has("continuation-token");
  const listed = isListing && !isContinued ? { prefix: query.get("prefix") ?? "", after } : undefined;
  return { request, requested, key, listed };
}

/** What a {@link ChaosLane} is made of. */
export interface ChaosLaneParts {
  readonly number: number;
  readonly seed: number;
  readonly memory: ChaosMemory;
  readonly history: ListingHistory;
  /** The true server. */
  readonly ask: (request: HttpRequest) => Promise<WireAnswer>;
}

/** Requests of one user, each with what its number in the schedule has happen to it. */
export class ChaosLane {
  readonly #parts: ChaosLaneParts;
  readonly #schedule: ChaosSchedule;
  /** Requests so far. */
  #requests = 0;
  /** Keys that are gone, and the number of the request that finds each again. */
  readonly #gone = new Map<string, number>();
  /** The newest request that was answered. */
  #answered = -1;
  /** Answers that wait until another one has overtaken them. */
  readonly #held = new Set<() => void>();

  constructor(parts: ChaosLaneParts) {
    this.#parts = parts;
    this.#schedule = new ChaosSchedule(parts.seed, parts.number);
  }

  /** How a request is answered, and has it sent so. */
  async serve(request: HttpRequest, send: (delivery: Delivery) => Promise<void>): Promise<void> {
    const { memory } = this.#parts;
    const number = this.#requests++;
    const asked = askedBy(request);
    const isStorm = memory.isStorming;
    if (!isStorm) this.#gone.clear();
    const drawn = isStorm && asked.requested
      ? this.#schedule.at(number, asked.requested, memory.rates)
      : undefined;
    memory.addRequest();
    const delivery = (drawn && await this.#faulty(drawn, asked, number)) ??
      plainDelivery(await this.#true(asked, number));
    if (drawn?.kind === "reordered") await this.#overtaken(number);
    await send(delivery);
    if (drawn?.kind === "reordered") return;
    this.#answered = Math.max(this.#answered, number);
    for (const release of this.#held) release();
  }

  /** What the server answers, less what is gone. */
  async #true({ request, requested, key, listed }: Asked, number: number): Promise<WireAnswer> {
    if (requested === "read" && this.#isGone(key, number)) return ABSENT;
    const answer = await this.#parts.ask(request);
    if (listed === undefined || answer.status !== 200) return answer;
    const page = new ListingPage(String(answer.body));
    this.#parts.history.learn(listed, page, performance.now());
    if (this.#gone.size === 0) return answer;
    return { ...answer, body: page.without((each) => this.#isGone(each, number)) };
  }

  #isGone(key: string, number: number): boolean {
    return (this.#gone.get(key) ?? 0) > number;
  }

  /** How a request is answered under a fault; undefined where that fault cannot happen to it. */
  async #faulty({ kind, dice }: DrawnFault, asked: Asked, number: number): Promise<Delivery | undefined> {
    switch (kind) {
      case "reset before":
        this.#count(kind);
        return { pieces: [], pauseMs: 0, then: "reset" };
      case "late write":
      case "unacknowledged":
        return await this.#unsaid(kind, dice, asked);
      case "deleted":
        if (this.#isGone(asked.key, number)) return undefined;
        this.#gone.set(asked.key, number + 2 + dice.next(GONE_REQUESTS_MAX));
        return this.#counted(kind, plainDelivery(ABSENT));
      case "other range":
        return await this.#otherRange(dice, asked, number);
      case "range ignored":
        return await this.#whole(asked);
      case "stale listing":
      case "incomplete listing":
        return await this.#otherListing(kind, dice, asked, number);
    }
    const refusal = kind === "clock skew" && dice.next(2) === 0
      ? undefined
      : refusalOf(kind, dice, Date.now());
    if (refusal) return this.#counted(kind, plainDelivery(refusal));
    // Half of all stalls are of a server that has not even heard of the request.
    if (kind === "stall" && dice.next(2) === 0) {
      return this.#counted(kind, { pieces: [], pauseMs: 0, then: "stall" });
    }
    const answer = await this.#true(asked, number);
    return this.#counted(kind, faultyDelivery(kind, dice, answer, Date.now())) ?? plainDelivery(answer);
  }

  #count(kind: FaultKind): void {
    this.#parts.memory.add(this.#parts.number, kind);
  }

  #counted(kind: FaultKind, delivery: Delivery | undefined): Delivery | undefined {
    if (delivery) this.#count(kind);
    return delivery;
  }

  /** A write that is done now or later, whatever its client is told. */
  async #unsaid(kind: FaultKind, dice: Random, { request }: Asked): Promise<Delivery> {
    const ask = async () => await this.#parts.ask(request);
    if (kind === "unacknowledged") await ask();
    else setTimeout(() => ask().catch(() => {}), 1 + dice.next(LATE_MS_MAX)); // its answer is nobody's
    this.#count(kind);
    const way = dice.next(8);
    if (way === 0) return { pieces: [], pauseMs: 0, then: "stall" };
    if (way < 4) return { pieces: [], pauseMs: 0, then: "reset" };
    return plainDelivery(refusalOf(way < 6 ? "500" : "503", dice, Date.now())!);
  }

  async #otherRange(dice: Random, asked: Asked, number: number): Promise<Delivery | undefined> {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(asked.request.headers.get("range") ?? "") ?? [];
    if (last === undefined) return undefined;
    if (dice.next(2) === 0) {
      const answer = await this.#true(asked, number);
      return this.#counted("other range", faultyDelivery("other range", dice, answer, 0)) ??
        plainDelivery(answer);
    }
    const by = (1 + dice.next(SHIFT_MAX)) * (Number(first) > SHIFT_MAX ? -1 : 1);
    const range = `bytes=${Number(first) + by}-${Number(last) + by}`;
    const headers = new Map(asked.request.headers).set("range", range);
    const answer = await this.#parts.ask({ ...asked.request, headers });
    return answer.status === 206 ? this.#counted("other range", plainDelivery(answer)) : undefined;
  }

  async #whole({ request }: Asked): Promise<Delivery | undefined> {
    const headers = new Map(request.headers);
    if (!headers.delete("range")) return undefined;
    const answer = await this.#parts.ask({ ...request, headers });
    return answer.status === 200 ? this.#counted("range ignored", plainDelivery(answer)) : undefined;
  }

  async #otherListing(
    kind: FaultKind,
    dice: Random,
    asked: Asked,
    number: number,
  ): Promise<Delivery | undefined> {
    const answer = await this.#true(asked, number);
    if (asked.listed === undefined || answer.status !== 200) return plainDelivery(answer);
    const page = new ListingPage(String(answer.body));
    const body = kind === "stale listing"
      ? this.#parts.history.older(asked.listed, page, dice)
      : incomplete(page, dice);
    if (body === undefined) return plainDelivery(answer);
    return this.#counted(kind, plainDelivery({ ...answer, body }));
  }

  /** Waits until a request that came later is answered; where none is, nothing was reordered. */
  async #overtaken(number: number): Promise<void> {
    if (this.#answered > number) return this.#count("reordered");
    await new Promise<void>((resolve) => {
      const release = (isOvertaken: boolean) => {
        clearTimeout(timer);
        this.#held.delete(overtake);
        if (isOvertaken) this.#count("reordered");
        resolve();
      };
      const overtake = () => release(true);
      const timer = setTimeout(() => release(false), OVERTAKEN_MS);
      this.#held.add(overtake);
    });
  }
}

function incomplete(page: ListingPage, dice: Random): Buffer | undefined {
  const keys = [...page.objects.keys()];
  if (keys.length === 0) return undefined;
  const missing = new Set([keys[dice.next(keys.length)]!, ...keys.filter(() => dice.next(6) === 0)]);
  return page.without((key) => missing.has(key));
}
