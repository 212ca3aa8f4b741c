/** The libraries in ffi/prebuilt/: what they have, and what they ask of the systems. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { libraryOf } from "../../ffi/embedded.ts";
import { prebuilt, sources, type Target } from "../../ffi/prebuilt/index.ts";
import { symbols } from "../../ffi/symbols.ts";
import { fingerprint } from "../../scripts/prebuild.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const GLIBC_MINOR_MAX = 17;

/** All that is printable, as `strings` shows it. */
async function textOf(target: Target): Promise<string> {
  return new TextDecoder("latin1").decode(await libraryOf(target));
}

test("libraries were made of the sources that are here: else `npm run shims`", () => {
  assert.equal(sources, fingerprint());
});

test("libraries name every function of the ABI, and no folder of the machine that made them", async () => {
  for (const target of Object.keys(prebuilt) as Target[]) {
    const text = await textOf(target);
    for (const name of [...Object.keys(symbols), "sqlite3_litestreamvfs_init"]) {
      assert.ok(text.includes(`${name}\0`), `${target} has no ${name}`);
    }
    assert.equal(/\/(?:home|tmp|root|work|Users)\//.exec(text)?.[0], undefined, target);
    assert.equal(text.includes(ROOT), false, target);
  }
});

test("Linux' ask for glibc 2.17 at most, and for nothing that musl does not have", async () => {
  for (const target of ["linux_x64", "linux_arm64"] as const) {
    const text = await textOf(target);
    const minors = [...text.matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor));
    assert.ok(minors.length > 0 && Math.max(...minors) <= GLIBC_MINOR_MAX, `${target}: 2.${minors}`);
    const libraries = [...text.matchAll(/[\w-]+\.so\.\d+/g)].map(([name]) => name);
    assert.deepEqual(new Set(libraries), new Set(["libpthread.so.0", "libc.so.6", "libdl.so.2"]), target);
    assert.equal(text.includes("__tls_get_addr"), false, target);
  }
});

/** A Mach-O library's load commands, by number. */
function loadCommands(bytes: Uint8Array): Map<number, DataView[]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  assert.equal(view.getUint32(0, true), 0xfeedfacf, "no Mach-O of 64 bits");
  const found = new Map<number, DataView[]>();
  for (let i = 0, at = 32; i < view.getUint32(16, true); i++) {
    const command = view.getUint32(at, true) & 0x7fffffff;
    const size = view.getUint32(at + 4, true);
    found.set(command, [
      ...found.get(command) ?? [],
      new DataView(bytes.buffer, bytes.byteOffset + at, size),
    ]);
    at += size;
  }
  return found;
}

test("macOS' run from 11.0 on, ask for libSystem alone, and Apple's processors find a signature", async () => {
  const [LOAD_DYLIB, CODE_SIGNATURE, BUILD_VERSION] = [0xc, 0x1d, 0x32];
  for (const [target, cpu] of [["macos_x64", 0x01000007], ["macos_arm64", 0x0100000c]] as const) {
    const bytes = await libraryOf(target);
    const commands = loadCommands(bytes);
    assert.equal(new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true), cpu, target);
    assert.equal(commands.get(BUILD_VERSION)![0]!.getUint32(12, true), 11 << 16, target);
    const [library, ...more] = commands.get(LOAD_DYLIB)!;
    const name = new Uint8Array(library!.buffer, library!.byteOffset + 24, library!.byteLength - 24);
    assert.match(new TextDecoder().decode(name), /^\/usr\/lib\/libSystem\.B\.dylib\0/, target);
    assert.equal(more.length, 0, target);
    assert.equal(commands.has(CODE_SIGNATURE), cpu === 0x0100000c, target);
  }
});

test("Windows' asks for what every Windows has", async () => {
  const text = await textOf("windows_x64");
  const libraries = new Set([...text.matchAll(/[\w-]+\.dll/gi)].map(([name]) => name.toLowerCase()));
  libraries.delete("litestream_vfs.dll");
  for (const name of libraries) {
    assert.ok(["kernel32.dll", "msvcrt.dll", "bcrypt.dll", "ntdll.dll", "advapi32.dll"].includes(name), name);
  }
});
