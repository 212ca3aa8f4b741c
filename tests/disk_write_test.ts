/** writeAll() leaves no byte out. */
import assert from "node:assert/strict";
import type { FileHandle } from "node:fs/promises";
import { test } from "node:test";
import { writeAll } from "../src/disk_write.ts";

/** A file that takes so many bytes at once, and so many in all. */
class NarrowFile {
  readonly taken: [offset: number, bytes: number[]][] = [];
  #left: number;

  constructor(readonly atOnce: number, inAll: number) {
    this.#left = inAll;
  }

  get handle(): Pick<FileHandle, "write"> {
    const write = (bytes: Uint8Array, from: number, size: number, offset: number) => {
      const bytesWritten = Math.min(this.atOnce, size, this.#left);
      this.#left -= bytesWritten;
      this.taken.push([offset, [...bytes.subarray(from, from + bytesWritten)]]);
      return Promise.resolve({ bytesWritten, buffer: bytes });
    };
    return { write } as unknown as Pick<FileHandle, "write">;
  }
}

test("writeAll() writes what the system did not take at once", async () => {
  const file = new NarrowFile(3, Infinity);
  await writeAll(file.handle, Uint8Array.of(1, 2, 3, 4, 5, 6, 7), 100);
  assert.deepEqual(file.taken, [[100, [1, 2, 3]], [103, [4, 5, 6]], [106, [7]]]);
});

test("writeAll() fails where the system takes no more, and never waits for that", async () => {
  const file = new NarrowFile(3, 5);
  await assert.rejects(writeAll(file.handle, new Uint8Array(7), 0), /takes none of them behind 5$/);
});
