/**
 * What is said of a replica in a folder that is not there.
 *
 * @module
 */
import { stat } from "node:fs/promises";
import { RestorePlanError } from "../errors.ts";
import { codeOf } from "../storage/folder_fault.ts";
import type { FolderLocation } from "../storage/replica_url.ts";

/** The error of an opening that found nothing, or a better one: a store cannot tell a folder that is not there from an empty one. */
export async function explainFolder(error: RestorePlanError, location: FolderLocation): Promise<Error> {
  const isMissing = await stat(location.path).then(() => false, (fault) => codeOf(fault) === "ENOENT");
  if (!isMissing) return error;
  return new RestorePlanError(
    `Cannot open replica ${location.name}: no LTX files there, for there is no such folder, ` +
      "expected what `litestream replicate` writes; check the path, or give waitForReplicaMs to wait for the first files",
    "empty",
    { cause: error },
  );
}
