/**
 * Loads the shim, gives the permission for it up, and calls a function as often as one that is bound anew; Deno's alone.
 *
 * @module
 */
import { loadNative } from "../../ffi/mod.ts";
import { findShim } from "../../src/shim_path.ts";

interface Permissions {
  revokeSync(of: { name: "ffi" }): unknown;
}

const { calls } = await loadNative(findShim());
calls.ls_local_close(-1);
(globalThis as unknown as { Deno: { permissions: Permissions } }).Deno.permissions.revokeSync({
  name: "ffi",
});
for (let i = 0; i < 300; i++) calls.ls_local_close(-1);
console.log("called");
