/**
 * What a process holds at one moment: memory, descriptors, threads, and the shim's own things.
 *
 * @module
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { loadNative } from "../../ffi/mod.ts";
import type { Native } from "../../ffi/native.ts";
import { loadablePath } from "../../mod.ts";
import { processCensus } from "./soak_support.ts";

/** What is held, each a number that must not grow for ever. */
export interface Held {
  /** Resident memory; that of it which is no file's; live JavaScript of the thread that asks and of the core's. In bytes. */
  readonly rssBytes: number;
  readonly anonBytes: number;
  readonly heapBytes: number;
  readonly coreHeapBytes: number;
  /** Decoded pages in memory, in bytes. */
  readonly poolBytes: number;
  /** Threads, less those that Deno keeps for work that blocks: there are as many as were ever busy at once. */
  readonly threads: number;
  readonly poolThreads: number;
  /** Descriptors: of sockets, and of all else. */
  readonly sockets: number;
  readonly files: number;
  /** The shim's. */
  readonly views: number;
  readonly objects: number;
  readonly runs: number;
  readonly chunks: number;
  readonly replicas: number;
  /** Request slots ever made: they are used again. */
  readonly slots: number;
  readonly hiddenNames: number;
  readonly connections: number;
  /** Bytes in the folder that the process keeps files in. */
  readonly diskBytes: number;
}

/** Live things of the shim, by the order of `ls_census()`. */
const CENSUS = [
  "views",
  "objects",
  "runs",
  "chunks",
  "replicas",
  "slots",
  "hiddenNames",
  "connections",
] as const;

/** Looks at the process that it is made in. */
export class ProcessWatch {
  readonly #native: Native;
  readonly #folder: string;

  /** `folder` is where the process keeps its files; the core's heap stands there in the file `core-heap`. */
  static async start(folder: string): Promise<ProcessWatch> {
    return new ProcessWatch(await loadNative(await loadablePath()), folder);
  }

  private constructor(native: Native, folder: string) {
    this.#native = native;
    this.#folder = folder;
  }

  /** What is held now. */
  look(): Held {
    const { heapUsed, external } = process.memoryUsage();
    const { threads, descriptors, sockets } = processCensus();
    const poolThreads = countPoolThreads();
    return {
      ...residentNow(),
      heapBytes: heapUsed + external,
      coreHeapBytes: numberIn(join(this.#folder, "core-heap")),
      poolBytes: this.#poolBytes(),
      threads: threads - poolThreads,
      poolThreads,
      sockets,
      files: descriptors - sockets,
      ...this.census(),
      diskBytes: bytesUnder(this.#folder),
    };
  }

  /** The shim's live things. */
  census(): Record<(typeof CENSUS)[number], number> {
    const words = new Uint32Array(CENSUS.length);
    this.#native.calls.ls_census(new Uint8Array(words.buffer), words.length);
    return Object.fromEntries(CENSUS.map((name, i) => [name, words[i]!])) as Record<
      (typeof CENSUS)[number],
      number
    >;
  }

  #poolBytes(): number {
    const words = new BigUint64Array(1);
    this.#native.calls.ls_pool_bytes(new Uint8Array(words.buffer));
    return Number(words[0]);
  }
}

/** Resident memory, and that of it which is no file's, in bytes. */
export function residentNow(): Pick<Held, "rssBytes" | "anonBytes"> {
  const status = readFileSync("/proc/self/status", "utf8");
  const bytesOf = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0) * 1024;
  return { rssBytes: bytesOf("VmRSS"), anonBytes: bytesOf("RssAnon") };
}

function countPoolThreads(): number {
  return readdirSync("/proc/self/task").filter((id) => {
    try {
      return readFileSync(`/proc/self/task/${id}/comm`, "utf8").startsWith("tokio-runtime-w");
    } catch {
      return false; // it has just ended
    }
  }).length;
}

function numberIn(path: string): number {
  try {
    return Number(readFileSync(path, "utf8"));
  } catch {
    return 0; // the core has not written it yet
  }
}

/** Folders and files may be deleted while this looks. */
function bytesUnder(path: string): number {
  try {
    const found = statSync(path);
    if (!found.isDirectory()) return found.size;
    return readdirSync(path).reduce((sum, name) => sum + bytesUnder(join(path, name)), 0);
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return 0;
    throw error;
  }
}
