/**
 * A process that wants the shim: unpacks it into the folders given, loads it, prints its path.
 *
 * @module
 */
import process from "node:process";
import { embeddedShim } from "../../ffi/embedded.ts";
import { loadNative } from "../../ffi/mod.ts";

const path = await embeddedShim({ folders: process.argv.slice(2) });
await loadNative(path);
console.log(path);
