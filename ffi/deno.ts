/**
 * The shim on Deno: `Deno.dlopen`, and a `nonblocking` call that waits for the bell on a thread of its own.
 *
 * @module
 */
import type { Native, NativeCalls } from "./native.ts";
import { symbols } from "./symbols.ts";

/** How long one wait lasts before it is begun again; it ends at once when the core is stopped. */
const WAIT_MS = 60_000;

interface DenoFfi {
  dlopen(path: string, table: unknown): { symbols: Record<string, (...args: unknown[]) => unknown> };
}

/** Opens the shim at an absolute path. */
export function openNative(path: string): Native {
  const deno = (globalThis as unknown as { Deno: DenoFfi }).Deno;
  const table = {
    ...symbols,
    waitForBell: { ...symbols.ls_core_wait, name: "ls_core_wait", nonblocking: true },
  };
  const calls = deno.dlopen(path, table).symbols;
  const wait = calls.waitForBell as (core: number, seen: number, timeoutMs: number) => Promise<number>;
  return {
    path,
    calls: calls as unknown as NativeCalls,
    fetchSkipsVerify: false,
    async listen(core, onRing) {
      let seen = 0;
      for (;;) {
        const count = await wait(core, seen, WAIT_MS);
        if (count < 0) return;
        if (count !== seen) onRing();
        seen = count;
      }
    },
  };
}
