/**
 * A lane that keeps one replica open, and sees it go on.
 *
 * @module
 */
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

/** Between two reads of a transaction that stays open, in ms. */
const PINNED_MS = 60;
/**
 * How long it may take until what is new is seen once nothing goes wrong, in ms of the time that was given: where the last
 * listing lied, until the next one, 30 s later.
 */
const RECOVERY_MS = 45_000;
/** Rounds with one replica; the next one is another. */
const ROUNDS_MAX = 400;

/** Follows. */
export class FollowLane implements Lane {
  readonly #tools: LaneTools;
  readonly #primary: ModelPrimary;
  readonly #more: { readonly hydrate?: boolean };
  #open: { readonly replica: Replica; readonly name: string } | undefined;
  #rounds = 0;
  /** What the connection saw last. */
  #txid = 0n;

  /** `more` is what it is opened with besides; `hydrate` for a private copy. */
  constructor(parts: LaneParts, primary: ModelPrimary, more: { readonly hydrate?: boolean } = {}) {
    this.#tools = new LaneTools(parts);
    this.#primary = primary;
    this.#more = more;
  }

  async round(): Promise<void> {
    if (this.#open === undefined) return await this.#begin();
    if (++this.#rounds % ROUNDS_MAX === 0) return await this.#end();
    const { random } = this.#tools.parts;
    const turn = random.next(8);
    if (turn === 0) await this.#pinned(this.#open);
    else if (turn === 1) await this.#wait(this.#open.replica);
    else if (turn < 5) await this.#refresh(this.#open.replica);
    else await this.#query(this.#open);
    await new Promise((resolve) => setTimeout(resolve, random.next(40)));
  }

  async #begin(patience: Partial<typeof PATIENT> = {}): Promise<void> {
    const replica = await this.#tools.open({ ...this.#more, ...patience });
    if (replica === undefined) return;
    this.#txid = 0n;
    replica.on(
      "replaced",
      () => this.#tools.check.broken(`it says that the replica was replaced: ${this.#tools.check.failure}`),
    );
    const name = await this.#tools.check.run({
      name: "connect",
      deadlineMs: QUERY_MS,
      act: () => this.#tools.connect(replica),
    });
    if (name === undefined) await this.#tools.close(replica);
    else this.#open = { replica, name };
  }

  async #end(): Promise<void> {
    if (this.#open === undefined) return;
    const { replica, name } = this.#open;
    this.#open = undefined;
    await this.#tools.disconnect(name);
    await this.#tools.close(replica);
  }

  /** What is seen is a state, and no older one than before. */
  #seen(txid: bigint): void {
    if (txid < this.#txid) throw new BrokenPromise(`TXID ${txid} is seen after ${this.#txid}`);
    this.#txid = txid;
  }

  async #query({ name }: { name: string }): Promise<void> {
    await this.#tools.check.run({
      name: "follow",
      deadlineMs: QUERY_MS,
      act: async () => {
        this.#seen(checkedTxid(this.#primary, await this.#tools.run(name, ...STATE_QUERY)));
        await this.#tools.run(name, "COMMIT", "SELECT 1");
      },
    });
  }

  /** A transaction that stays open while others are committed sees what it saw. */
  async #pinned({ name }: { name: string }): Promise<void> {
    await this.#tools.check.run({
      name: "follow, pinned",
      deadlineMs: 2 * QUERY_MS,
      act: async () => {
        const txid = checkedTxid(this.#primary, await this.#tools.run(name, ...STATE_QUERY));
        this.#seen(txid);
        await new Promise((resolve) => setTimeout(resolve, PINNED_MS));
        const again = checkedTxid(this.#primary, await this.#tools.run(name, STATE_QUERY.at(-1)!));
        if (again !== txid) throw new BrokenPromise(`one transaction sees TXID ${txid}, then ${again}`);
        await this.#tools.run(name, "COMMIT", "SELECT 1");
      },
    });
  }

  /** Looks now: listings, however the last one was. */
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
  }

  async #wait(replica: Replica): Promise<void> {
    const { txid } = this.#primary;
    const timeoutMs = 1_000;
    await this.#tools.check.run({
      name: "wait for a transaction",
      deadlineMs: timeoutMs + GRACE_MS,
      act: async () => {
        const seen = await replica.waitFor(txid, { timeoutMs });
        if (seen < txid) throw new BrokenPromise(`waited for TXID ${txid}, and ${seen} is seen`);
      },
    });
  }

  /** By itself: what is newest now comes to be seen. */
  async recover(): Promise<void> {
    if (this.#open === undefined) await this.#begin(PATIENT);
    if (this.#open === undefined) {
      return this.#tools.check.broken(
        `it does not open when nothing goes wrong: ${this.#tools.check.failure}`,
      );
    }
    const { replica } = this.#open;
    const { txid } = this.#primary;
    const { faults } = this.#tools.parts.place;
    const endMs = faults.givenMs + RECOVERY_MS;
    while (replica.txid < txid && faults.givenMs < endMs) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    if (replica.txid < txid) {
      const reason = `${replica.lastError}`;
      return this.#tools.check.broken(`at TXID ${replica.txid} it does not come to see ${txid}: ${reason}`);
    }
    // A busy machine may keep a page from coming within a read's time; the next read has time of its own.
    do await this.#query(this.#open); while (this.#txid < txid && faults.givenMs < endMs);
    if (this.#txid >= txid) return;
    this.#tools.check.broken(
      `a transaction sees TXID ${this.#txid}, after ${txid} came: ${this.#tools.check.failure}`,
    );
  }

  async close(): Promise<void> {
    await this.#end();
    await this.#tools.asker.close();
  }
}
