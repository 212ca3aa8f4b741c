/**
 * Requests to a server, one a second, by nothing of this project: how slow the server itself is.
 *
 * @module
 */
import { AwsClient } from "aws4fetch";
import type { S3Server } from "../support/real.ts";
import { sleep } from "./follow_reader.ts";

/** A listing that takes longer is slow, in ms. */
const SLOW_MS = 3_000;

/** How long before something the server must have been slow, to be its cause; in ms. */
const BEFORE_MS = 90_000;

/** Asks until it is stopped. */
export class Canary {
  readonly #server: S3Server;
  readonly #slow: number[] = [];
  #isStopped = false;
  #slowestMs = 0;

  constructor(server: S3Server) {
    this.#server = server;
    void this.#run();
  }

  async #run(): Promise<void> {
    const { accessKey: accessKeyId, secretKey: secretAccessKey, region, endpoint, bucket } = this.#server;
    const client = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 0 });
    for (; !this.#isStopped; await sleep(1_000)) {
      const beganMs = Date.now();
      try {
        const answer = await client.fetch(`${endpoint}/${bucket}?list-type=2`);
        await answer.text();
      } catch (error) {
        if (!this.#isStopped) console.error(`canary: ${error}`);
      }
      const tookMs = Date.now() - beganMs;
      this.#slowestMs = Math.max(this.#slowestMs, tookMs);
      if (tookMs > SLOW_MS) this.#slow.push(Date.now());
    }
  }

  /** The longest that a listing took, in ms. */
  get slowestMs(): number {
    return this.#slowestMs;
  }

  /** Whether it was slow shortly before a time. */
  wasSlow(atMs: number): boolean {
    return this.#slow.some((slowMs) => slowMs > atMs - BEFORE_MS && slowMs < atMs + BEFORE_MS);
  }

  stop(): void {
    this.#isStopped = true;
  }
}
