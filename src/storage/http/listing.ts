/**
 * HttpListing: a way to know which files a web server has; what it tells of those that are read.
 *
 * @module
 */

import type { FileFacts } from "../file_tag.ts";

/** What listings tell. */
export interface HttpListing {
  /**
   * The tag of a file that was read, as listings show it; undefined: it is not the one listed as `wanted`.
   */
  tagOf(key: string, facts: FileFacts, wanted: string | undefined): string | undefined;
  /** A file was asked for and is not there. */
  forget(key: string): void;
}
