/**
 * The shim on Deno: `Deno.dlopen`, and a `nonblocking` call that waits for the bell on a thread of its own.
 *
 * @module
 */
import type { Native, NativeCalls } from "./native.ts";
import { type AbiSymbol, symbols } from "./symbols.ts";

/** How long one wait lasts before it is begun again; it ends at once when the core is stopped. */
const WAIT_MS = 60_000;

interface DenoFfi {
  dlopen(path: string, table: unknown): { symbols: Record<string, (...args: unknown[]) => unknown> };
}

/**
 * Opens the shim at an absolute path.
 *
 * A function is bound when it is first wanted: that takes Deno 0.25 ms, and there are a hundred, of which no thread needs
 * all and an opening waits for none.
 */
export function openNative(path: string): Native {
  const deno = (globalThis as unknown as { Deno: DenoFfi }).Deno;
  const bind = (name: string, symbol: AbiSymbol & { readonly nonblocking?: boolean }) => {
    const parameters = symbol.parameters.map((type) => type === "bytes" ? "buffer" : type);
    return deno.dlopen(path, { [name]: { ...symbol, parameters } }).symbols[name]!;
  };
  const calls = { ls_abi: bind("ls_abi", symbols.ls_abi) }; // fails where the file is none of ours
  for (const [name, symbol] of Object.entries(symbols)) {
    if (name !== "ls_abi") defineLate(calls, name, () => bind(name, symbol));
  }
  return {
    path,
    calls: calls as unknown as NativeCalls,
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

/** Gives an object a property whose value is made when it is first read. */
function defineLate(object: object, name: string, make: () => unknown): void {
  const get = () => {
    const value = make();
    Object.defineProperty(object, name, { value });
    return value;
  };
  Object.defineProperty(object, name, { get, configurable: true, enumerable: true });
}
