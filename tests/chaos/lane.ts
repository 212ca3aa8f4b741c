/**
 * A lane: one user of a replica under faults of its own, and what it can check.
 *
 * @module
 */
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import type { Random } from "../support/random.ts";
import type { Row } from "../support/sqlite.ts";
import { Asker } from "./asker.ts";
import { type ModelPrimary, STATE_SQL } from "./model_primary.ts";
import { BrokenPromise, type FaultSource, type Outcomes, PromiseCheck } from "./promise_check.ts";

/** A replica as a lane reaches it. */
export interface LanePlace {
  readonly url: string | undefined;
  /** What it takes to open it, such as keys. */
  readonly access: OpenOptions;
  readonly faults: FaultSource;
}

/** What a lane is made of. */
export interface LaneParts {
  readonly place: LanePlace;
  readonly random: Random;
  readonly outcomes: Outcomes;
  /** Names it where something is wrong. */
  readonly label: string;
  /** A folder of its own. */
  readonly folder: string;
  /** Whether it queries on a thread of its own. */
  readonly hasThread: boolean;
}

/** Something that is done again and again. */
export interface Lane {
  /** What comes before all faults. */
  begin?(): Promise<void>;
  /** What it does under faults, once. */
  round(): Promise<void>;
  /** What must hold once nothing goes wrong any more. */
  recover(): Promise<void>;
  close(): Promise<void>;
}

/** Beyond a deadline, in ms of the time that was given: what it takes to be told. */
export const GRACE_MS = 3_000;

/** How a lane opens its replica: short times, so that stalls cost little; now and then long ones, so that they are waited out. */
export function openOptions(
  random: Random,
): Required<Pick<OpenOptions, "openTimeoutMs" | "readTimeoutMs">> & OpenOptions {
  return {
    openTimeoutMs: 3_000 + random.next(6_000),
    readTimeoutMs: 2_000 + random.next(6_000),
    requestTimeoutMs: [800, 2_000, 6_000][random.next(3)]!,
    pollIntervalMs: 15 + random.next(60),
    prefetch: random.next(3) === 0 ? "off" : "auto",
    log: () => {},
  };
}

/** How it does where nothing goes wrong, however busy the machine is. */
export const PATIENT = { openTimeoutMs: 60_000, readTimeoutMs: 60_000, requestTimeoutMs: 30_000 } as const;

/** What lanes have in common. */
export class LaneTools {
  readonly parts: LaneParts;
  readonly check: PromiseCheck;
  readonly asker: Asker;
  #names = 0;

  constructor(parts: LaneParts) {
    this.parts = parts;
    this.asker = new Asker(parts.hasThread);
    this.check = new PromiseCheck(parts.place.faults, parts.outcomes, parts.label);
  }

  /** Opens the replica; undefined where that failed as it may. */
  async open(more: OpenOptions = {}, also: readonly string[] = []): Promise<Replica | undefined> {
    const { place, random } = this.parts;
    const options = { ...openOptions(random), ...place.access, ...more };
    return await this.check.run({
      name: more.write ? "open to write" : more.hydrate ? "open with a copy" : "open",
      deadlineMs: options.openTimeoutMs + GRACE_MS,
      also,
      act: () => place.url === undefined ? openReplica(options) : openReplica(place.url, options),
    });
  }

  /** Closes a replica; nothing may keep that from being done. */
  async close(replica: Replica, name = "close"): Promise<void> {
    await this.check.run({ name, deadlineMs: 12_000 + GRACE_MS, act: () => replica.close() });
  }

  /** Opens a connection on the other thread; gives its name. */
  async connect(replica: Replica, asOf?: bigint): Promise<string> {
    const name = `connection ${++this.#names}`;
    const timeoutMs = READ_MS;
    const to = { shared: replica.share(), timeoutMs, ...(asOf === undefined ? {} : { asOf }) };
    await this.asker.ask({ kind: "connect", name, to });
    return name;
  }

  /** Runs SQL there; the rows are the last statement's. */
  run(name: string, ...sql: string[]): Promise<Row[]> {
    return this.asker.ask({ kind: "run", name, sql });
  }

  disconnect(name: string): Promise<Row[]> {
    return this.asker.ask({ kind: "close", name });
  }
}

/** Longest wait of one read, in ms. */
export const READ_MS = 4_000;

/** Reads of a query: each has a deadline of its own. */
export const QUERY_MS = 6 * READ_MS + GRACE_MS;

/** Reads all of a state in one transaction. */
export const STATE_QUERY: readonly string[] = [
  "BEGIN",
  `SELECT litestream_txid() AS txid, (${STATE_SQL}) AS state`,
];

/**
 * The TXID of what was read.
 *
 * @throws {BrokenPromise} that transaction has never been, or its state was another one
 */
export function checkedTxid(primary: ModelPrimary, rows: readonly Row[]): bigint {
  const { txid, state } = rows[0] as { txid: string; state: string };
  const found = BigInt(`0x${txid}`);
  const wanted = primary.stateAt(found);
  if (wanted === state) return found;
  throw new BrokenPromise(
    `TXID ${found} of ${primary.txid} shows ${JSON.stringify(state)}, expected ${JSON.stringify(wanted)}`,
  );
}
