/**
 * The last state of a replica that was seen, kept on disk: with it, and the ranges beside it, a replica is
 * opened that cannot be reached.
 *
 * @module
 */
import { open, readFile } from "node:fs/promises";
import { Pace } from "../pace.ts";
import type { ReplicaFile } from "../view/restore_plan.ts";
import { type CacheFolder, hashOf } from "./cache_folder.ts";

/** One state, as it was known when it was seen. */
export interface LastState {
  readonly txid: bigint;
  /** The files that it was made of, in order. */
  readonly plan: readonly ReplicaFile[];
  /** All files that were known, these among them. */
  readonly files: readonly ReplicaFile[];
  /** When the replica was last seen by this state's process, by the wall clock. */
  readonly seenMs: number;
}

/** How often a new state is written at most, and how often only that it is still the newest, in ms. */
const STATE_MS = 1_000;
const SEEN_MS = 5_000;

/** A replica of many files is written less often: this much more for each, in ms. */
const FILE_MS = 1;

/** Files that are put into words before the loop may turn. */
const FILES_BETWEEN_LOOKS = 256;

/** Clocks of processes that share a folder differ by less; a time further ahead was a clock's that was set wrong. */
const SKEW_MS = 60_000;

/** Digits of a checksum, at the beginning of each file. */
const CHECKSUM_SIZE = 64;

const FORMAT = "litestream-vfs last state 1";

/** The last states of one replica. */
export class LastStates {
  readonly #folder: CacheFolder;
  readonly #place: string;
  readonly #onNotice: (text: string) => void;
  #take: (() => Omit<LastState, "seenMs">) | undefined;
  #seenMs = 0;
  /** Checksum of the state that was written last, by this process or, the same one, by another. */
  #written = "";
  #fileCount = 0;
  #isChanged = false;
  #isSeen = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #writing: Promise<void> = Promise.resolve();
  #isClosed = false;
  #isFaultTold = false;

  /** `place` tells replicas apart. */
  constructor(folder: CacheFolder, place: string, onNotice: (text: string) => void) {
    this.#folder = folder;
    this.#place = place;
    this.#onNotice = onNotice;
  }

  /** The last state that was kept; undefined where there is none that is whole. */
  async load(): Promise<LastState | undefined> {
    return (await this.#read())?.state;
  }

  /** What is kept, with its checksum. */
  async #read(): Promise<{ state: LastState; checksum: string } | undefined> {
    const sealed = await readSealed(this.#folder.planPath(this.#place, ".json"));
    const state = sealed && await decodeState(sealed.text, this.#place);
    if (state === undefined) return undefined;
    const { checksum } = sealed!;
    const seenMs = Math.max(state.seenMs, await this.#seenOf(checksum));
    return { state: { ...state, seenMs }, checksum };
  }

  /** When the state of this checksum was seen again; 0 where nobody says so. */
  async #seenOf(checksum: string): Promise<number> {
    const seen = await readSealed(this.#folder.planPath(this.#place, ".seen"));
    const [of, ms] = seen?.text.split(" ") ?? [];
    return of === checksum && Number.isFinite(Number(ms)) ? Number(ms) : 0;
  }

  /** The newest state is another one, or lies elsewhere: `take` gives it when it is written. */
  changed(take: () => Omit<LastState, "seenMs">): void {
    this.#take = take;
    this.#isChanged = true;
    if (this.#seenMs > 0) this.#schedule(STATE_MS + this.#fileCount * FILE_MS);
  }

  /** The replica was seen now, or at `seenMs`. */
  seen(seenMs: number = Date.now()): void {
    this.#seenMs = seenMs;
    this.#isSeen = true;
    this.#schedule(this.#isChanged ? STATE_MS + this.#fileCount * FILE_MS : SEEN_MS);
  }

  /** Writes what is not written yet. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.flush();
  }

  /** Writes it now. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#write();
    await this.#writing;
  }

  #schedule(ms: number): void {
    if (this.#isClosed) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#write();
    }, ms);
  }

  #write(): void {
    const [isChanged, seenMs] = [this.#isChanged, this.#seenMs];
    if (seenMs === 0 || !(isChanged || this.#isSeen)) return;
    const state = this.#take?.();
    if (isChanged && state?.plan.length === 0) return;
    this.#isChanged = this.#isSeen = false;
    this.#fileCount = state?.files.length ?? this.#fileCount;
    this.#writing = this.#writing.then(() => this.#writeNow({ state, isChanged, seenMs })).catch((error) => {
      if (!this.#isFaultTold) this.#onNotice(`The last state is not kept: ${error.message}`);
      this.#isFaultTold = true;
    });
  }

  /**
   * Writes the state, or, where it is there already, only that it was seen again. What another process has seen since
   * stays; what it saw before, and wrote later, does not.
   */
  async #writeNow({ state, isChanged, seenMs }: News): Promise<void> {
    const path = this.#folder.planPath(this.#place, ".json");
    const isOwn = this.#written !== "" && await checksumAt(path) === this.#written;
    const isKnown = state !== undefined && state.plan.length > 0;
    const there = isOwn || !isKnown ? undefined : await this.#read();
    if (there && isLater(there.state.seenMs, seenMs)) return;
    const isThere = there ? isSame(there.state, state!) : isOwn && !isChanged;
    if (isKnown && !isThere) return await this.#writeState(path, { ...state, seenMs });
    if (there) this.#written = there.checksum;
    if (this.#written !== "") await this.#writeSeen(seenMs);
  }

  async #writeState(path: string, state: LastState): Promise<void> {
    const text = await encodeState(state, this.#place);
    await this.#folder.write(path, seal(text));
    this.#written = hashOf(text);
  }

  async #writeSeen(seenMs: number): Promise<void> {
    if (isLater(await this.#seenOf(this.#written), seenMs)) return;
    const path = this.#folder.planPath(this.#place, ".seen");
    await this.#folder.write(path, seal(`${this.#written} ${seenMs}`));
  }
}

/** What there is to write. */
interface News {
  /** Undefined where none was told. */
  readonly state: Omit<LastState, "seenMs"> | undefined;
  /** Whether it is another one than was written last. */
  readonly isChanged: boolean;
  readonly seenMs: number;
}

/** Whether somebody has seen a replica later than at `thanMs`. */
function isLater(seenMs: number, thanMs: number): boolean {
  return seenMs > thanMs && seenMs <= Date.now() + SKEW_MS;
}

/** Whether two states are one, made of the same files. */
function isSame(a: Omit<LastState, "seenMs">, b: Omit<LastState, "seenMs">): boolean {
  const names = ({ plan }: Omit<LastState, "seenMs">) =>
    plan.map(({ key, etag }) => `${key}\n${etag}`).join("\n");
  return a.txid === b.txid && names(a) === names(b);
}

/** The checksum that a file says it has; empty where there is no such file. */
async function checksumAt(path: string): Promise<string> {
  const file = await open(path, "r").catch(() => undefined);
  if (file === undefined) return "";
  try {
    const bytes = new Uint8Array(CHECKSUM_SIZE);
    const { bytesRead } = await file.read(bytes, 0, CHECKSUM_SIZE, 0);
    return new TextDecoder().decode(bytes.subarray(0, bytesRead));
  } finally {
    await file.close();
  }
}

/** A text under its checksum. */
function seal(text: string): Uint8Array {
  return new TextEncoder().encode(`${hashOf(text)}\n${text}`);
}

async function readSealed(path: string): Promise<{ text: string; checksum: string } | undefined> {
  const whole = await readFile(path, "utf8").catch(() => "");
  const [checksum, text] = [whole.slice(0, CHECKSUM_SIZE), whole.slice(CHECKSUM_SIZE + 1)];
  return whole[CHECKSUM_SIZE] === "\n" && hashOf(text) === checksum ? { text, checksum } : undefined;
}

/** A line of what it is, then one for each file, those of the plan first. */
async function encodeState({ txid, plan, files, seenMs }: LastState, place: string): Promise<string> {
  const pace = new Pace();
  const all = new Map([...plan, ...files].map((file) => [`${file.key}\n${file.etag}`, file]));
  const lines = [
    JSON.stringify({ format: FORMAT, place, txid: String(txid), seenMs, planCount: plan.length }),
  ];
  for (const { level, key, etag, size, modifiedMs, minTxid, maxTxid } of all.values()) {
    lines.push(JSON.stringify([level, key, etag, size, modifiedMs, String(minTxid), String(maxTxid)]));
    if (lines.length % FILES_BETWEEN_LOOKS === 0) await pace.turn();
  }
  return lines.join("\n");
}

/** Undefined where the text is none of ours, or of another version of this package. */
async function decodeState(text: string, place: string): Promise<LastState | undefined> {
  const pace = new Pace();
  const [first, ...lines] = text.split("\n");
  if (!first!.startsWith(`{"format":${JSON.stringify(FORMAT)}`)) return undefined;
  const head = JSON.parse(first!);
  if (head.place !== place) return undefined;
  const files: ReplicaFile[] = [];
  for (const line of lines) {
    const [level, key, etag, size, modifiedMs, minTxid, maxTxid] = JSON.parse(line);
    files.push({ level, key, etag, size, modifiedMs, minTxid: BigInt(minTxid), maxTxid: BigInt(maxTxid) });
    if (files.length % FILES_BETWEEN_LOOKS === 0) await pace.turn();
  }
  if (head.planCount < 1) return undefined;
  return { txid: BigInt(head.txid), plan: files.slice(0, head.planCount), files, seenMs: head.seenMs };
}
