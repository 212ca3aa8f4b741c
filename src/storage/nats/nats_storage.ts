/**
 * NatsStorage: to be written.
 *
 * @module
 */
import type { OpenBackend } from "../backend.ts";
import type { NatsLocation } from "../backend_location.ts";

export const open: OpenBackend<NatsLocation> = () => {
  throw new TypeError("Cannot open replica: not built");
};
