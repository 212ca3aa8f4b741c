/**
 * A lane that opens a replica anew each time, and asks it one thing.
 *
 * @module
 */
import { readFile, rm } from "node:fs/promises";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import type { Replica } from "../../mod.ts";
import {
  checkedTxid,
  GRACE_MS,
  type Lane,
  type LaneParts,
  LaneTools,
  PATIENT,
  QUERY_MS,
  STATE_QUERY,
} from "./lane.ts";
import type { ModelPrimary } from "./model_primary.ts";
import { BrokenPromise } from "./promise_check.ts";

/** Openings until one must go well when nothing goes wrong: files may be compacted away under one. */
const OPENINGS_MAX = 2;

/** Opens, asks, closes. */
export class OpenLane implements Lane {
  readonly #tools: LaneTools;
  readonly #primary: ModelPrimary;

  constructor(parts: LaneParts, primary: ModelPrimary) {
    this.#tools = new LaneTools(parts);
    this.#primary = primary;
  }

  async round(): Promise<void> {
    const { random } = this.#tools.parts;
    const replica = await this.#tools.open();
    if (replica === undefined) return;
    const asks = [
      this.#query,
      this.#query,
      this.#past,
      this.#restore,
      this.#restore,
      this.#points,
      this.#refresh,
    ];
    await asks[random.next(asks.length)]!.call(this, replica);
    await this.#tools.close(replica);
  }

  async recover(): Promise<void> {
    for (let attempt = 1;; attempt++) {
      const replica = await this.#tools.open(PATIENT);
      if (replica === undefined && attempt < OPENINGS_MAX) continue;
      if (replica === undefined) {
        return this.#tools.check.broken(
          `it does not open when nothing goes wrong: ${this.#tools.check.failure}`,
        );
      }
      await this.#query(replica);
      return await this.#tools.close(replica);
    }
  }

  async #query(replica: Replica): Promise<void> {
    await this.#tools.check.run({
      name: "query",
      deadlineMs: QUERY_MS,
      act: () => this.#read(replica),
    });
  }

  async #read(replica: Replica, asOf?: bigint): Promise<bigint> {
    const tools = this.#tools;
    const name = await tools.connect(replica, asOf);
    try {
      const txid = checkedTxid(this.#primary, await tools.run(name, ...STATE_QUERY));
      await tools.run(name, "COMMIT", "SELECT 1");
      return txid;
    } finally {
      await tools.disconnect(name);
    }
  }

  async #past(replica: Replica): Promise<void> {
    const newest = Number(this.#primary.txid);
    const txid = BigInt(Math.max(1, newest - this.#tools.parts.random.next(30)));
    await this.#tools.check.run({
      name: "query the past",
      deadlineMs: QUERY_MS,
      act: async () => {
        const found = await this.#read(replica, txid);
        if (found !== txid) throw new BrokenPromise(`asked for TXID ${txid}, and ${found} is shown`);
      },
    });
  }

  async #restore(replica: Replica): Promise<void> {
    const path = join(this.#tools.parts.folder, "restored.db");
    await this.#tools.check.run({
      name: "restore",
      deadlineMs: 60_000,
      act: async () => {
        const { txid } = await replica.restore(path, { force: true });
        const wanted = this.#primary.bytesAt(txid);
        if (wanted && Buffer.compare(await readFile(path), wanted) === 0) return;
        throw new BrokenPromise(`what was restored is not TXID ${txid}`);
      },
    });
    for (const end of ["", ".partial"]) await rm(path + end, { force: true });
  }

  async #points(replica: Replica): Promise<void> {
    await this.#tools.check.run({
      name: "points",
      deadlineMs: 30_000,
      act: async () => {
        for (const { txid } of await replica.points({ exact: true })) {
          if (this.#primary.stateAt(txid) === undefined) throw new BrokenPromise(`there is no TXID ${txid}`);
        }
      },
    });
  }

  async #refresh(replica: Replica): Promise<void> {
    const before = replica.txid;
    await this.#tools.check.run({
      name: "refresh",
      deadlineMs: 30_000 + GRACE_MS,
      act: async () => {
        const txid = await replica.refresh();
        if (txid < before) throw new BrokenPromise(`TXID ${txid} after ${before}`);
      },
    });
    await this.#query(replica);
  }

  async close(): Promise<void> {
    await this.#tools.asker.close();
  }
}
