/**
 * Folder keys: which keys a folder has files for.
 *
 * @module
 */

/** Keys come from listings and names; one that would leave the folder is a mistake or an attack. */
export function checkKey(key: string, what: string): void {
  const parts = key.split(/[/\\]/);
  if (key.includes("\0") || parts.some((part) => part === "" || part === "." || part === "..")) {
    throw new RangeError(
      `Cannot ${what}: the key has an empty, "." or ".." part, expected a path inside the folder`,
    );
  }
}

/** The same for a key that is to be made. */
export function checkNewKey(key: string, what: string): void {
  checkKey(key, what);
  if (!key.endsWith(".tmp")) return;
  throw new RangeError(`Cannot ${what}: files named "*.tmp" are no objects, expected another name`);
}
