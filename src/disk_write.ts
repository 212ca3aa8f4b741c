/**
 * What is written to a file is written wholly, or it fails.
 *
 * @module
 */
import type { FileHandle } from "node:fs/promises";

/**
 * Writes all bytes at `offset`. A disk that gets full takes some of them without an error, and tells what is wrong when it is
 * asked for the rest.
 *
 * @throws what the system fails with
 */
export async function writeAll(
  file: Pick<FileHandle, "write">,
  bytes: Uint8Array,
  offset: number,
): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, offset + done);
    if (bytesWritten === 0) {
      throw new Error(`Cannot write ${bytes.length} bytes: the system takes none of them behind ${done}`);
    }
    done += bytesWritten;
  }
}
