/**
 * testStorage(): what every {@link Storage} must do, as tests of `node:test`, which both runtimes run.
 *
 * ```ts ignore
 * import { testStorage } from "@x/litestream-vfs/contract";
 * import makeStorage from "./my_storage.ts";
 *
 * testStorage("my storage", async () => {
 *   const url = `my://bucket/${crypto.randomUUID()}`;
 *   const [storage, other] = [await makeStorage({ url }), await makeStorage({ url })];
 *   return { storage, other, close: async () => {} };
 * });
 * ```
 *
 * @module
 */

import { AdaptedStore } from "../storage/adapted_store.ts";
import type { WritableStore } from "../storage/object_store.ts";
import { RetryingStore } from "../storage/retrying_store.ts";
import type { Storage } from "../storage/storage.ts";
import { testObjectStore } from "./object_store_contract.ts";
import { testWritableStore } from "./writable_store_contract.ts";

/** A place that is new and empty, as two processes have it. */
export interface StorageUnderTest {
  /** What is tested. */
  readonly storage: Storage;
  /** The same place, from elsewhere. */
  readonly other: Storage;
  /** Removes the place. Both have been closed. */
  close(): Promise<void>;
}

/** How the suite is run. */
export interface StorageContractOptions {
  /** Objects in the test that lists many. Default 2,500. */
  readonly listedCount?: number;
  /** Objects in the test that removes many. Default 2,300. */
  readonly removedCount?: number;
  /** Whether objects can be put on condition there. Default true; else the tests of writing are left out. */
  readonly isWritable?: boolean;
  /** Why it cannot be run here; the tests are skipped. */
  readonly skip?: string | false;
}

/**
 * Runs the suite on places that `make` gives, a new one for each test.
 */
export function testStorage(
  name: string,
  make: () => Promise<StorageUnderTest>,
  { listedCount, removedCount, isWritable = true, skip = false }: StorageContractOptions = {},
): void {
  const stores = async () => {
    const { storage, other, close } = await make();
    const [store, second] = [storage, other].map((each) => new RetryingStore(new AdaptedStore(name, each)));
    return {
      store: store as WritableStore,
      other: second as WritableStore,
      close: async () => {
        await Promise.all([store!.close(), second!.close()]);
        await close();
      },
    };
  };
  testObjectStore(name, async () => {
    const { store, other, close } = await stores();
    return {
      store,
      put: async (key, bytes) => void await other.put(key, bytes, { replace: true }),
      remove: (key) => other.remove([key]),
      close,
    };
  }, { skip, ...(listedCount !== undefined && { listedCount }) });
  if (!isWritable) return;
  testWritableStore(name, stores, { skip, ...(removedCount !== undefined && { manyCount: removedCount }) });
}
