/** Each byte of all that a disk cache has, flipped in turn: what is read is right, or fails in words. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { recordValue } from "../replica/following.ts";
import { CachedPlace } from "./cached_place.ts";

/** Bytes of each file that are flipped; LONG=1: all of them. */
const FLIPS = process.env.LONG === "1" ? Infinity : 3;

const ALL = "SELECT x, pad FROM v, w";

/** Files of the cache and their bytes. */
function filesOf(cacheDir: string): [string, Buffer][] {
  return readdirSync(cacheDir, { recursive: true })
    .map((name) => join(cacheDir, String(name)))
    .filter((path) => statSync(path).isFile())
    .map((path) => [path, readFileSync(path)]);
}

/** Brings the cache to what it was. */
function putBack(cacheDir: string, files: readonly [string, Buffer][]): void {
  rmSync(cacheDir, { recursive: true, force: true });
  for (const [path, bytes] of files) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
  }
}

test(
  "cacheDir: no byte of any of its files makes an answer wrong, or an age younger",
  { timeout: 3_600_000 },
  () =>
    CachedPlace.with(async (place) => {
      const { folder, cacheDir, gate } = place;
      recordValue(folder, 2);
      folder.record("CREATE TABLE w (pad); INSERT INTO w VALUES (randomblob(300))");
      folder.snapshot();
      folder.step("UPDATE v SET x = 4");
      place.push();
      const wanted = folder.rows(ALL);
      const isRight = async (options: { offline?: "serve-stale" }, what: string) => {
        const seenMs = Date.now();
        const brief = options.offline && { requestTimeoutMs: 300 };
        await place.with({ ...options, ...brief }, async (replica, rows) => {
          assert.deepEqual(await rows(ALL), wanted, what);
          if (options.offline) assert.ok(replica.lagMs >= seenMs - closedMs, `${what}: ${replica.lagMs}`);
        });
      };
      let closedMs = 0;
      await isRight({}, "first");
      await place.with({}, async (replica) => void await replica.refresh()); // writes when it was seen, too
      closedMs = Date.now();
      const files = filesOf(cacheDir);
      const endings = ["objects", "plans", "total"].filter((part) =>
        files.some(([path]) => path.includes(`/${part}`))
      );
      assert.deepEqual(endings, ["objects", "plans", "total"]);
      let refused = 0;
      for (const [path, bytes] of files) {
        for (let at = 0; at < bytes.length; at += Math.max(1, Math.floor(bytes.length / FLIPS))) {
          const flipped = Buffer.from(bytes);
          flipped[at]! ^= 1 << at % 8;
          const what = `byte ${at} of ${path}`;
          for (const state of ["open", "shut"] as const) {
            putBack(cacheDir, files);
            writeFileSync(path, flipped);
            await gate.set(state);
            if (state === "open") await isRight({}, what);
            else {await isRight({ offline: "serve-stale" }, what).catch((error) => {
                assert.doesNotMatch(String(error?.name), /Assertion/, error?.message);
                refused++;
              });}
          }
        }
      }
      assert.ok(refused > 0);
    }),
);
