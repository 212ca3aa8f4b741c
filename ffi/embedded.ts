/**
 * The shim that comes with this package: a library for each platform, as text in a module, unpacked where one is loaded from.
 *
 * Each module is named in full where it is imported, so that it is in the graph of modules, which is what packages and
 * compiled programs are made of; only the platform's own is ever loaded.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { ShimError } from "../src/errors.ts";
import { loadNative } from "./mod.ts";
import { prebuilt, type Target } from "./prebuilt/index.ts";
import { shimFolders, unpackShim } from "./shim_folder.ts";

const modules: Readonly<Record<Target, () => Promise<{ base64: string }>>> = {
  linux_x64: () => import("./prebuilt/linux_x64.ts"),
  linux_arm64: () => import("./prebuilt/linux_arm64.ts"),
  macos_x64: () => import("./prebuilt/macos_x64.ts"),
  macos_arm64: () => import("./prebuilt/macos_arm64.ts"),
  windows_x64: () => import("./prebuilt/windows_x64.ts"),
};

const SYSTEMS: Readonly<Record<string, string>> = { linux: "linux", darwin: "macos", win32: "windows" };

/** What this process runs on, if there is a shim for it. */
export function shimTarget(
  platform: string = process.platform,
  arch: string = process.arch,
): Target | undefined {
  const name = `${SYSTEMS[platform]}_${arch}`;
  return name in prebuilt ? name as Target : undefined;
}

/**
 * The absolute path of this package's shim. It is unpacked once for each user, and verified each time. `target` null: none
 * is known.
 *
 * @throws {ShimError} there is none for this platform, or no folder for it
 */
export async function embeddedShim(
  { target = shimTarget(), folders = shimFolders() }: {
    target?: Target | null;
    folders?: readonly string[];
  } = {},
): Promise<string> {
  if (!target) {
    throw new ShimError(
      `Cannot find shim: there is none for ${process.platform} on ${process.arch}, expected one of ` +
        `${
          Object.keys(prebuilt).join(", ")
        }; name one that you built by the option shimPath or the environment ` +
        'variable LITESTREAM_VFS_SHIM, or do without by the option sqlite: "wasm"',
    );
  }
  return await unpackShim(prebuilt[target], { read: () => libraryOf(target), load: loadNative, folders });
}

/** A target's library as it is to lie in a file. */
export async function libraryOf(target: Target): Promise<Uint8Array<ArrayBuffer>> {
  const { base64 } = await modules[target]();
  return process.getBuiltinModule("node:zlib").gunzipSync(Buffer.from(base64, "base64"));
}
