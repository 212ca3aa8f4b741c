/**
 * findOwn(): the object that a put has made, told from another's by reading it back.
 *
 * @module
 */

import { builtin } from "../drivers/host.ts";
import { ObjectExistsError, ObjectGoneError, StorageError } from "../errors.ts";
import type { Piece } from "./content.ts";
import {
  anyObject,
  type ByteRange,
  type ListedObject,
  type ObjectIdentity,
  type ObjectStore,
  type ReadResult,
  type RequestOptions,
} from "./object_store.ts";

/** Readings of a part, all different and none of them ours, after which nobody can tell whose it is. */
const READINGS_MAX = 6;

/** What an empty object, which has no range, reads as. */
const EMPTY: ReadResult = { bytes: new Uint8Array(0), etag: "", objectSize: 0 };

/** What is compared at once, in bytes. */
export const COMPARED_BYTES = 1024 * 1024;

/** An object that may have been made. */
export interface Sought {
  /** The object as a person would write it. */
  readonly name: string;
  readonly key: string;
  readonly size: number;
  /** All its bytes, in pieces of {@link COMPARED_BYTES} at most. */
  readonly pieces: AsyncIterable<Piece> | Iterable<Piece>;
  /** Whether another object may be there. */
  readonly replace: boolean;
}

/** Where an object is looked for; errors as {@link ObjectStore}'s. */
export interface Whereabouts {
  /** Reads a range of an object. */
  read(of: ObjectIdentity, range: ByteRange): Promise<ReadResult>;
  /** Size that a listing tells, in bytes; undefined where it lacks the key. */
  listedSize(key: string): Promise<number | undefined>;
}

/** {@link Whereabouts.listedSize} by a request to a store. */
export async function listedSize(
  store: ObjectStore,
  key: string,
  options: RequestOptions,
): Promise<number | undefined> {
  for await (const page of store.list(key, options)) return page.find((found) => found.key === key)?.size;
  return undefined;
}

/**
 * Looks for an object: undefined where the key has none, or has another one that is to be replaced.
 *
 * @throws {ObjectExistsError} the key has another object, and it is not to be replaced
 * @throws {StorageError} code `Changed`, retryable: another one came while the two were compared
 */
export async function findOwn(sought: Sought, at: Whereabouts): Promise<ListedObject | undefined> {
  const { name, key, replace } = sought;
  const found = await findEqual(sought, at);
  if (found === "none" || (found === "other" && replace)) return undefined;
  if (found !== "other") return found;
  const details = { key, status: 412, code: "PreconditionFailed", retryable: false };
  throw new ObjectExistsError(`Cannot put ${name}: the key has another object, expected none`, details);
}

/**
 * Whether an object has exactly these bytes: the object, which is there now, or what is there instead.
 *
 * Its time is this machine's, since an answer to a read does not tell it.
 */
async function findEqual(
  { name, key, size, pieces }: Sought,
  at: Whereabouts,
): Promise<ListedObject | "none" | "other"> {
  let of = anyObject(key);
  let offset = 0;
  for await (const { bytes } of pieces) {
    try {
      const found = await readOwn({ name, key, bytes, size }, {
        read: () => at.read(of, { offset, size: bytes.length }),
        listedSize: () => at.listedSize(key),
      });
      if (found === undefined) return "other";
      of = { key, etag: found.etag, size };
    } catch (error) {
      if (error instanceof ObjectGoneError && offset === 0) return "none";
      throw error instanceof ObjectGoneError ? changedError(error) : error;
    }
    offset += bytes.length;
  }
  return offset === size ? { ...of, modifiedMs: Date.now() } : "other";
}

/**
 * Reads a part of an object until it is ours; undefined once two readings agree on another one, since one of them may be
 * damaged on its way, and whoever is told of a rival stops writing. Whatever stands before the store can answer twice that there
 * is no such range, or another size: where nothing but the size tells the other one from ours, a listing must have that size.
 */
async function readOwn(
  own: Pick<Sought, "name" | "key" | "size"> & { readonly bytes: Uint8Array },
  { read, listedSize }: { read: () => Promise<ReadResult>; listedSize: () => Promise<number | undefined> },
): Promise<ReadResult | undefined> {
  let before: ReadResult | undefined;
  for (let count = 0; count < READINGS_MAX; count++) {
    const found = await read().catch(unlessEmpty);
    if (isEqual(found, { bytes: own.bytes, objectSize: own.size })) return found;
    const isAgreed = before && before.etag === found.etag && isEqual(found, before);
    if (isAgreed && (!isBeginning(found.bytes, own.bytes) || await listedSize() === found.objectSize)) {
      return undefined;
    }
    before = found;
  }
  throw new StorageError(
    `Cannot put ${own.name}: the key has an object, and no two of ${READINGS_MAX} readings agree what it is, expected equal ones`,
    { key: own.key, status: 0, code: "Changed", retryable: true },
  );
}

/** An answer that there is no such range may have come about on its way as well: it is a reading like any other. */
function unlessEmpty(error: unknown): ReadResult {
  if (error instanceof StorageError && error.code === "InvalidRange") return EMPTY;
  throw error;
}

function isEqual(a: Omit<ReadResult, "etag">, b: Omit<ReadResult, "etag">): boolean {
  return a.objectSize === b.objectSize && a.bytes.length === b.bytes.length && isBeginning(a.bytes, b.bytes);
}

function isBeginning(bytes: Uint8Array, of: Uint8Array): boolean {
  return builtin("node:buffer").Buffer.compare(bytes, of.subarray(0, bytes.length)) === 0;
}

function changedError(cause: ObjectGoneError): StorageError {
  const details = { key: cause.key, status: cause.status, code: "Changed", retryable: true, cause };
  return new StorageError(`${cause.message}; it changed while it was compared`, details);
}
