/**
 * Folders that a shared library may be unpacked into, and loaded from.
 *
 * A library that somebody else can write is somebody else's code in this process. So a folder is used only where it, and
 * those that it lies in, are this user's or the system's, and nobody else may write to them; where the file in it is this
 * user's, too; and where its content is what was expected, each time anew.
 *
 * @module
 */
import { basename, dirname, isAbsolute, join } from "node:path";
import process from "node:process";
import { mayRead, readableEnvironment } from "../src/drivers/permissions.ts";
import { ShimError } from "../src/errors.ts";
import type { Prebuilt } from "./prebuilt/index.ts";

/** In the places of all users' caches, and of temporary files. */
const NAME = "litestream-vfs";

const OTHERS_WRITE = 0o022;
const STICKY = 0o1000;
const ROOT_UID = 0;

/** Loaded when first used: that takes milliseconds. (So does node:crypto, of which the global one has enough.) */
const fs = (): typeof import("node:fs") => process.getBuiltinModule("node:fs");

/** An environment variable; undefined where it is empty, or may not be read. */
function variable(name: string): string | undefined {
  return readableEnvironment()[name] || undefined;
}

function absolute(path: string | undefined): path is string {
  return path !== undefined && isAbsolute(path);
}

/** Where libraries are unpacked to: the user's cache, and where that cannot be, a folder of the user's beside others' temporary files. */
export function shimFolders(platform: string = process.platform): string[] {
  const home = variable("HOME");
  const cache = {
    darwin: home && join(home, "Library", "Caches"),
    win32: variable("LOCALAPPDATA"),
  }[platform] ?? variable("XDG_CACHE_HOME") ?? (home && join(home, ".cache"));
  const windowsTemp = platform === "win32" ? variable("TEMP") ?? variable("TMP") : undefined;
  const temporary = windowsTemp ?? variable("TMPDIR") ?? (platform === "win32" ? undefined : "/tmp");
  const folders = [];
  if (absolute(cache)) folders.push(join(cache, NAME));
  if (absolute(temporary)) {
    folders.push(join(temporary, `${NAME}-${variable("USER") ?? "user"}`.replaceAll(/[^\w.-]/g, "_")));
  }
  return folders;
}

/** What {@link unpackShim} needs beside the library. */
export interface Unpacking {
  /** The library. */
  readonly read: () => Promise<Uint8Array<ArrayBuffer>>;
  /** Loads it: some file systems hold files that the system runs nothing of. */
  readonly load: (path: string) => Promise<unknown>;
  readonly folders: readonly string[];
}

/**
 * The absolute path of a library, unpacked into the first folder that will do unless it is there already.
 *
 * @throws {ShimError} none will do, and the message says why, for each; or the runtime does not permit native code
 */
export async function unpackShim(library: Prebuilt, { read, load, folders }: Unpacking): Promise<string> {
  const { file, size, sha256 } = library;
  const refused: string[] = [];
  for (const folder of folders) {
    try {
      const path = join(ownFolder(join(folder, sha256.slice(0, 32))), file);
      if (!await isWhole(path, library)) {
        writeWhole(path, await checked(await read(), library));
        if (!await isWhole(path, library)) throw new Error(`"${path}" has changed since it was written`);
        await loadFirst(path, load);
      }
      return path;
    } catch (cause) {
      if (cause instanceof ShimError && isForbidden(cause.cause)) throw cause;
      refused.push(cause instanceof Error ? cause.message : String(cause));
    }
  }
  throw new ShimError(
    `Cannot unpack shim (${size} bytes): ${
      refused.join("; ") || "no folder is known for it"
    }, expected a folder of ` +
      "this user's alone that libraries can be loaded from; name one by XDG_CACHE_HOME, or an unpacked shim by the " +
      "option shimPath or the environment variable LITESTREAM_VFS_SHIM",
  );
}

/** Where it cannot be loaded, nobody else is to find it. */
async function loadFirst(path: string, load: Unpacking["load"]): Promise<void> {
  try {
    await load(path);
  } catch (error) {
    fs().rmSync(path, { force: true });
    throw error;
  }
}

/** Whether the runtime refuses: another folder would not help. */
function isForbidden(cause: unknown): boolean {
  return cause instanceof Error && ["NotCapable", "PermissionDenied"].includes(cause.name);
}

async function checked(
  bytes: Uint8Array<ArrayBuffer>,
  { sha256 }: Prebuilt,
): Promise<Uint8Array<ArrayBuffer>> {
  const found = await digest(bytes);
  if (found === sha256) return bytes;
  throw new Error(`the shim in this package is damaged: its SHA-256 is ${found}, expected ${sha256}`);
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The folder by its real path, made if need be, with its parent; both are then this user's alone, as is what they lie in. */
function ownFolder(path: string): string {
  const { existsSync, mkdirSync, realpathSync } = fs();
  const parent = dirname(path);
  if (!existsSync(dirname(parent))) mkdirSync(dirname(parent), { recursive: true, mode: 0o700 });
  const above = realpathSync(dirname(parent));
  const real = join(above, basename(parent), basename(path));
  if (process.platform === "win32") {
    mkdirSync(real, { recursive: true }); // rights come from the user's profile
    return real;
  }
  makeFolder(dirname(real));
  checkKind(dirname(real), "folder");
  makeFolder(real);
  const uid = ownUid(real);
  for (const each of [dirname(real), real]) checkOwn(each, "folder", uid);
  for (let each = above;; each = dirname(each)) {
    checkAbove(each, uid);
    if (each === dirname(each)) break;
  }
  return real;
}

function makeFolder(path: string): void {
  if (fs().lstatSync(path, { throwIfNoEntry: false })) return;
  try {
    fs().mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if ((error as { code?: string }).code !== "EEXIST") throw error;
  }
}

/**
 * Who may write to a folder can put another one in the place of what lies in it, unless it is sticky. Deno lets a program
 * look only at what it was given to read, which need not be all folders up to the root.
 */
function checkAbove(path: string, ownUid: number): void {
  if (!mayRead(path)) return;
  const { uid, mode } = fs().statSync(path);
  if (uid !== ROOT_UID && uid !== ownUid) throw new Error(`"${path}" is of user ${uid}`);
  if ((mode & OTHERS_WRITE) !== 0 && (mode & STICKY) === 0) throw new Error(`others may write to "${path}"`);
}

function checkKind(path: string, kind: "folder" | "file") {
  const found = fs().lstatSync(path);
  const isKind = kind === "folder" ? found.isDirectory() : found.isFile();
  if (!isKind) throw new Error(`"${path}" is no ${kind} of its own`);
  return found;
}

/** A folder or file itself, not what a link in its place leads to. */
function checkOwn(path: string, kind: "folder" | "file", ownUid: number): void {
  const found = checkKind(path, kind);
  if (found.uid !== ownUid) throw new Error(`"${path}" is of user ${found.uid}`);
  if ((found.mode & OTHERS_WRITE) !== 0) throw new Error(`others may write to "${path}"`);
}

interface Asking {
  permissions?: { querySync?: (of: { name: string; kind: string }) => { state: string } };
}

/**
 * Whose files this process makes. Deno tells that only with a permission of its own, and asks the user for it: without it a
 * folder is made to see.
 */
function ownUid(near: string): number {
  const { Deno: deno } = globalThis as { Deno?: Asking };
  const state = deno?.permissions?.querySync?.({ name: "sys", kind: "uid" }).state ?? "granted";
  return state === "granted" ? process.geteuid!() : uidOfNewFolder(near);
}

function uidOfNewFolder(near: string): number {
  const { lstatSync, mkdtempSync, rmdirSync } = fs();
  const path = mkdtempSync(join(near, "uid-"));
  try {
    return lstatSync(path).uid;
  } finally {
    rmdirSync(path);
  }
}

/** Whether the file is there, this user's alone, and has the content expected. What another can write is never replaced. */
async function isWhole(path: string, { size, sha256 }: Prebuilt): Promise<boolean> {
  const { lstatSync, readFileSync } = fs();
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return false;
  if (process.platform !== "win32") checkOwn(path, "file", lstatSync(dirname(path)).uid);
  return found.size === size && await digest(readFileSync(path)) === sha256;
}

/** Puts a file in place as a whole: who reads it meanwhile reads the old one, or the new one. */
function writeWhole(path: string, bytes: Uint8Array): void {
  const { renameSync, rmSync, writeFileSync } = fs();
  const unfinished = `${path}.${process.pid}-${crypto.randomUUID()}.tmp`;
  try {
    writeFileSync(unfinished, bytes, { flag: "wx", mode: 0o700 });
    renameSync(unfinished, path);
  } catch (error) {
    rmSync(unfinished, { force: true });
    // Windows lets nobody replace a library that is loaded: then another process has just put it there.
    if (process.platform !== "win32") throw error;
  }
}
