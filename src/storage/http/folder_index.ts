/**
 * Makes the index of a replica's folder, for whoever publishes it as static files.
 *
 * ```ts ignore
 * import { writeIndex } from "@x/litestream-vfs/static-index";
 *
 * await writeIndex("/srv/www/replica"); // after each sync, or every few seconds
 * ```
 *
 * @module
 */

import { randomUUID } from "node:crypto";
import { readdir, rename, stat, writeFile } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { compareKeys } from "../key_order.ts";
import { INDEX_NAME, INDEX_VERSION, type IndexedFile, type StaticIndex } from "./static_index.ts";

export type { IndexedFile, StaticIndex };

/**
 * The index of a folder that holds a replica: all files below it but `*.tmp` and itself. Files that vanish
 * meanwhile are left out.
 */
export async function indexOf(folder: string): Promise<StaticIndex> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = await Promise.all(
    entries.filter((entry) => !entry.isDirectory()).map(({ parentPath, name }) =>
      describe(folder, join(parentPath, name))
    ),
  );
  const known = files.filter((file) => file !== undefined)
    .filter(({ key }) => key !== INDEX_NAME && !key.endsWith(".tmp"))
    .sort((a, b) => compareKeys(a.key, b.key));
  return { version: INDEX_VERSION, files: known };
}

/** Writes `index.json` into the folder; readers see the old one or the new one. */
export async function writeIndex(folder: string): Promise<StaticIndex> {
  const index = await indexOf(folder);
  const path = join(folder, INDEX_NAME);
  const temporary = `${path}.${randomUUID()}.tmp`;
  await writeFile(temporary, `${JSON.stringify(index)}\n`);
  await rename(temporary, path);
  return index;
}

async function describe(folder: string, path: string): Promise<IndexedFile | undefined> {
  try {
    const { size, mtimeMs } = await stat(path);
    const key = relative(folder, path).split(sep).join("/");
    return { key, size, modified: Math.floor(mtimeMs) };
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return undefined;
    throw error;
  }
}
