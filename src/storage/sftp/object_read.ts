/**
 * readObject(): a range of an object, and which object it is of.
 *
 * @module
 */

import type { ByteRange } from "../object_store.ts";
import { type ObjectFacts, sizeIn, tagOf, TAIL_BYTES } from "./object_tag.ts";
import type { Handle, SftpConnection, Watch } from "./sftp_connection.ts";
import type { FileFacts } from "./ssh_library.ts";

/** A range up to this is read before the object's size is known, in bytes. */
const SMALL_BYTES = 32 * 1024;
const NO_BYTES = new Uint8Array(0);

const TYPE_MASK = 0o170000;
const FILE_TYPE = 0o100000;
const FOLDER_TYPE = 0o040000;

/** What is read of an open file. */
export interface ObjectRead {
  readonly range: ByteRange;
  /** Only bytes of the object with this tag are shown, and given; undefined: of any. */
  readonly etag: string | undefined;
  readonly watch: Watch;
}

/** What was read. */
export interface ReadObject {
  /** None of another object. */
  readonly bytes: Uint8Array;
  readonly etag: string;
  readonly facts: ObjectFacts;
}

/**
 * Reads a range of an open file; undefined where it is no file.
 *
 * An open file stays what it is, whatever takes its name. What its tag is made of is asked for before the
 * range, and at the same time.
 */
export async function readObject(
  connection: SftpConnection,
  handle: Handle,
  { range, etag, watch }: ObjectRead,
): Promise<ReadObject | undefined> {
  const { signal } = watch;
  const asking = connection.facts(handle, signal);
  const size = sizeIn(etag) ?? (range.size > SMALL_BYTES ? (await asking).size : undefined);
  const asked = size === undefined ? undefined : readEnd(connection, handle, { size, signal });
  let isShown = etag === undefined;
  const reading = connection.read(
    handle,
    { offset: range.offset, size: Math.min(range.size, (size ?? Infinity) - range.offset) },
    { signal, onProgress: (bytes) => watch.onProgress(isShown ? bytes : NO_BYTES) },
  );
  // A folder cannot be read, which is no fault.
  for (const promise of [asked, reading]) promise?.catch(() => {});
  const found = await asking;
  if (!isFile(found)) return undefined;
  const facts = factsOf(found);
  const end = await (size === facts.size && asked) || await endIn(reading, range, facts) ||
    await readEnd(connection, handle, { size: facts.size, signal });
  const tag = tagOf(facts, end);
  if (etag !== undefined && tag !== etag) return { bytes: NO_BYTES, etag: tag, facts };
  isShown = true;
  return { bytes: await reading, etag: tag, facts };
}

/** What an object's tag is made of beside its facts. */
function readEnd(
  connection: SftpConnection,
  handle: Handle,
  { size, signal }: { size: number; signal: AbortSignal },
): Promise<Uint8Array> {
  const count = Math.min(size, TAIL_BYTES);
  return connection.read(handle, { offset: size - count, size: count }, { signal, onProgress: () => {} });
}

/** The same, where a range that was read has all of it. */
async function endIn(
  reading: Promise<Uint8Array>,
  { offset, size }: ByteRange,
  facts: ObjectFacts,
): Promise<Uint8Array | undefined> {
  const start = Math.max(0, facts.size - TAIL_BYTES);
  if (offset > start || offset + size < facts.size) return undefined;
  const end = (await reading).slice(start - offset);
  return end.length === facts.size - start ? end : undefined;
}

/** Whether facts are those of a file. */
export function isFile({ mode }: FileFacts): boolean {
  return mode !== undefined && (mode & TYPE_MASK) === FILE_TYPE;
}

/** Whether facts are those of a folder. */
export function isFolder({ mode }: FileFacts): boolean {
  return mode !== undefined && (mode & TYPE_MASK) === FOLDER_TYPE;
}

/** What facts say of an object. */
export function factsOf({ size = 0, mtime = 0 }: FileFacts): ObjectFacts {
  return { size, mtime };
}
