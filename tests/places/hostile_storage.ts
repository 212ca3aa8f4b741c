/**
 * A place of a user's own that holds one object and does what it should not, as its options say.
 *
 * @module
 */
import type { Storage, StorageArguments } from "../../mod.ts";

const NEVER = new Promise<never>(() => {});

/** Options name functions that never settle, or fail. */
export default async function makeStorage({ options }: StorageArguments): Promise<Storage> {
  const { hangs = "", fails = "" } = (options ?? {}) as { hangs?: string; fails?: string };
  const act = async (name: string) => {
    if (name === fails) throw Object.assign(new Error(`${name} fails`), { retryable: false });
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
