import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { loadNative } from "../../ffi/mod.ts";
import { CacheFolder, objectName } from "../../src/cache/cache_folder.ts";
import { RangeCache, type RangeCacheOptions } from "../../src/cache/range_cache.ts";
import { BLOCK_SIZE, headSize, shimChecksum } from "../../src/cache/range_file.ts";
import { findShim } from "../../src/shim_path.ts";
import { until } from "../replica/following.ts";

const MiB = 1024 * 1024;
const OF = { key: "0009/a.ltx", etag: "e1", size: 100_000_000 };
const checksum = shimChecksum(await loadNative(findShim()));

/** Why no file system can be mounted here; false where one can. */
const noMount = mountFault();

function mountFault(): string | false {
  const { status } = spawnSync("sh", [
    "-c",
    'f=$(mktemp -d) && mount -t tmpfs -o size=64k tmpfs "$f" && umount "$f"; s=$?; rmdir "$f"; exit $s',
  ]);
  return status === 0 ? false : "No file system of a few KiB can be mounted here";
}

function command(name: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(name, args);
  assert.equal(status, 0, String(stderr));
}

function bytesOf(size: number, seed = 1): Uint8Array {
  let x = seed >>> 0;
  return Uint8Array.from({ length: size }, () => (x = Math.imul(x, 1_664_525) + 1_013_904_223 >>> 0) >>> 24);
}

interface Place {
  readonly path: string;
  readonly folder: CacheFolder;
  readonly notices: string[];
  /** Another process's cache of the same folder, as it were. */
  make(more?: Partial<RangeCacheOptions>): RangeCache;
  /** Where a range lies. */
  fileOf(offset: number, size: number): string;
}

async function withFolder(use: (place: Place) => Promise<void>): Promise<void> {
  const path = mkdtempSync(join(tmpdir(), "range-cache-"));
  const folder = new CacheFolder(path);
  const notices: string[] = [];
  const made: RangeCache[] = [];
  const make = (more: Partial<RangeCacheOptions> = {}) => {
    const onNotice = (text: string) => void notices.push(text);
    made.push(new RangeCache({ folder, place: "here", bytesMax: 64 * MiB, checksum, onNotice, ...more }));
    return made.at(-1)!;
  };
  const fileOf = (offset: number, size: number) => folder.rangePath(objectName("here", OF), { offset, size });
  try {
    await use({ path, folder, notices, make, fileOf });
  } finally {
    for (const cache of made) await cache.close();
    rmSync(path, { recursive: true, force: true });
  }
}

/** Bytes of all files of ranges, each in whole blocks, and how many there are. */
function footprint({ folder }: Place): { bytes: number; files: number } {
  let [bytes, files] = [0, 0];
  if (!existsSync(folder.objects)) return { bytes, files };
  for (const entry of readdirSync(folder.objects, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    bytes += Math.ceil(statSync(join(entry.parentPath, entry.name)).size / 4096) * 4096;
    files++;
  }
  return { bytes, files };
}

async function keep(cache: RangeCache, offset: number, bytes: Uint8Array, of = OF): Promise<void> {
  cache.keep(of, offset, bytes);
  await cache.settle();
}

test("RangeCache gives what was kept, and parts of it, to others who share the folder", () =>
  withFolder(async (place) => {
    const bytes = bytesOf(100_000);
    await keep(place.make(), 5_000, bytes);
    const cache = place.make();
    for (
      const [from, size] of [[0, 100_000], [0, 1], [16_383, 2], [16_384, 16_384], [99_999, 1], [
        40_000,
        50_000,
      ]]
    ) {
      const read = await cache.read(OF, { offset: 5_000 + from!, size: size! });
      assert.deepEqual(read, bytes.subarray(from, from! + size!));
      assert.equal(cache.holds(OF, { offset: 5_000 + from!, size: size! }), true);
    }
    for (const [offset, size] of [[4_999, 2], [104_999, 2], [0, 10], [4_999, 200_000]]) {
      assert.equal(await cache.read(OF, { offset: offset!, size: size! }), undefined);
      assert.equal(cache.holds(OF, { offset: offset!, size: size! }), false);
    }
    for (const other of [{ ...OF, etag: "e2" }, { ...OF, key: "0009/b.ltx" }, { ...OF, size: 5 }]) {
      assert.equal(await cache.read(other, { offset: 5_000, size: 10 }), undefined);
    }
    assert.equal(await place.make({ place: "there" }).read(OF, { offset: 5_000, size: 10 }), undefined);
  }));

test("RangeCache puts a range together of several files", () =>
  withFolder(async (place) => {
    const bytes = bytesOf(200_000);
    const cache = place.make();
    for (const [from, to] of [[0, 50_000], [50_000, 60_000], [55_000, 150_000], [150_000, 200_000]]) {
      await keep(cache, from!, bytes.subarray(from, to));
    }
    assert.deepEqual(await cache.read(OF, { offset: 0, size: 200_000 }), bytes);
    assert.deepEqual(
      await cache.read(OF, { offset: 49_990, size: 100_020 }),
      bytes.subarray(49_990, 150_010),
    );
  }));

test("RangeCache keeps a long range in several files, and one that is there not again", () =>
  withFolder(async (place) => {
    const cache = place.make();
    const bytes = bytesOf(2.5 * MiB);
    await keep(cache, 0, bytes);
    assert.equal(footprint(place).files, 3);
    await keep(cache, 10, bytes.subarray(10, MiB));
    assert.equal(footprint(place).files, 3);
    assert.deepEqual(await cache.read(OF, { offset: 0, size: bytes.length }), bytes);
  }));

test("RangeCache copies what it keeps, and gives bytes that are the caller's own", () =>
  withFolder(async (place) => {
    const cache = place.make();
    const bytes = bytesOf(1_000);
    const given = bytes.slice();
    cache.keep(OF, 0, given);
    given.fill(0);
    await cache.settle();
    (await cache.read(OF, { offset: 0, size: 1_000 }))!.fill(0);
    assert.deepEqual(await cache.read(OF, { offset: 0, size: 1_000 }), bytes);
  }));

test("RangeCache heals: a file with any byte flipped is never believed, and removed", () =>
  withFolder(async (place) => {
    const bytes = bytesOf(600);
    const cache = place.make();
    await keep(cache, 0, bytes);
    const path = place.fileOf(0, 600);
    const whole = readFileSync(path);
    assert.equal(whole.length, headSize(600) + 600);
    for (let at = 0; at < whole.length; at++) {
      const damaged = Buffer.from(whole);
      damaged[at]! ^= 1 << (at % 8);
      writeFileSync(path, damaged);
      const other = place.make();
      assert.equal(await other.read(OF, { offset: 0, size: 600 }), undefined, `byte ${at}`);
      assert.equal(existsSync(path), false, `byte ${at}`);
      await keep(other, 0, bytes);
      assert.deepEqual(await other.read(OF, { offset: 0, size: 600 }), bytes);
    }
  }));

test("RangeCache heals: of a long range just the blocks that are read are checked, and all that are", () =>
  withFolder(async (place) => {
    const size = 4 * BLOCK_SIZE + 100;
    const bytes = bytesOf(size);
    await keep(place.make(), 0, bytes);
    const path = place.fileOf(0, size);
    const whole = readFileSync(path);
    for (let block = 0; block < 5; block++) {
      const damaged = Buffer.from(whole);
      damaged[headSize(size) + block * BLOCK_SIZE + 50]! ^= 0x80;
      writeFileSync(path, damaged);
      for (let other = 0; other < 5; other++) {
        if (other === block) continue;
        const range = { offset: other * BLOCK_SIZE + 10, size: 90 };
        assert.deepEqual(await place.make().read(OF, range), bytes.subarray(range.offset, range.offset + 90));
      }
      assert.equal(await place.make().read(OF, { offset: block * BLOCK_SIZE, size: 10 }), undefined);
      assert.equal(existsSync(path), false);
    }
  }));

test("RangeCache heals: a file of any other length is never believed where it ends too soon", () =>
  withFolder(async (place) => {
    const bytes = bytesOf(300);
    await keep(place.make(), 0, bytes);
    const path = place.fileOf(0, 300);
    const whole = readFileSync(path);
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(path, whole);
      truncateSync(path, length);
      assert.equal(await place.make().read(OF, { offset: 0, size: 300 }), undefined, `${length} bytes`);
      assert.equal(existsSync(path), false, `${length} bytes`);
    }
  }));

test("RangeCache heals: a file under another's name, in another's folder, or none of ours", () =>
  withFolder(async (place) => {
    const other = { ...OF, etag: "e2" };
    const [cache, path] = [place.make(), place.fileOf(0, 300)];
    const otherPath = place.folder.rangePath(objectName("here", other), { offset: 0, size: 300 });
    mkdirSync(dirname(otherPath), { recursive: true });
    for (const to of [otherPath, place.fileOf(1, 300), place.fileOf(0, 299), place.fileOf(0, 301)]) {
      await keep(cache, 0, bytesOf(300));
      renameSync(path, to);
      cache.holds(OF, { offset: 0, size: 300 });
      const [of, offset, size] = to === otherPath
        ? [other, 0, 300]
        : [OF, Number(/(\d+)-(\d+)$/.exec(to)![1]), Number(/(\d+)-(\d+)$/.exec(to)![2])];
      assert.equal(await place.make().read(of as typeof OF, { offset, size }), undefined, to);
      assert.equal(existsSync(to), false, to);
      assert.equal(await cache.read(OF, { offset: 0, size: 300 }), undefined);
    }
    for (const name of ["x", "-1-5", "0-0", "1-", "0-5.tmp"]) {
      writeFileSync(join(dirname(path), name), "junk");
    }
    await keep(cache, 0, bytesOf(300));
    assert.deepEqual(await place.make().read(OF, { offset: 0, size: 300 }), bytesOf(300));
    assert.equal(place.notices.filter((text) => /was damaged, and is fetched again/.test(text)).length, 4);
  }));

test("RangeCache reads on when files vanish under it", () =>
  withFolder(async (place) => {
    const cache = place.make();
    await keep(cache, 0, bytesOf(300));
    rmSync(place.folder.objects, { recursive: true });
    assert.equal(await cache.read(OF, { offset: 0, size: 300 }), undefined);
    assert.equal(cache.holds(OF, { offset: 0, size: 300 }), false);
    await keep(cache, 0, bytesOf(300));
    assert.deepEqual(await cache.read(OF, { offset: 0, size: 300 }), bytesOf(300));
  }));

test("RangeCache sees what another process keeps later, once it has missed it", () =>
  withFolder(async (place) => {
    const [cache, other] = [place.make(), place.make()];
    await keep(cache, 0, bytesOf(100));
    const range = { offset: 100, size: 100 };
    assert.equal(await cache.read(OF, range), undefined);
    await keep(other, 100, bytesOf(100, 2));
    const realNow = Date.now;
    try {
      Date.now = () => realNow() + 10_000;
      assert.equal(await cache.read(OF, range), undefined); // looks again, in the background
    } finally {
      Date.now = realNow;
    }
    await until("it is known", () => cache.holds(OF, range));
    assert.deepEqual(await cache.read(OF, range), bytesOf(100, 2));
  }));

test("RangeCache removes what was used longest ago, and no more than needed", () =>
  withFolder(async (place) => {
    const cache = place.make();
    const size = 60 * 1024;
    for (let i = 0; i < 40; i++) {
      await keep(cache, i * MiB, bytesOf(size, i));
      const usedS = 1_700_000_000 + ((i * 17) % 40) * 100; // another order than they were made in
      utimesSync(place.fileOf(i * MiB, size), usedS, usedS);
    }
    const bound = 32 * 64 * 1024;
    await place.make({ bytesMax: bound }).look();
    const left = Array.from({ length: 40 }, (_, i) => i).filter((i) =>
      existsSync(place.fileOf(i * MiB, size))
    );
    const { bytes } = footprint(place);
    assert.ok(bytes <= bound * 13 / 16 && bytes > bound * 3 / 4, `${bytes} of ${bound}`);
    const ages = (i: number) => (i * 17) % 40;
    const gone = Array.from({ length: 40 }, (_, i) => i).filter((i) => !left.includes(i));
    assert.ok(Math.max(...gone.map(ages)) < Math.min(...left.map(ages)));
  }));

test("RangeCache: a file that is read counts as used, once a minute", () =>
  withFolder(async (place) => {
    await keep(place.make(), 0, bytesOf(100));
    const path = place.fileOf(0, 100);
    utimesSync(path, 1_000_000, 1_000_000);
    const cache = place.make();
    await cache.read(OF, { offset: 0, size: 10 });
    await until("it is marked as used", () => Date.now() - statSync(path).mtimeMs < 60_000);
    utimesSync(path, 1_000_000, 1_000_000);
    await cache.read(OF, { offset: 0, size: 10 });
    await cache.look();
    assert.equal(statSync(path).mtimeMs, 1_000_000_000);
  }));

test("RangeCache stays within its bound while it is written to", () =>
  withFolder(async (place) => {
    const bound = 2 * MiB;
    const cache = place.make({ bytesMax: bound });
    let most = 0;
    for (let i = 0; i < 300; i++) {
      // Nothing is kept while room is made.
      await until("it is kept", async () => {
        await keep(cache, i * MiB, bytesOf(30_000, i));
        return cache.holds(OF, { offset: i * MiB, size: 30_000 });
      });
      if (i % 10 === 0) most = Math.max(most, footprint(place).bytes);
    }
    assert.ok(most <= bound * 1.05 && most > bound / 2, `${most} of ${bound}`);
    assert.deepEqual(await cache.read(OF, { offset: 299 * MiB, size: 30_000 }), bytesOf(30_000, 299));
  }));

test("RangeCache: processes that live for a moment only keep the bound together", () =>
  withFolder(async (place) => {
    const bytesMax = MiB;
    let most = 0;
    for (let i = 0; i < 120; i++) {
      const cache = place.make({ bytesMax });
      await keep(cache, i * MiB, bytesOf(15_000, i));
      await cache.close();
      most = Math.max(most, footprint(place).bytes);
    }
    assert.ok(most <= bytesMax * 1.1 && most > bytesMax / 2, `${most} of ${bytesMax}`);
  }));

test("RangeCache does not keep what is large beside its bound", () =>
  withFolder(async (place) => {
    const cache = place.make({ bytesMax: MiB });
    await keep(cache, 0, bytesOf(200_000));
    assert.equal(footprint(place).files, 0);
  }));

test("RangeCache: a full disk is told once, and what is there is read on", () =>
  withFolder(async (place) => {
    let isFull = false;
    const cache = place.make({
      write: async (path, bytes) => {
        if (isFull) {
          throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
        }
        await place.folder.write(path, bytes);
      },
    });
    await keep(cache, 0, bytesOf(100));
    isFull = true;
    for (let i = 1; i < 5; i++) {
      await keep(cache, i * 1_000, bytesOf(100));
      assert.equal(await cache.read(OF, { offset: i * 1_000, size: 100 }), undefined);
    }
    assert.deepEqual(await cache.read(OF, { offset: 0, size: 100 }), bytesOf(100));
    assert.equal(place.notices.length, 1);
    assert.match(
      place.notices[0]!,
      /Cannot keep what was fetched in ".*": ENOSPC: .*what is there is used all the same/,
    );
  }));

test(
  "RangeCache on a disk of 256 KiB that is full, then cannot be written to",
  { skip: noMount },
  () =>
    withFolder(async (place) => {
      const disk = join(place.path, "disk");
      mkdirSync(disk);
      command("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk);
      const folder = new CacheFolder(disk);
      const cache = place.make({ folder });
      let other: RangeCache | undefined;
      try {
        for (let i = 0; i < 30; i++) await keep(cache, i * 20_000, bytesOf(20_000, i));
        assert.match(place.notices.join("\n"), /^Cannot keep what was fetched in ".*": .*(ENOSPC|no space)/i);
        assert.deepEqual(readdirSync(folder.unfinished), []);
        const isThere = (other: RangeCache, i: number) =>
          other.holds(OF, { offset: i * 20_000, size: 20_000 });
        const count = Array.from({ length: 30 }, (_, i) => i).filter((i) => isThere(cache, i)).length;
        assert.ok(count >= 5 && count < 30, `${count} of 30`);
        command("mount", "-o", "remount,ro", disk);
        other = place.make({ folder });
        assert.deepEqual(await other.read(OF, { offset: 0, size: 20_000 }), bytesOf(20_000, 0));
        await keep(other, 29 * 20_000, bytesOf(20_000, 29));
        assert.equal(isThere(other, 29), false);
        assert.match(place.notices.at(-1)!, /EROFS|read-only/i);
        assert.equal(place.notices.length, 2);
      } finally {
        await Promise.all([cache.close(), other?.close()]); // what they have open keeps the disk busy
        command("umount", disk);
      }
    }),
);

test("RangeCache: where no folder can be made nothing is kept, and nothing fails", () =>
  withFolder(async (place) => {
    writeFileSync(join(place.path, "file"), "");
    const cache = place.make({ folder: new CacheFolder(join(place.path, "file", "cache")) });
    for (let i = 0; i < 3; i++) {
      await keep(cache, i * 1_000, bytesOf(100));
      assert.equal(await cache.read(OF, { offset: i * 1_000, size: 100 }), undefined);
    }
    assert.equal(place.notices.length, 1);
  }));

test("RangeCache leaves unfinished files of processes that ended to the next look", () =>
  withFolder(async (place) => {
    const cache = place.make();
    await keep(cache, 0, bytesOf(100));
    const [old, fresh] = ["old", "fresh"].map((name) => join(place.folder.unfinished, name));
    for (const path of [old!, fresh!]) writeFileSync(path, "half");
    utimesSync(old!, 1_000_000, 1_000_000);
    await cache.look();
    await cache.look(); // the first one may have been under way
    assert.deepEqual([existsSync(old!), existsSync(fresh!)], [false, true]);
  }));

test("RangeCache: files are their user's alone", () =>
  withFolder(async (place) => {
    await keep(place.make(), 0, bytesOf(100));
    const path = place.fileOf(0, 100);
    assert.equal(statSync(path).mode & 0o077, 0);
    assert.equal(statSync(dirname(path)).mode & 0o077, 0);
  }));
