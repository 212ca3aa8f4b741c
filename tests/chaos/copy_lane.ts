/**
 * A lane with a local copy that the next opening goes on with.
 *
 * @module
 */
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Replica } from "../../mod.ts";
import { openPlain } from "../support/sqlite.ts";
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
import { type ModelPrimary, STATE_SQL } from "./model_primary.ts";
import { BrokenPromise } from "./promise_check.ts";

const HYDRATED_MS = 3_000;

/** Hydrates, reads, closes, and has a plain SQLite look at what is left. */
export class CopyLane implements Lane {
  readonly #tools: LaneTools;
  readonly #primary: ModelPrimary;
  readonly #path: string;

  constructor(parts: LaneParts, primary: ModelPrimary) {
    this.#tools = new LaneTools(parts);
    this.#primary = primary;
    this.#path = join(parts.folder, "copy.db");
  }

  async round(): Promise<void> {
    if (this.#tools.parts.random.next(4) === 0) this.#forget();
    const replica = await this.#tools.open({ hydrate: this.#path }, ["LocalFileError"]);
    if (replica) await this.#use(replica);
  }

  #forget(): void {
    for (const end of ["", "-sums", "-state", "-check"]) rmSync(this.#path + end, { force: true });
  }

  async #use(replica: Replica, timeoutMs = HYDRATED_MS): Promise<boolean> {
    const hydrated = await this.#tools.check.run({
      name: "hydrate",
      deadlineMs: timeoutMs + GRACE_MS,
      also: ["LocalFileError"],
      act: async () => {
        await replica.hydrated({ timeoutMs });
        return true;
      },
    });
    await this.#tools.check.run({
      name: "query with a copy",
      deadlineMs: QUERY_MS,
      act: () => this.#read(replica),
    });
    const isWhole = replica.hydration?.phase === "whole";
    await this.#tools.close(replica);
    if (isWhole) await this.#look();
    return hydrated === true;
  }

  async #read(replica: Replica): Promise<void> {
    const name = await this.#tools.connect(replica);
    try {
      checkedTxid(this.#primary, await this.#tools.run(name, ...STATE_QUERY));
      await this.#tools.run(name, "COMMIT", "SELECT 1");
    } finally {
      await this.#tools.disconnect(name);
    }
  }

  /** The copy is a database of its own: one of the states. */
  async #look(): Promise<void> {
    await this.#tools.check.run({
      name: "look at the copy",
      deadlineMs: GRACE_MS,
      act: async () => {
        if (!existsSync(this.#path)) throw new BrokenPromise("there is no copy");
        const plain = await openPlain(this.#path);
        try {
          const check = Object.values(plain.all("PRAGMA integrity_check")[0]!).join();
          if (check !== "ok") throw new BrokenPromise(`the copy's check: ${check}`);
          const [head] = plain.all("SELECT generation FROM head");
          const state = plain.all(STATE_SQL)[0]!.state;
          if (this.#primary.stateAt(BigInt(Number(head!.generation))) !== state) {
            throw new BrokenPromise(`the copy is no state: ${state}`);
          }
        } finally {
          plain.close();
        }
      },
    });
  }

  async recover(): Promise<void> {
    const replica = await this.#tools.open({ ...PATIENT, hydrate: this.#path });
    if (replica === undefined) {
      return this.#tools.check.broken(
        `it does not open when nothing goes wrong: ${this.#tools.check.failure}`,
      );
    }
    if (!await this.#use(replica, PATIENT.openTimeoutMs)) {
      this.#tools.check.broken(
        `there is no whole copy when nothing goes wrong: ${this.#tools.check.failure}`,
      );
    }
  }

  async close(): Promise<void> {
    await this.#tools.asker.close();
  }
}
