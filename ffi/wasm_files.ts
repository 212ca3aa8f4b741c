/**
 * Files for a shim in WASM, which has none of its own: those that its core restores to.
 *
 * Calls answer as `platform.h` has it: 0 or a handle, or a negative LS_IO_ code. A handle is good on its own thread alone.
 *
 * @module
 */
import process from "node:process";
import type { WasmHeap } from "./wasm_heap.ts";

const IO = { failed: -1, full: -2, absent: -3, short: -5 } as const;

const CODES: Readonly<Record<string, number>> = {
  ENOSPC: IO.full,
  EDQUOT: IO.full,
  EFBIG: IO.full,
  ENOENT: IO.absent,
};

/** Bits of what an opening asks for: that there is no such file yet, and that it is no link or else. */
const NEW = 1;
const PLAIN = 2;

/** What C imports to use files. */
export function fileImports(heap: () => WasmHeap): Record<string, (...args: number[]) => number> {
  const fs = process.getBuiltinModule("node:fs");
  let fault = "";
  const attempt = (act: () => number): number => {
    try {
      return act();
    } catch (error) {
      fault = error instanceof Error ? error.message : String(error);
      return CODES[(error as { code?: string }).code ?? ""] ?? IO.failed;
    }
  };
  const path = (address: number) => heap().cText(address >>> 0);

  return {
    fileOpen: (name, flags) =>
      attempt(() => {
        const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW = 0 } = fs.constants;
        const mode = O_RDWR | O_CREAT | (flags! & NEW ? O_EXCL : 0) | (flags! & PLAIN ? O_NOFOLLOW : 0);
        const fd = fs.openSync(path(name!), mode, 0o600);
        if (!(flags! & PLAIN) || fs.fstatSync(fd).isFile()) return fd;
        fs.closeSync(fd);
        throw new Error("no plain file");
      }),
    fileClose: (fd) => attempt(() => (fs.closeSync(fd!), 0)),
    fileRead: (fd, address, size, offset) =>
      attempt(() => {
        const bytes = new Uint8Array(size!); // files are not read into shared memory
        for (let done = 0; done < size!;) {
          const count = fs.readSync(fd!, bytes, done, size! - done, offset! + done);
          if (count === 0) return IO.short;
          done += count;
        }
        heap().bytes.set(bytes, address! >>> 0);
        return 0;
      }),
    fileWrite: (fd, address, size, offset) =>
      attempt(() => {
        const bytes = heap().copy(address! >>> 0, size!);
        for (let done = 0; done < size!;) {
          done += fs.writeSync(fd!, bytes, done, size! - done, offset! + done);
        }
        return 0;
      }),
    fileSize: (fd) => attempt(() => fs.fstatSync(fd!).size),
    fileCut: (fd, size) => attempt(() => (fs.ftruncateSync(fd!, size!), 0)),
    fileSync: (fd) => attempt(() => (fs.fdatasyncSync(fd!), 0)),
    fileRemove: (name) => attempt(() => (fs.unlinkSync(path(name!)), 0)),
    fileIs: (fd, name) =>
      attempt(() => {
        const [open, named] = [fs.fstatSync(fd!), fs.statSync(path(name!))];
        return open.dev === named.dev && open.ino === named.ino ? 1 : 0;
      }),
    fileFault(address, size) {
      const bytes = new TextEncoder().encode(fault).subarray(0, size! - 1);
      heap().bytes.set([...bytes, 0], address! >>> 0);
      return 0;
    },
  };
}
