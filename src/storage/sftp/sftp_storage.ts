/**
 * SftpStorage: to be written.
 *
 * @module
 */
import type { OpenBackend } from "../backend.ts";
import type { SftpLocation } from "../backend_location.ts";

export const open: OpenBackend<SftpLocation> = () => {
  throw new TypeError("Cannot open replica: not built");
};
