/** A copy whose record or checksums are not as they were left: no bit of them makes an answer wrong. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { readRecord } from "../../src/hydrate/hydration_record.ts";
import { CachedPlace } from "../cache/cached_place.ts";
import { rowsOf, withConnection } from "../replica/drivers.ts";
import { type Place, shorten, smallSql, SUM, withPlace } from "./hydrating.ts";

const TIMEOUT = { timeout: 3_600_000 } as const;

/** Bytes between two that are flipped; what a TXID is written with is flipped in any case. */
const STEP = process.env.LONG === "1" ? 1 : 97;

/** Makes a copy of six pages at TXID 2. */
async function prepare(place: Place): Promise<void> {
  place.folder.step(smallSql(3));
  place.folder.step("UPDATE v SET x = 2");
  await place.make();
}

/** Gives the three files with each chosen byte of one of them flipped, in turn. */
async function eachFlipped(
  { path }: { readonly path: string },
  ending: string,
  { step, use }: { step: number; use: (what: string) => Promise<void> },
): Promise<void> {
  const files = ["", "-sums", "-state"].map((end) => [path + end, readFileSync(path + end)] as const);
  const whole = readFileSync(path + ending);
  const numbers = [...whole.toString("latin1").matchAll(/"(?:last)?[tT]xid":"(?=\d)/g)];
  const chosen = new Set(numbers.map(({ index, 0: { length } }) => index + length));
  for (let at = 0; at < whole.length; at += step) chosen.add(at);
  for (const at of chosen) {
    for (const [name, bytes] of files) writeFileSync(name, bytes);
    const flipped = Buffer.from(whole);
    flipped[at]! ^= 1 << at % 2; // the lowest two bits make a digit another digit
    writeFileSync(path + ending, flipped);
    await use(`byte ${at} of ${ending}`);
  }
}

test(
  "readRecord() does not believe a record of which any byte was flipped, or that was cut",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      await prepare(place);
      assert.equal((await readRecord(place.path))?.txid, 2n);
      const state = `${place.path}-state`;
      const whole = readFileSync(state);
      for (let at = 0; at < whole.length; at++) {
        const flipped = Buffer.from(whole);
        flipped[at]! ^= 1 << at % 8;
        writeFileSync(state, flipped);
        assert.equal(await readRecord(place.path), undefined, `byte ${at}`);
        writeFileSync(state, whole.subarray(0, at));
        assert.equal(await readRecord(place.path), undefined, `${at} bytes`);
      }
    }),
);

for (const ending of ["-state", "-sums"]) {
  test(
    `A copy whose ${ending} has any byte flipped is never ahead of what it has`,
    TIMEOUT,
    () =>
      withPlace({ pageSize: 512 }, async (place) => {
        const { folder } = place;
        await prepare(place);
        folder.step("UPDATE k SET x = x'00' WHERE id = 2");
        folder.step("UPDATE v SET x = 4");
        const wanted = shorten(folder.rows(SUM));
        const step = ending === "-sums" ? Math.ceil(STEP / 10) : STEP;
        const use = async (what: string) => {
          const replica = await place.openWhole();
          withConnection(
            replica,
            undefined,
            (db) => assert.deepEqual(shorten(rowsOf(db, SUM)), wanted, what),
          );
          await replica.close();
          await place.assertCopy();
        };
        await eachFlipped(place, ending, { step, use });
      }),
  );

  test(
    `Without a network, a copy whose ${ending} has any byte flipped is refused, or right`,
    TIMEOUT,
    () =>
      CachedPlace.with(async (place) => {
        place.folder.step(smallSql(3));
        place.push();
        const path = join(place.cacheDir, "copy.db");
        const copied = {
          cacheDir: undefined,
          hydrate: path,
          offline: "serve-stale",
        } as const;
        await place.with(copied, (replica) => replica.hydrated());
        await place.gate.set("shut");
        const wanted = shorten(place.folder.rows(SUM));
        let refused = 0;
        const use = async () => {
          const brief = { offline: "serve-stale", requestTimeoutMs: 300 } as const;
          const replica = await place.open({ ...copied, ...brief }).catch((error) => {
            assert.match(error.message, /Cannot list|fit to their checksums/);
            refused++;
          });
          if (!replica) return;
          withConnection(replica, undefined, (db) => assert.deepEqual(shorten(rowsOf(db, SUM)), wanted));
          await replica.close();
        };
        await use();
        assert.equal(refused, 0);
        await eachFlipped({ path }, ending, { step: ending === "-sums" ? 3 : STEP, use });
        assert.ok(refused > 0);
      }, { pageSize: 512 }),
  );
}
