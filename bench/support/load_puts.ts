/**
 * Puts files into an S3 stand-in that takes unsigned requests, as a primary would meanwhile.
 *
 * @module
 */
import { type HistoryFile, historyKey } from "../../tests/support/long_history.ts";

/** Puts a file into the replica at `path` of the bucket. */
export async function putFile(endpoint: string, path: string, file: HistoryFile): Promise<void> {
  const url = `${endpoint}/bucket/${path}/${historyKey("s3", file)}`;
  const { status } = await fetch(url, { method: "PUT", body: file.bytes });
  if (status !== 200) throw new Error(`Cannot put ${url}: status ${status}, expected 200`);
}
