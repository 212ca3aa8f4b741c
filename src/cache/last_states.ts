/**
 * The last state of a replica that was seen, kept on disk: with it, and the ranges beside it, a replica is
 * opened that cannot be reached.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
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

const FORMAT = "litestream-vfs last state 1";

/** The last states of one replica. */
export class LastStates {
  readonly #folder: CacheFolder;
  readonly #place: string;
  readonly #onNotice: (text: string) => void;
  #take: (() => Omit<LastState, "seenMs">) | undefined;
  #seenMs = 0;
  /** Checksum of the state that was written last. */
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
    const sealed = await readSealed(this.#folder.planPath(this.#place, ".json"));
    const state = sealed && await decodeState(sealed.text, this.#place);
    if (state === undefined) return undefined;
    const seen = await readSealed(this.#folder.planPath(this.#place, ".seen"));
    const [checksum, ms] = seen?.text.split(" ") ?? [];
    const seenMs = checksum === sealed?.checksum && Number.isFinite(Number(ms)) ? Number(ms) : 0;
    return { ...state, seenMs: Math.max(state.seenMs, seenMs) };
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
    const state = this.#isChanged ? this.#take?.() : undefined;
    const isNews = state !== undefined || this.#isSeen;
    if (this.#seenMs === 0 || !isNews || state?.plan.length === 0) return;
    const seenMs = this.#seenMs;
    this.#isChanged = this.#isSeen = false;
    this.#fileCount = state?.files.length ?? this.#fileCount;
    this.#writing = this.#writing.then(() => this.#writeNow(state, seenMs)).catch((error) => {
      if (!this.#isFaultTold) this.#onNotice(`The last state is not kept: ${error.message}`);
      this.#isFaultTold = true;
    });
  }

  async #writeNow(state: Omit<LastState, "seenMs"> | undefined, seenMs: number): Promise<void> {
    const [folder, place] = [this.#folder, this.#place];
    if (state) {
      const text = await encodeState({ ...state, seenMs }, place);
      await folder.write(folder.planPath(place, ".json"), seal(text));
      this.#written = hashOf(text);
    } else if (this.#written !== "") {
      await folder.write(folder.planPath(place, ".seen"), seal(`${this.#written} ${seenMs}`));
    }
  }
}

/** A text under its checksum. */
function seal(text: string): Uint8Array {
  return new TextEncoder().encode(`${hashOf(text)}\n${text}`);
}

async function readSealed(path: string): Promise<{ text: string; checksum: string } | undefined> {
  const whole = await readFile(path, "utf8").catch(() => "");
  const [checksum, text] = [whole.slice(0, 64), whole.slice(65)];
  return whole[64] === "\n" && hashOf(text) === checksum ? { text, checksum } : undefined;
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
