/**
 * Delays from an upload to a reader, and how they are distributed.
 *
 * @module
 */
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { decodeHeader, HEADER_SIZE } from "../../src/ltx/header.ts";
import { sleep } from "./follow_reader.ts";

/** How some numbers are distributed. */
export interface Distribution {
  readonly count: number;
  readonly median: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** The distribution of some numbers; zeros where there are none. */
export function distribution(values: readonly number[]): Distribution {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  const [median, p90, p99, max] = [at(0.5), at(0.9), at(0.99), at(1)].map(Math.round) as [
    number,
    number,
    number,
    number,
  ];
  return { count: sorted.length, median, p90, p99, max };
}

/** When a transaction's file was made and when its upload ended, in ms. */
export interface Upload {
  /** What the file says of itself; retention counts from here. */
  readonly createdMs: number;
  /** When the file was last written to where it lies. */
  readonly endedMs: number;
}

/** A time in which nothing ran on this machine, in ms. */
export type Pause = readonly [number, number];

/** Notes when each transaction's file came into a folder. */
export class UploadWatch {
  /** By TXID. */
  readonly uploads = new Map<string, Upload>();
  readonly #folder: string;
  #isOver = false;

  /** `folder` is that of level 0. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Looks until {@link stop}. */
  async run(): Promise<void> {
    while (!this.#isOver) {
      await this.look();
      await sleep(100);
    }
  }

  stop(): void {
    this.#isOver = true;
  }

  /** Looks once. */
  async look(): Promise<void> {
    const names = await readdir(this.#folder).catch(() => []);
    for (const name of names) {
      const txid = name.slice(0, 16);
      if (!/^[0-9a-f]{16}-[0-9a-f]{16}\.ltx$/.test(name) || this.uploads.has(txid)) continue;
      const found = await readUpload(join(this.#folder, name)).catch(() => undefined);
      if (found) this.uploads.set(txid, found);
    }
  }

  /**
   * From each upload's end to the first of some sights of its TXID or a later one, in ms; `missed` were never seen.
   * Leaves out uploads after `untilMs`, and times with a pause of the machine.
   */
  delays(
    sights: readonly (readonly [string, number])[],
    { untilMs, pauses }: { untilMs: number; pauses: readonly Pause[] },
  ): { delays: number[]; missed: string[] } {
    const first = sights[0];
    const delays: number[] = [];
    const missed: string[] = [];
    if (first === undefined) return { delays, missed: [...this.uploads.keys()] };
    const sorted = [...this.uploads].sort(([a], [b]) => a < b ? -1 : 1);
    let next = 0;
    for (const [txid, { endedMs }] of sorted) {
      if (txid <= first[0] || endedMs > untilMs) continue;
      while (next < sights.length && sights[next]![0] < txid) next++;
      const seenMs = sights[next]?.[1];
      if (seenMs === undefined) missed.push(txid);
      else if (!isPaused(pauses, endedMs, seenMs)) delays.push(seenMs - endedMs);
    }
    return { delays, missed };
  }
}

async function readUpload(path: string): Promise<Upload> {
  const file = await open(path, "r");
  try {
    const { buffer } = await file.read(new Uint8Array(HEADER_SIZE), 0, HEADER_SIZE, 0);
    const { mtimeMs } = await file.stat();
    return { createdMs: decodeHeader(buffer, { key: path }).timestampMs, endedMs: mtimeMs };
  } finally {
    await file.close();
  }
}

/** Whether the machine stood still between two times. */
export function isPaused(pauses: readonly Pause[], fromMs: number, toMs: number): boolean {
  return pauses.some(([pausedMs, resumedMs]) => pausedMs < toMs && resumedMs > fromMs);
}
