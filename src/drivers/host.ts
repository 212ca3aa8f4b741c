/**
 * What a program knows of its process, and Node's modules, loaded when first used: in Deno each takes milliseconds, and
 * `node:process`, which most of them need, as long as all of ours.
 *
 * @module
 */
import type process from "node:process";
import { WEB_THREAD } from "./parent.ts";

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
  readonly "node:util": typeof import("node:util");
  readonly "node:worker_threads": typeof import("node:worker_threads");
  readonly "node:zlib": typeof import("node:zlib");
}

interface DenoHost {
  readonly build: { readonly os: string; readonly arch: string };
  readonly env: { get(name: string): string | undefined; toObject(): Record<string, string> };
  readonly permissions: { querySync(descriptor: { name: "env" }): { readonly state: string } };
}

type OwnProcess = typeof process & {
  getBuiltinModule<Name extends keyof Builtins>(name: Name): Builtins[Name];
};

const { Deno: deno, name: threadName } = globalThis as unknown as { Deno?: DenoHost; name?: string };

/** Where `process` is, before anybody puts something else there; to get it loads it. */
const own = Object.getOwnPropertyDescriptor(globalThis, "process");

/** Whether `process` was loaded for us. */
let isLoaded = false;

/** As `process.platform` and `process.arch` name them. */
const PLATFORMS: Readonly<Record<string, string>> = { windows: "win32" };
const ARCHS: Readonly<Record<string, string>> = { x86_64: "x64", aarch64: "arm64" };

/** One of Node's modules. */
export function builtin<Name extends keyof Builtins>(name: Name): Builtins[Name] {
  return ownProcess().getBuiltinModule(name);
}

/** `process`. */
export function ownProcess(): OwnProcess {
  isLoaded = true;
  return own?.get ? own.get.call(globalThis) : own?.value;
}

/** Whether this is the thread that the process began with. */
export function isMainThread(): boolean {
  return !("DedicatedWorkerGlobalScope" in globalThis) && builtin("node:worker_threads").isMainThread;
}

/** The system, as `process.platform` names it. */
export function platform(): string {
  return deno ? PLATFORMS[deno.build.os] ?? deno.build.os : ownProcess().platform;
}

/** The processor, as `process.arch` names it. */
export function arch(): string {
  return deno ? ARCHS[deno.build.arch] ?? deno.build.arch : ownProcess().arch;
}

/**
 * Whether the variables are taken from the system rather than from `process.env`, which is not loaded yet. A program may have put
 * others there, and a thread of Node's may have been given others: that only `process.env` knows.
 */
export function isEnvironmentGuessed(): boolean {
  if (deno === undefined || isLoaded) return false;
  const isOthers = "DedicatedWorkerGlobalScope" in globalThis && threadName !== WEB_THREAD;
  return !isOthers && deno.permissions.querySync({ name: "env" }).state === "granted";
}

/** Whether variables that were guessed are those of `process.env`. */
export function isGuessRight(guessed: Environment): boolean {
  const { env } = ownProcess();
  const names = Object.keys(env);
  return names.length === Object.keys(guessed).length && names.every((name) => env[name] === guessed[name]);
}

/** An environment variable. Deno may ask the user whether it may be read. */
export function variable(name: string): string | undefined {
  return isEnvironmentGuessed() ? deno!.env.get(name) : ownProcess().env[name];
}

/** All of them, as they are now. */
export function variables(): Environment {
  return isEnvironmentGuessed() ? deno!.env.toObject() : { ...ownProcess().env };
}

/** A path as `resolve()` of `node:path` has it. */
export function resolvePath(path: string): string {
  const isResolved = /^(?:\/(?!\.{0,2}(?:\/|$))[^/]+)+$/.test(path) && platform() !== "win32";
  return isResolved ? path : builtin("node:path").resolve(path);
}
