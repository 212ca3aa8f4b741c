/**
 * ExclusiveMove: a file that gets its name only where nothing has it.
 *
 * `MOVE` with `Overwrite: F` is to do that, and no server need do it at one stroke: of 12 at once Apache
 * 2.4.71 let two or more through in 6 rounds of 60 (`PUT` with `If-None-Match: *`: 18, `LOCK` of an absent
 * file: 47), while its `MKCOL` makes a folder once. rclone 1.75.2 locks the names of a `MOVE` (0 of 30), and
 * let several make one folder (22 of 30). So whoever moves makes a folder beside the key first, its claim,
 * and removes it afterwards: one of both holds on each of them. With both, one of 12 won in 60 rounds of 60
 * on either.
 *
 * @module
 */

import { sleep } from "../../sleep.ts";
import type { StorageRequest } from "../storage.ts";
import type { DavClient } from "./dav_client.ts";

const CLAIM = ".claim.tmp/";
/** A claim of this age is of somebody who has died; a move takes one request. In ms. */
const CLAIM_AGE_MAX_MS = 30_000;
const CLAIM_PAUSE_MS = 20;
/** Refusals to make a claim that is not there, after which it is no race. */
const REFUSALS_MAX = 5;
const CLEANUP_MS = 5_000;

/** After so long without a look a claim may be another one, in ms; attempts follow one another sooner. */
const SIGHT_MS = 20_000;

/** Moves files. */
export class ExclusiveMove {
  readonly #client: DavClient;
  readonly #now: () => number;
  /** When others' claims were first and last seen here, by {@link #now}: not every server tells a folder's time. */
  readonly #seen = new Map<string, { readonly sinceMs: number; readonly lastMs: number }>();

  /** `now` gives ms by a clock that nobody sets. */
  constructor(client: DavClient, now: () => number = () => performance.now()) {
    this.#client = client;
    this.#now = now;
  }

  /** Gives `from` the name `to`, unless something has it; whether it did. */
  async ifAbsent(from: string, to: string, request: StorageRequest): Promise<boolean> {
    return await this.#moveAlone(from, to, "F", request);
  }

  /**
   * Gives `from` the name `to`, whatever has it: Apache removes that first, and fails where another one did.
   */
  async replacing(from: string, to: string, request: StorageRequest): Promise<void> {
    await this.#moveAlone(from, to, "T", request);
  }

  async #moveAlone(
    from: string,
    to: string,
    overwrite: "T" | "F",
    request: StorageRequest,
  ): Promise<boolean> {
    const claim = to + CLAIM;
    for (let refusals = 0; !await this.#claim(claim, refusals, request);) {
      if (overwrite === "F" && await this.#client.find(to, 0, request) !== undefined) {
        this.#seen.delete(claim);
        return false;
      }
      const ageMs = await this.#ageMs(claim, request);
      if (ageMs === undefined) refusals++;
      else if (ageMs > CLAIM_AGE_MAX_MS) await this.#release(claim);
      await sleep(CLAIM_PAUSE_MS * (0.5 + Math.random()), request.signal);
    }
    try {
      return await this.#move(from, to, overwrite, request);
    } finally {
      await this.#release(claim);
    }
  }

  async #move(from: string, to: string, overwrite: "T" | "F", request: StorageRequest): Promise<boolean> {
    const headers = { destination: this.#client.urlOf(to), overwrite };
    const accepts = overwrite === "F" ? [412] : [];
    const ask = { method: "MOVE", kind: "put", key: from, headers, accepts } as const;
    return (await this.#client.send(ask, request)).ok;
  }

  /** Whether the claim was made: 405 says that it is there, 403 too where it came a moment before. */
  async #claim(claim: string, refusals: number, request: StorageRequest): Promise<boolean> {
    const accepts = refusals < REFUSALS_MAX ? [403, 405] : [405];
    return (await this.#client.send({ method: "MKCOL", kind: "put", key: claim, accepts }, request)).ok;
  }

  /** By the server's clock; undefined where there is no claim. */
  async #ageMs(claim: string, request: StorageRequest): Promise<number | undefined> {
    const found = await this.#client.find(claim, 0, request);
    if (found === undefined) {
      this.#seen.delete(claim);
      return undefined;
    }
    const modifiedMs = found.entries[0]?.modifiedMs ?? NaN;
    return Number.isNaN(modifiedMs) ? this.#seenForMs(claim) : found.nowMs - modifiedMs;
  }

  /** How long a claim has been seen at each look, in this attempt and those before; after a long pause it may be another one. */
  #seenForMs(claim: string): number {
    const nowMs = this.#now();
    const { sinceMs = nowMs, lastMs = nowMs } = this.#seen.get(claim) ?? {};
    const fromMs = nowMs - lastMs > SIGHT_MS ? nowMs : sinceMs;
    this.#seen.set(claim, { sinceMs: fromMs, lastMs: nowMs });
    return nowMs - fromMs;
  }

  /** Whatever has become of the request. */
  async #release(claim: string): Promise<void> {
    this.#seen.delete(claim);
    const request = { signal: AbortSignal.timeout(CLEANUP_MS), onProgress: () => {} };
    await this.#client.send({ method: "DELETE", kind: "remove", key: claim }, request).catch(() => {});
  }
}
