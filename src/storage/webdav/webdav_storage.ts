/**
 * WebdavStorage: to be written.
 *
 * @module
 */
import type { OpenBackend } from "../backend.ts";
import type { WebdavLocation } from "../backend_location.ts";

export const open: OpenBackend<WebdavLocation> = () => {
  throw new TypeError("Cannot open replica: not built");
};
