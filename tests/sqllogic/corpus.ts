/**
 * Folders of scripts.
 *
 * @module
 */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseScript, type Script } from "./script.ts";

/** Our own scripts: what of SQL goes different ways through a VFS. They may share a database. */
export const OWN_CORPUS = fileURLToPath(new URL("./corpus/", import.meta.url));

/** Paths of the scripts below a folder, in order, whose names match. */
export function scriptPaths(folder: string, pattern = /(?:)/): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".test"))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => pattern.test(relative(folder, path)))
    .sort();
}

/** Reads a script below a folder; its name is its path there. */
export function readScript(folder: string, path: string): Script {
  return parseScript(relative(folder, path), readFileSync(path, "utf8"));
}
