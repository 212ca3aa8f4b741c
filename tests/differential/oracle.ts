/**
 * What is right: the states that `litestream restore` makes, asked by plain SQLite.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { constants, copyFileSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { LocalDatabase } from "../support/local_database.ts";
import { folderUrl, restore } from "../support/real.ts";
import type { TestedDriver } from "../support/all_drivers.ts";
import { type Answer, answerOf } from "./answers.ts";
import { Archive } from "./archive.ts";
import type { Query } from "./query_set.ts";
import type { Place } from "./world.ts";

/** A restored database. */
export interface RestoredState {
  /** The file to be asked. */
  readonly path: string;
  /** The file as it was restored. */
  readonly untouched: string;
  /** By driver and query. */
  readonly answers: Map<string, Answer>;
}

/** The digest of a file. */
export function digestOf(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

/** Restores states of one replica. */
export class Oracle {
  readonly #place: Place;
  readonly #env: Record<string, string>;
  readonly #archive: Archive;
  readonly #states = new Map<bigint, Promise<RestoredState | undefined>>();

  constructor(place: Place, env: Record<string, string>) {
    this.#place = place;
    this.#env = env;
    this.#archive = new Archive(place.archive);
    mkdirSync(join(place.folder, "restored"), { recursive: true });
  }

  /** The state of a TXID, out of all files that there ever were; undefined where one of them was missed. */
  at(txid: bigint): Promise<RestoredState | undefined> {
    const known = this.#states.get(txid);
    if (known) return known;
    this.#archive.collect();
    const made = this.#make(txid);
    this.#states.set(txid, made);
    return made;
  }

  async #make(txid: bigint): Promise<RestoredState | undefined> {
    const path = await this.#restore(folderUrl(this.#place.archive.target), `${txid}.db`, txid, {});
    if (path === undefined) return undefined;
    const untouched = `${path}.untouched`; // what asks it in WAL mode may write to it
    copyFileSync(path, untouched, constants.COPYFILE_FICLONE);
    return { path, untouched, answers: new Map() };
  }

  /** The digest of a TXID's file as `litestream restore` makes it of the replica as it is; undefined where it refuses. */
  async live(txid: bigint): Promise<string | undefined> {
    const path = await this.#restore(this.#place.url, `${txid}-live.db`, txid, this.#env);
    if (path === undefined) return undefined;
    const digest = digestOf(path);
    rmSync(path);
    return digest;
  }

  async #restore(
    url: string,
    name: string,
    txid: bigint,
    env: Record<string, string>,
  ): Promise<string | undefined> {
    const path = join(this.#place.folder, "restored", name);
    try {
      await restore(url, path, { txid, env });
      return path;
    } catch (error) {
      if (
        !/transaction not available|no (?:matching )?backup|cannot calc restore plan/i.test(String(error))
      ) throw error;
      return undefined;
    }
  }
}

/** What a restored state answers through a driver; each query is asked once. */
export function answersOf(
  state: RestoredState,
  { name, Database }: TestedDriver,
  queries: readonly Query[],
  isSorted: boolean,
): Answer[] {
  const keyOf = ({ sql }: Query) => `${name} ${isSorted} ${sql}`;
  const missing = queries.filter((query) => !state.answers.has(keyOf(query)));
  if (missing.length > 0) {
    withState(state, Database, (db) => {
      for (const query of missing) state.answers.set(keyOf(query), answerOf(db, query, isSorted));
    });
  }
  return queries.map((query) => state.answers.get(keyOf(query))!);
}

/** Opens a restored state; schemas are trusted as little as those of replicas. */
export function withState<T>(
  { path }: RestoredState,
  Database: TestedDriver["Database"],
  use: (db: LocalDatabase) => T,
): T {
  const db = new Database(path);
  try {
    db.exec("PRAGMA trusted_schema = OFF");
    return use(db);
  } finally {
    db.close();
  }
}
