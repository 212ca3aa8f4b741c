/**
 * Storage with a {@link HugeReplica} in it, made on the core's own thread.
 *
 * @module
 */
import type { Storage, StorageArguments, StoredObject } from "../../mod.ts";
import { hugeReplica } from "./huge_replica.ts";

/** How large it is. */
export interface HugeStorageOptions {
  readonly pages: number;
}

/** Makes it. */
export default function makeStorage({ options }: StorageArguments): Storage {
  const replica = hugeReplica((options as HugeStorageOptions).pages);
  const object: StoredObject = {
    key: `ltx/9/${replica.name}`,
    size: replica.size,
    etag: "huge",
    modifiedMs: 1_700_000_000_000,
  };
  return {
    traits: { conditionalPut: false },
    async *list(prefix, { after = "" }) {
      if (object.key.startsWith(prefix) && object.key > after) yield [object];
    },
    read(key, { offset, size }) {
      if (key !== object.key) return Promise.resolve(undefined);
      return Promise.resolve({
        bytes: replica.read(offset, size),
        etag: object.etag,
        objectSize: object.size,
      });
    },
  };
}
