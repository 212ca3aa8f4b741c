/**
 * A folder whose files are taken away, cut, damaged and put back, by a seed, while others read it.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { copyFile, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Random } from "../support/random.ts";
import type { FaultCounts } from "./promise_check.ts";

/** What is done to files; each is told apart where it is counted. */
export const RUDE_KINDS = ["file removed", "file renamed", "file cut", "file damaged"] as const;

type RudeKind = typeof RUDE_KINDS[number];

const AWAY_MS_MAX = 120;
const PAUSE_MS_MAX = 12;

/** Goes through a replica's folder. */
export class RudeFolder {
  readonly #path: string;
  readonly #random: Random;
  readonly #counts: Record<RudeKind, number> = {
    "file removed": 0,
    "file renamed": 0,
    "file cut": 0,
    "file damaged": 0,
  };
  #isStorming = false;
  #going: Promise<void> | undefined;

  constructor(path: string, seed: number) {
    this.#path = path;
    this.#random = new Random(seed);
  }

  counts(): FaultCounts {
    return { ...this.#counts };
  }

  storm(): void {
    if (this.#isStorming) return;
    this.#isStorming = true;
    this.#going = this.#go();
  }

  /** All is put back. */
  async calm(): Promise<void> {
    this.#isStorming = false;
    await this.#going;
  }

  async #go(): Promise<void> {
    while (this.#isStorming) {
      await this.#once();
      await pause(this.#random.next(PAUSE_MS_MAX));
    }
  }

  async #once(): Promise<void> {
    const names = (await readdir(this.#path, { recursive: true })).filter((name) => name.endsWith(".ltx"));
    if (names.length === 0) return;
    const path = join(this.#path, names[this.#random.next(names.length)]!);
    const kind = RUDE_KINDS[this.#random.next(RUDE_KINDS.length)]!;
    const kept = `${path}.kept`;
    try {
      await copyFile(path, kept);
      await this.#change(kind, path);
    } catch (error) {
      await rm(kept, { force: true });
      if ((error as { code?: string }).code !== "ENOENT") throw error;
      return; // retention was faster
    }
    this.#counts[kind]++;
    await pause(this.#random.next(AWAY_MS_MAX));
    await rm(`${path}.moved`, { force: true });
    await rename(kept, path);
  }

  async #change(kind: RudeKind, path: string): Promise<void> {
    if (kind === "file removed") return await rm(path);
    if (kind === "file renamed") return await rename(path, `${path}.moved`);
    const bytes = await readFile(path);
    const isCut = kind === "file cut";
    if (!isCut) bytes[this.#random.next(bytes.length)]! ^= 1 << this.#random.next(8);
    const changed = isCut ? bytes.subarray(0, this.#random.next(bytes.length)) : bytes;
    // in place, or as another file of the same name
    if (this.#random.next(2) === 0 && existsSync(path)) return await writeFile(path, changed);
    await writeFile(`${path}.moved`, changed);
    await rename(`${path}.moved`, path);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
