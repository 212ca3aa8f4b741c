/**
 * A range of a file on a web server.
 *
 * @module
 */

import { factsOf, type FileFacts } from "./file_tag.ts";
import { readRange } from "./http_body.ts";
import type { HttpAsk, HttpClient } from "./http_client.ts";
import { wrongAnswer } from "./http_fault.ts";
import type { ByteRange } from "./object_store.ts";
import type { StorageRequest } from "./storage.ts";

/** Bytes of a file, and what the answer says of it. */
export interface FileBytes {
  readonly bytes: Uint8Array;
  readonly facts: FileFacts;
}

/** What is asked for, and how. */
export interface FileRead {
  readonly ask: Omit<HttpAsk, "method" | "kind">;
  readonly range: ByteRange;
  readonly request: StorageRequest;
  /** Takes secrets out of a text. */
  readonly redact: (text: string) => string;
  /** Whether a success says that there is no such file. */
  readonly isAbsent?: (response: Response) => boolean;
}

/** Reads a range of whatever file is there; undefined: none, `"outside"`: it ends before the range begins. */
export async function readFileRange(
  client: HttpClient,
  { ask, range, request, redact, isAbsent }: FileRead,
): Promise<FileBytes | "outside" | undefined> {
  const asked = { ...ask, kind: "get" as const };
  const response = await client.send({
    ...asked,
    method: "GET",
    accepts: [404, 410, 416],
    headers: {
      ...ask.headers,
      "accept-encoding": "identity",
      range: `bytes=${range.offset}-${range.offset + range.size - 1}`,
    },
  }, request);
  if (!response.ok || isAbsent?.(response)) {
    await client.discard(response);
    return response.status === 416 ? "outside" : undefined;
  }
  if (response.status !== 206) {
    await client.discard(response);
    // The whole of a small file would do, until there are larger ones.
    throw wrongAnswer(
      asked,
      `status ${response.status} without a range`,
      "a server that answers ranges with status 206",
    );
  }
  const of = { key: ask.key, etag: "", size: 0 };
  const answer = { response, asked, options: request, counts: client.counts, redact };
  const { bytes, objectSize } = await readRange(answer, { of, range });
  return { bytes, facts: factsOf(response.headers, objectSize) };
}
