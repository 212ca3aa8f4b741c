/**
 * Tests that are collected, to be called any number of times: in place of `node:test` in a copy of the sources, for
 * scripts/mutate.mjs.
 *
 * @module
 */

type Act = () => unknown;

/** A test of a file. */
export interface Collected {
  readonly file: string;
  readonly name: string;
  readonly act: Act;
}

/** All tests of the files that were imported. */
export const collected: Collected[] = [];
let file = "";

/** Names the file whose tests are collected next. */
export function beginFile(path: string): void {
  file = path;
}

/** As node:test has it; a test that is skipped is none. */
export function test(name: string, ...rest: readonly unknown[]): void {
  const options = rest.length > 1 ? rest[0] as { skip?: unknown } : {};
  if (!options.skip) collected.push({ file, name, act: rest.at(-1) as Act });
}
