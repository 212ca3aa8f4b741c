/**
 * A place of a user's own that holds one object and does what it should not, as its options say.
 *
 * @module
 */
import { appendFileSync } from "node:fs";
import type { Storage, StorageArguments } from "../../mod.ts";

const NEVER = new Promise<never>(() => {});

/** Options name functions that never settle, or fail, and a file that tells which were called. */
export default async function makeStorage({ options }: StorageArguments): Promise<Storage> {
  const { hangs = "", fails = "", silent = "", log } = (options ?? {}) as Record<string, string | undefined>;
  const act = async (name: string) => {
    if (log !== undefined) appendFileSync(log, `${name} `);
    if (name === fails) throw Object.assign(new Error(`${name} fails`), { retryable: false });
    if (name === silent) throw Object.assign(new Error(), { message: null, retryable: false });
    if (name === hangs) await NEVER;
  };
  await act("make");
  return {
    traits: { conditionalPut: true },
    async *list() {
      await act("list");
      yield [];
    },
    async read() {
      await act("read");
      return undefined;
    },
    async put() {
      await act("put");
      return undefined;
    },
    async remove() {
      await act("remove");
    },
    close: () => act("close"),
  };
}
