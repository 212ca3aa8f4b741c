/**
 * The replicas that a scenario's readers have open.
 *
 * @module
 */
import { join } from "node:path";
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import type { ReaderSettings } from "./scenario.ts";
import type { World } from "./world.ts";

/** A replica that is open, and what is known of it. */
export interface OpenReader {
  readonly replica: Replica;
  /** The newest TXID that it has shown. */
  seen: bigint;
  /** Whether an earlier opening left its cache or copy. */
  readonly isWarm: boolean;
}

/** Opens replicas when they are first asked for. */
export class Readers {
  readonly #world: World;
  readonly #settings: readonly ReaderSettings[];
  readonly #open = new Map<number, OpenReader>();
  readonly #opened = new Set<number>();
  /** What replicas had to tell beside results and errors. */
  readonly warnings: string[] = [];

  constructor(world: World, settings: readonly ReaderSettings[]) {
    this.#world = world;
    this.#settings = settings;
  }

  /** The reader of that number. */
  async get(reader: number): Promise<OpenReader> {
    const known = this.#open.get(reader);
    if (known) return known;
    const replica = await openReplica(this.#place(reader).url, this.#options(reader));
    const opened = { replica, seen: 0n, isWarm: this.#opened.has(reader) };
    this.#open.set(reader, opened);
    this.#opened.add(reader);
    return opened;
  }

  #place(reader: number) {
    return this.#world.places[this.#settings[reader]!.primary]!;
  }

  #options(reader: number): OpenOptions {
    const { primary: _, cacheDir, hydrate, ...plain } = this.#settings[reader]!;
    const { folder } = this.#place(reader);
    const own = join(folder, `cache-${reader}`);
    return {
      ...plain,
      ...this.#world.access,
      ...(cacheDir && { cacheDir: cacheDir === "own" ? own : join(this.#world.folder, "cache") }),
      ...(hydrate && { hydrate: hydrate === "private" ? true : join(folder, `copy-${reader}.db`) }),
      log: ({ message }) => void this.warnings.push(message),
    };
  }

  /** Closes a reader's replica, if it is open. */
  async close(reader: number): Promise<void> {
    const known = this.#open.get(reader);
    this.#open.delete(reader);
    await known?.replica.close();
  }

  /** Closes all. */
  async closeAll(): Promise<void> {
    await Promise.all([...this.#open.keys()].map((reader) => this.close(reader)));
  }
}
