/**
 * Every file that a replica ever had, in a second replica from which nothing is deleted.
 *
 * @module
 */
import { linkSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { LEVELS } from "../../src/view/listing.ts";
import { levelPrefix, ltxKey } from "../../src/storage/layout.ts";
import type { LayoutName } from "../../src/storage/object_store.ts";

/** Where an archive's files come from, and where they go. */
export interface ArchivePlaces {
  /** The replica, as a folder. */
  readonly source: string;
  readonly layout: LayoutName;
  /** The archive's folder, in the layout of folders. */
  readonly target: string;
}

/** Keeps a replica's files; several may keep the same. A file of a replica is never changed, so a link to it is enough. */
export class Archive {
  readonly #places: ArchivePlaces;
  readonly #kept = new Set<string>();

  /** Makes the folders. */
  constructor(places: ArchivePlaces) {
    this.#places = places;
    for (const level of LEVELS) {
      mkdirSync(join(places.target, levelPrefix("folder", level)), { recursive: true });
    }
  }

  /** Keeps all that is there. */
  collect(): void {
    const { source, layout, target } = this.#places;
    for (const level of LEVELS) {
      for (const name of namesIn(join(source, levelPrefix(layout, level)))) {
        const key = ltxKey("folder", level, name);
        if (!name.endsWith(".ltx") || this.#kept.has(key)) continue;
        if (isLinked(join(source, ltxKey(layout, level, name)), join(target, key))) this.#kept.add(key);
      }
    }
  }
}

/** Names in a folder; none where it is not there yet. */
function namesIn(folder: string): string[] {
  return passing(["ENOENT"], () => readdirSync(folder)) ?? [];
}

/** Whether the file is kept now; false where it was deleted meanwhile. */
function isLinked(source: string, target: string): boolean {
  return passing(["ENOENT"], () => {
    passing(["EEXIST"], () => linkSync(source, target));
    return true;
  }) ?? false;
}

/** What `act` gives; undefined where it fails with one of these codes. */
function passing<T>(codes: readonly string[], act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (codes.includes((error as { code?: string }).code ?? "")) return undefined;
    throw error;
  }
}
