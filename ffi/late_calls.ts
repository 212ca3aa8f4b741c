/**
 * The shim's functions, each bound when it is first wanted: there are a hundred, no thread needs all, and an opening waits
 * for none. What a runtime makes for a function that it binds, it also keeps when the thread ends: 0.2 KB in Bun 1.4.5.
 *
 * @module
 */
import type { NativeCalls } from "./native.ts";
import { type AbiSymbol, symbols } from "./symbols.ts";

/** Binds one function of a library. */
export type Bind = (name: string, symbol: AbiSymbol) => unknown;

/**
 * The functions of a library.
 *
 * @throws what `bind` throws, for the first of them at once: the file is none of ours
 */
export function lateCalls(bind: Bind): NativeCalls {
  const calls = { ls_abi: bind("ls_abi", symbols.ls_abi) };
  for (const [name, symbol] of Object.entries(symbols)) {
    if (name !== "ls_abi") defineLate(calls, name, () => bind(name, symbol));
  }
  return calls as unknown as NativeCalls;
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
