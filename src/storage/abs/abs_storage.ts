/**
 * AbsStorage: to be written.
 *
 * @module
 */
import type { OpenBackend } from "../backend.ts";
import type { AbsLocation } from "../backend_location.ts";

export const open: OpenBackend<AbsLocation> = () => {
  throw new TypeError("Cannot open replica: not built");
};
