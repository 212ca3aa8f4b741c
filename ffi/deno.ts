/**
 * The shim on Deno: `Deno.dlopen`, and a `nonblocking` call that waits for the bell on a thread of its own.
 *
 * @module
 */
import type { Native, NativeCalls } from "./native.ts";
import { type AbiSymbol, symbols } from "./symbols.ts";

/** How long one wait lasts before it is begun again; it ends at once when the core is stopped. */
const WAIT_MS = 60_000;

/** Calls of a function after which compiling it pays. */
const OFTEN = 100;

/**
 * How a function's result is bound until then. Deno compiles code for each function whose result is an integer, which takes it
 * 0.3 ms, and for none whose result is a struct; a struct of one integer is returned as the integer is, wherever there is a shim.
 */
const UNCOMPILED = { struct: ["i32"] };

type Call = (...args: unknown[]) => unknown;

interface DenoFfi {
  readonly permissions: { querySync(of: { name: "ffi"; path: string }): { readonly state: string } };
  dlopen(path: string, table: unknown): { symbols: Record<string, Call> };
}

/**
 * Opens the shim at an absolute path.
 *
 * There are a hundred functions, of which an opening wants sixty, most of them a few times. So all are bound uncompiled, at 0.02 ms
 * each, and once more when they turn out to be called often: a call takes 1 µs before, and 0.01 µs from then on.
 */
export function openNative(path: string): Native {
  const deno = (globalThis as unknown as { Deno: DenoFfi }).Deno;
  const bind = (name: string, more: object = {}) => {
    return deno.dlopen(path, { [name]: { ...declared(symbols[name as keyof typeof symbols]), ...more } })
      .symbols[name]!;
  };
  let uncompiled: Record<string, Call> | undefined;
  const bindAll = () => {
    const table = Object.entries(symbols).map((
      [name, symbol],
    ) => [name, { ...declared(symbol), result: UNCOMPILED }]);
    return deno.dlopen(path, Object.fromEntries(table)).symbols;
  };
  /** Not where the permission was given up meanwhile: it goes on as it is, and nobody is asked. */
  const compiled = (name: string): Call | undefined =>
    deno.permissions.querySync({ name: "ffi", path }).state === "granted" ? bind(name) : undefined;
  const calls: Record<string, Call> = {};
  for (const name of Object.keys(symbols)) {
    let count = 0;
    calls[name] = (...args) => {
      if (++count === OFTEN) calls[name] = compiled(name) ?? calls[name]!;
      uncompiled ??= bindAll();
      return integerOf(uncompiled[name]!(...args) as Uint8Array);
    };
  }
  // by itself: a file of another version may not have all the others
  const abi = integerOf(bind("ls_abi", { result: UNCOMPILED })() as Uint8Array);
  calls.ls_abi = () => abi;
  return {
    path,
    calls: calls as unknown as NativeCalls,
    async listen(core, onRing) {
      type Wait = (core: number, seen: number, timeoutMs: number) => Promise<number>;
      const wait = bind("ls_core_wait", { nonblocking: true }) as Wait;
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

/** A function as Deno wants it declared. */
function declared({ parameters, result }: AbiSymbol): object {
  return { parameters: parameters.map((type) => type === "bytes" ? "buffer" : type), result };
}

function integerOf({ buffer, byteOffset }: Uint8Array): number {
  return new DataView(buffer, byteOffset).getInt32(0, true);
}
