/**
 * HttpStorage: to be written.
 *
 * @module
 */
import type { OpenBackend } from "../backend.ts";
import type { HttpLocation } from "../backend_location.ts";

export const open: OpenBackend<HttpLocation> = () => {
  throw new TypeError("Cannot open replica: not built");
};
