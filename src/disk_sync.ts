/**
 * What is on the disk for sure: content of files, and their names.
 *
 * @module
 */
import { open } from "node:fs/promises";
import process from "node:process";

/** Has a file's content on the disk. */
export function syncFile(path: string): Promise<void> {
  return syncOpened(path, isWindows() ? "r+" : "r"); // which wants to be allowed to write
}

/** Has the names in a folder on the disk. Windows synchronises no folders: its file systems keep a journal of names. */
export async function syncFolder(path: string): Promise<void> {
  if (!isWindows()) await syncOpened(path, "r");
}

async function syncOpened(path: string, flags: string): Promise<void> {
  const opened = await open(path, flags);
  try {
    await opened.sync();
  } finally {
    await opened.close();
  }
}

function isWindows(): boolean {
  return process.platform === "win32";
}
