/**
 * The shim on Deno: `Deno.dlopen`, and a `nonblocking` call that waits for the bell on a thread of its own.
 *
 * @module
 */
import type { Native } from "./native.ts";
import { lateCalls } from "./late_calls.ts";
import { type AbiSymbol, symbols } from "./symbols.ts";

/** How long one wait lasts before it is begun again; it ends at once when the core is stopped. */
const WAIT_MS = 60_000;

interface DenoFfi {
  dlopen(path: string, table: unknown): { symbols: Record<string, (...args: unknown[]) => unknown> };
}

/** Opens the shim at an absolute path. Binding one function takes Deno 0.25 ms. */
export function openNative(path: string): Native {
  const deno = (globalThis as unknown as { Deno: DenoFfi }).Deno;
  const bind = (name: string, symbol: AbiSymbol & { readonly nonblocking?: boolean }) => {
    const parameters = symbol.parameters.map((type) => type === "bytes" ? "buffer" : type);
    return deno.dlopen(path, { [name]: { ...symbol, parameters } }).symbols[name]!;
  };
  return {
    path,
    calls: lateCalls(bind),
    fetchSkipsVerify: false,
    async listen(core, onRing) {
      type Wait = (core: number, seen: number, timeoutMs: number) => Promise<number>;
      const wait = bind("ls_core_wait", { ...symbols.ls_core_wait, nonblocking: true }) as Wait;
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
