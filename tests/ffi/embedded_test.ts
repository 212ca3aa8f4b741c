/** The shim in the package: where it is unpacked to, and what is not trusted. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { embeddedShim, libraryOf, shimTarget } from "../../ffi/embedded.ts";
import { loadNative } from "../../ffi/mod.ts";
import { prebuilt, type Target } from "../../ffi/prebuilt/index.ts";
import { shimFolders } from "../../ffi/shim_folder.ts";
import { ABI_VERSION } from "../../ffi/symbols.ts";
import { ShimError } from "../../src/errors.ts";

const NOBODY = 65_534;
const CHILD = fileURLToPath(new URL("./unpack_child.ts", import.meta.url));
const home = realpathSync(mkdtempSync(join(tmpdir(), "embedded-")));
after(() => {
  if (noexec) spawnSync("umount", ["-l", noexec]);
  rmSync(home, { recursive: true, force: true });
});

const asRoot = process.getuid?.() === 0 ? false : "Cannot give files to others: this is not root";
const noexec = noexecFolder();
const withoutNoexec = noexec ? false : "Cannot mount a file system that runs nothing";

/** A folder where libraries can be kept and not loaded; undefined where none can be had. */
function noexecFolder(): string | undefined {
  const folder = join(home, "noexec");
  mkdirSync(folder);
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", "noexec,mode=0700", "tmpfs", folder]);
  return status === 0 ? folder : undefined;
}

let count = 0;
function newFolder(): string {
  return join(home, `folder-${++count}`);
}

function expected() {
  const target = shimTarget();
  assert.ok(target, `no shim for ${process.platform} ${process.arch}`);
  return prebuilt[target];
}

/** Where the library comes to lie in a folder. */
function placeIn(folder: string): string {
  return join(folder, expected().sha256.slice(0, 32), expected().file);
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function assertWhole(path: string): Promise<void> {
  assert.equal(await sha256(new Uint8Array(readFileSync(path))), expected().sha256);
}

async function refusal(folders: string[]): Promise<string> {
  const error = await embeddedShim({ folders }).then(() => undefined, (error) => error);
  assert.ok(error instanceof ShimError, String(error));
  assert.match(error.message, /^Cannot unpack shim .*expected a folder .*LITESTREAM_VFS_SHIM$/s);
  return error.message;
}

test("embeddedShim() unpacks once, for this user alone, and the library is of this ABI", async () => {
  const folder = newFolder();
  const path = await embeddedShim({ folders: [folder] });
  assert.equal(path, placeIn(folder));
  await assertWhole(path);
  for (const each of [folder, dirname(path), path]) assert.equal(lstatSync(each).mode & 0o777, 0o700, each);
  assert.equal((await loadNative(path)).calls.ls_abi(), ABI_VERSION);
  const { ino, mtimeMs } = statSync(path);
  assert.equal(await embeddedShim({ folders: [folder] }), path);
  assert.deepEqual([statSync(path).ino, statSync(path).mtimeMs], [ino, mtimeMs]);
  assert.deepEqual(readdirSync(dirname(path)), [basename(path)]);
});

test("embeddedShim() replaces bytes that were changed, or cut off", async () => {
  const folder = newFolder();
  const path = await embeddedShim({ folders: [folder] });
  for (
    const damage of [
      () => writeFileSync(path, readFileSync(path).fill(0x90, 4096, 4104)),
      () => truncateSync(path, 1000),
      () => truncateSync(path, 0),
      () => rmSync(path),
    ]
  ) {
    damage();
    assert.equal(await embeddedShim({ folders: [folder] }), path);
    await assertWhole(path);
  }
});

test("embeddedShim() goes by no link, and to no folder or file that others may write to", async () => {
  const good = newFolder();
  const linked = newFolder();
  const elsewhere = newFolder();
  mkdirSync(elsewhere, { mode: 0o700 });
  symlinkSync(elsewhere, linked);
  assert.match(await refusal([linked]), /"[^"]*" is no folder of its own/);
  assert.deepEqual(readdirSync(elsewhere), []);

  const inner = newFolder();
  mkdirSync(inner, { mode: 0o700 });
  symlinkSync(elsewhere, dirname(placeIn(inner)));
  assert.match(await refusal([inner]), /is no folder of its own/);
  assert.deepEqual(readdirSync(elsewhere), []);

  const file = newFolder();
  mkdirSync(dirname(placeIn(file)), { recursive: true, mode: 0o700 });
  const real = await embeddedShim({ folders: [good] });
  symlinkSync(real, placeIn(file)); // the very bytes that are wanted, but whose?
  assert.match(await refusal([file]), /is no file of its own/);

  for (const mode of [0o770, 0o707, 0o777]) {
    const open = newFolder();
    mkdirSync(open);
    chmodSync(open, mode);
    assert.match(await refusal([open]), /others may write to/);
    const above = newFolder();
    mkdirSync(above);
    chmodSync(above, mode);
    assert.match(await refusal([join(above, "litestream-vfs")]), /others may write to/);
  }
  const writable = newFolder();
  const path = await embeddedShim({ folders: [writable] });
  chmodSync(path, 0o722);
  assert.match(await refusal([writable]), /others may write to/);
  assert.equal(await embeddedShim({ folders: [linked, writable, good] }), real);
});

test("embeddedShim() uses nothing of another user's", { skip: asRoot }, async () => {
  const folder = newFolder();
  const path = await embeddedShim({ folders: [folder] });
  for (const each of [path, dirname(path), folder]) {
    chownSync(each, NOBODY, NOBODY);
    assert.match(await refusal([folder]), new RegExp(`is of user ${NOBODY}`), each);
    chownSync(each, 0, 0);
  }
  const above = newFolder();
  mkdirSync(above, { mode: 0o755 });
  chownSync(above, NOBODY, NOBODY);
  assert.match(await refusal([join(above, "litestream-vfs")]), new RegExp(`is of user ${NOBODY}`));
  assert.equal(await embeddedShim({ folders: [folder] }), path);
});

test("embeddedShim() goes on to the next folder where one cannot be made, or written to", async () => {
  const file = newFolder();
  writeFileSync(file, "");
  const next = newFolder();
  assert.equal(await embeddedShim({ folders: [join(file, "litestream-vfs"), next] }), placeIn(next));
  assert.equal(await embeddedShim({ folders: ["/proc/litestream-vfs", next] }), placeIn(next));
  assert.match(await refusal([]), /no folder is known/);
});

test(
  "embeddedShim() goes on to the next folder where nothing can be run",
  { skip: withoutNoexec },
  async () => {
    const next = newFolder();
    const folder = join(noexec!, "litestream-vfs");
    assert.equal(await embeddedShim({ folders: [folder, next] }), placeIn(next));
    assert.equal(existsSync(placeIn(folder)), false); // nobody else is to find it there
    assert.match(await refusal([folder]), /Cannot load shim/);
  },
);

test("8 processes that unpack at once all get it whole", async () => {
  const folder = newFolder();
  const isDeno = "Deno" in globalThis;
  const args = isDeno ? ["run", "-A", "--no-check", CHILD, folder] : [CHILD, folder];
  const outputs = await Promise.all(Array.from({ length: 8 }, () => {
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    child.stdout.on("data", (chunk) => output += chunk);
    return new Promise<string>((resolve) => child.on("close", (code) => resolve(`${code} ${output.trim()}`)));
  }));
  for (const output of outputs) assert.equal(output, `0 ${placeIn(folder)}`);
  assert.deepEqual(readdirSync(dirname(placeIn(folder))), [expected().file]);
});

test("shimFolders() is the user's cache, then a folder of the user's beside temporary files", () => {
  const before = { ...process.env };
  const set = (values: Record<string, string | undefined>) => {
    for (const name of ["HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "TMPDIR", "TEMP", "TMP", "USER"]) {
      delete process.env[name];
      if (values[name] !== undefined) process.env[name] = values[name];
    }
  };
  try {
    set({ HOME: "/home/me", USER: "me" });
    assert.deepEqual(shimFolders("linux"), ["/home/me/.cache/litestream-vfs", "/tmp/litestream-vfs-me"]);
    assert.equal(shimFolders("darwin")[0], "/home/me/Library/Caches/litestream-vfs");
    set({ HOME: "/home/me", XDG_CACHE_HOME: "/var/mine", TMPDIR: "/scratch", USER: "../x" });
    assert.deepEqual(shimFolders("linux"), ["/var/mine/litestream-vfs", "/scratch/litestream-vfs-.._x"]);
    set({ HOME: "/home/me", XDG_CACHE_HOME: "relative" });
    assert.deepEqual(shimFolders("linux"), ["/tmp/litestream-vfs-user"]);
    set({ LOCALAPPDATA: "/l", TEMP: "/t" });
    assert.deepEqual(shimFolders("win32"), ["/l/litestream-vfs", "/t/litestream-vfs-user"]);
  } finally {
    set(before);
  }
});

test("every target's library is in its module, as the index tells; other platforms are told what there is", async () => {
  for (const [target, { size, sha256: wanted }] of Object.entries(prebuilt)) {
    const bytes = await libraryOf(target as Target);
    assert.equal(bytes.length, size, target);
    assert.equal(await sha256(new Uint8Array(bytes)), wanted, target);
  }
  assert.deepEqual(
    [["linux", "x64"], ["linux", "arm64"], ["darwin", "arm64"], ["darwin", "x64"], ["win32", "x64"]]
      .map(([platform, arch]) => shimTarget(platform, arch)),
    ["linux_x64", "linux_arm64", "macos_arm64", "macos_x64", "windows_x64"],
  );
  for (const [platform, arch] of [["linux", "riscv64"], ["win32", "ia32"], ["freebsd", "x64"], ["", ""]]) {
    assert.equal(shimTarget(platform, arch), undefined);
  }
  const error = await embeddedShim({ target: null }).then(() => undefined, (error) => error);
  assert.ok(error instanceof ShimError);
  const here = `${process.platform} on ${process.arch}`;
  assert.ok(
    error.message.startsWith(`Cannot find shim: there is none for ${here}, expected one of `),
    error.message,
  );
  assert.match(error.message, /linux_arm64.*shimPath.*LITESTREAM_VFS_SHIM.*sqlite: "wasm"$/);
});
