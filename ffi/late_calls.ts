/**
 * The shim's functions, each bound when it is called: there are a hundred, no thread needs all, and an opening waits for none.
 *
 * @module
 */
import type { NativeCalls } from "./native.ts";
import { type AbiSymbol, symbols } from "./symbols.ts";

/** A library of which one function is bound. */
export interface BoundLibrary {
  readonly symbols: Record<string, (...args: unknown[]) => unknown>;
  /** Gives back what was made for it; it cannot be called any more. */
  close(): void;
}

/** Functions, and a way to give back what a runtime has made for them. */
export interface LateCalls {
  readonly calls: NativeCalls;
  /** Whatever is called afterwards is bound anew. */
  release(): void;
}

/**
 * The functions of a library.
 *
 * @throws what `open` throws, for the first of them at once: the file is none of ours
 */
export function lateCalls(open: (name: string, symbol: AbiSymbol) => BoundLibrary): LateCalls {
  const calls: Record<string, (...args: unknown[]) => unknown> = {};
  let closings: (() => void)[] = [];
  for (const [name, symbol] of Object.entries(symbols)) {
    let call: ((...args: unknown[]) => unknown) | undefined;
    const bind = () => {
      const library = open(name, symbol);
      closings.push(() => {
        call = undefined;
        library.close();
      });
      return call = library.symbols[name]!;
    };
    calls[name] = (...args) => (call ?? bind())(...args);
  }
  calls.ls_abi!();
  const release = () => {
    for (const close of closings) close();
    closings = [];
  };
  return { calls: calls as unknown as NativeCalls, release };
}
