import assert from "node:assert/strict";
import { test } from "node:test";
import { AdaptedStore } from "../../src/storage/adapted_store.ts";
import { RetryingStore } from "../../src/storage/retrying_store.ts";
import type { Storage, StorageList, StoredObject } from "../../src/storage/storage.ts";

const objectAt = (key: string): StoredObject => ({ key, size: 1, etag: "e", modifiedMs: 0 });

test("AdaptedStore.list() ends the page that is waited for, not only the first", async () => {
  const ended = Promise.withResolvers<void>();
  const afters: (string | undefined)[] = [];
  const storage: Storage = {
    traits: { conditionalPut: false },
    async *list(_prefix: string, request: StorageList) {
      afters.push(request.after);
      if (afters.length > 1) return yield [objectAt("b")];
      yield [objectAt("a")];
      await new Promise((resolve) => request.signal.addEventListener("abort", resolve));
      ended.resolve();
      throw request.signal.reason;
    },
    read: () => Promise.resolve(undefined),
  };
  const store = new RetryingStore(new AdaptedStore("a place", storage), { attemptTimeoutMs: 50 });
  const keys: string[] = [];
  for await (const page of store.list("")) keys.push(...page.map(({ key }) => key));
  assert.deepEqual(keys, ["a", "b"]);
  assert.deepEqual(afters, [undefined, "a"]);
  await ended.promise;
  await store.close();
});
