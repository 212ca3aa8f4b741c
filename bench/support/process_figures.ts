/**
 * What this process holds.
 *
 * @module
 */
import { existsSync, readFileSync } from "node:fs";
import process from "node:process";
import { loadNative } from "../../ffi/mod.ts";
import { findShim } from "../../src/shim_path.ts";
import { processCensus } from "../../tests/soak/soak_support.ts";

/** Resident memory at its most, in MB; 0 where the system does not tell. */
export function peakMb(): number {
  const status = existsSync("/proc/self/status") ? readFileSync("/proc/self/status", "utf8") : "";
  return Number(/^VmHWM:\s*(\d+)/m.exec(status)?.[1] ?? 0) / 1024;
}

/** Memory, threads and files of the process. */
export function processFigures(): Record<"RSS MB" | "peak MB" | "threads" | "files", number> {
  const { threads, descriptors } = processCensus();
  return { "RSS MB": process.memoryUsage().rss / 2 ** 20, "peak MB": peakMb(), threads, files: descriptors };
}

/** Bytes of decoded pages that the shim holds for all replicas, in MB. */
export async function poolMb(): Promise<number> {
  const bytes = new Uint8Array(8);
  (await loadNative(findShim())).calls.ls_pool_bytes(bytes);
  return Number(new DataView(bytes.buffer).getBigUint64(0, true)) / 2 ** 20;
}

/** CPU time of the process so far, in ms. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
