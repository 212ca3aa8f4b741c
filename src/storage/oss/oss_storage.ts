/**
 * OssStorage: to be written.
 *
 * @module
 */
import type { OpenBackend } from "../backend.ts";
import type { OssLocation } from "../backend_location.ts";

export const open: OpenBackend<OssLocation> = () => {
  throw new TypeError("Cannot open replica: not built");
};
