/**
 * What Deno permits. Where something can be done without, it is looked up first, so that no user is asked for it.
 *
 * @module
 */
import { builtin, type Environment, platform, variable, variables } from "./host.ts";

interface Descriptor {
  readonly name: "env" | "read" | "write";
  readonly variable?: string;
  readonly path?: string;
}

interface DenoPermissions {
  readonly permissions: {
    querySync(descriptor: Descriptor): { readonly state: string };
    requestSync(descriptor: Descriptor): { readonly state: string };
  };
}

/** Whether something is permitted already; other runtimes permit all. */
function isGranted(descriptor: Descriptor): boolean {
  const { Deno: deno } = globalThis as { Deno?: DenoPermissions };
  return deno === undefined || deno.permissions.querySync(descriptor).state === "granted";
}

function isReadable(variable: string): boolean {
  return isGranted({ name: "env", variable });
}

/** The process's variables, as they are when they are asked for: one that may not be read is as if it were not set. */
export function readableEnvironment(): Environment {
  const get = (_: object, name: string | symbol) => {
    return typeof name === "string" && isReadable(name) ? variable(name) : undefined;
  };
  return new Proxy({}, { get });
}

/** The same as plain data for another thread; undefined where that has to look at each by itself. */
export function wholeEnvironment(): Environment | undefined {
  return mayReadEnvironment() ? variables() : undefined;
}

/** Whether all variables may be read without asking. */
export function mayReadEnvironment(): boolean {
  return isGranted({ name: "env" });
}

/** How these variables could be read, to go on with `expected …`; empty where they can. */
export function orAllowed(...variables: string[]): string {
  const hidden = variables.filter((name) => !isReadable(name));
  return hidden.length > 0 ? `, or that they may be read: --allow-env=${hidden.join()}` : "";
}

/** Whether a file or folder may be looked at without asking. */
export function mayRead(path: string): boolean {
  return isGranted({ name: "read", path });
}

/** Whether a file may be written without asking. */
export function mayWrite(path: string): boolean {
  return isGranted({ name: "write", path });
}

/**
 * Why native code is not to write some files; undefined where it may. It would not be held back: Deno's permissions are
 * JavaScript's. Where Deno asks somebody, he is asked here, before anything is written.
 */
export function writeRefusal(...paths: string[]): string | undefined {
  const { Deno: deno } = globalThis as { Deno?: DenoPermissions };
  const refused = paths.filter((path) =>
    !mayWrite(path) && deno!.permissions.requestSync({ name: "write", path }).state !== "granted"
  );
  if (refused.length === 0) return undefined;
  return `this process may not write there, expected --allow-write=${refused.join()}`;
}

/** The folder for temporary files; the usual one where it may not be asked for. */
export function temporaryFolder(): string {
  const isKnown = platform() === "win32" || ["TMPDIR", "TMP", "TEMP"].every(isReadable);
  return isKnown ? builtin("node:os").tmpdir() : "/tmp";
}
