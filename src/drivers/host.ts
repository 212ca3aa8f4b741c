/**
 * What a program knows of its process, and Node's modules, loaded when first used: in Deno each takes milliseconds, and
 * `node:process`, which most of them need, as long as all of ours.
 *
 * @module
 */
import type process from "node:process";

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Node's modules that are loaded so. */
interface Builtins {
  readonly "node:buffer": typeof import("node:buffer");
  readonly "node:crypto": typeof import("node:crypto");
  readonly "node:fs": typeof import("node:fs");
  readonly "node:os": typeof import("node:os");
  readonly "node:path": typeof import("node:path");
  readonly "node:url": typeof import("node:url");
  readonly "node:worker_threads": typeof import("node:worker_threads");
  readonly "node:zlib": typeof import("node:zlib");
}

interface DenoHost {
  readonly build: { readonly os: string; readonly arch: string };
  readonly env: { get(name: string): string | undefined; toObject(): Record<string, string> };
}

interface Globals {
  readonly Deno?: DenoHost;
  readonly process: typeof process & {
    getBuiltinModule<Name extends keyof Builtins>(name: Name): Builtins[Name];
  };
}

const globals = globalThis as unknown as Globals;

/** As `process.platform` and `process.arch` name them. */
const PLATFORMS: Readonly<Record<string, string>> = { windows: "win32" };
const ARCHS: Readonly<Record<string, string>> = { x86_64: "x64", aarch64: "arm64" };

/** One of Node's modules. */
export function builtin<Name extends keyof Builtins>(name: Name): Builtins[Name] {
  return globals.process.getBuiltinModule(name);
}

/** `process`. */
export function ownProcess(): typeof process {
  return globals.process;
}

/** The system, as `process.platform` names it. */
export function platform(): string {
  const { Deno: deno } = globals;
  return deno ? PLATFORMS[deno.build.os] ?? deno.build.os : globals.process.platform;
}

/** The processor, as `process.arch` names it. */
export function arch(): string {
  const { Deno: deno } = globals;
  return deno ? ARCHS[deno.build.arch] ?? deno.build.arch : globals.process.arch;
}

/** An environment variable. Deno may ask the user whether it may be read. */
export function variable(name: string): string | undefined {
  const { Deno: deno } = globals;
  return deno ? deno.env.get(name) : globals.process.env[name];
}

/** All of them, as they are now. */
export function variables(): Environment {
  const { Deno: deno } = globals;
  return deno ? deno.env.toObject() : { ...globals.process.env };
}

/** A path as `resolve()` of `node:path` has it. */
export function resolvePath(path: string): string {
  const isResolved = /^(?:\/(?!\.{0,2}(?:\/|$))[^/]+)+$/.test(path) && platform() !== "win32";
  return isResolved ? path : builtin("node:path").resolve(path);
}
