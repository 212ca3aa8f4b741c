/**
 * HttpListing: a way to know which files a web server has, and which content a name stands for.
 *
 * @module
 */

import type { FileFacts } from "../file_tag.ts";
import type { StorageRequest, StoredObject } from "../storage.ts";

/** What listings tell. */
export interface HttpListing {
  /** Files whose keys begin with `prefix`; undefined where files cannot be listed so. */
  list(prefix: string, request: StorageRequest): Promise<StoredObject[] | undefined>;
  /** The tag of a file that was read, as listings show it; undefined: it is another one than was listed as `wanted`. */
  tagOf(key: string, facts: FileFacts, wanted: string | undefined): string | undefined;
  /** A file was asked for and is not there. */
  forget(key: string): void;
}
