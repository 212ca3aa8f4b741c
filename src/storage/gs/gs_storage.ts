/**
 * GsStorage: to be written.
 *
 * @module
 */
import type { OpenBackend } from "../backend.ts";
import type { GsLocation } from "../backend_location.ts";

export const open: OpenBackend<GsLocation> = () => {
  throw new TypeError("Cannot open replica: not built");
};
