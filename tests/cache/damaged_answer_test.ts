/** Bytes that are damaged on their way to a disk cache: it is asked for them again, and the cache has the right ones then. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Fault, FaultSchedule, type FaultSubject } from "../support/faults.ts";
import { CachedPlace } from "./cached_place.ts";

const ALL = "SELECT count(*) AS n, sum(length(x)) AS bytes, sum(unicode(hex(x))) AS sum FROM noise";

/** Counts the faults that happened. */
class Counted extends FaultSchedule {
  count = 0;

  override pick(subject: FaultSubject): Fault | undefined {
    const fault = super.pick(subject);
    if (fault) this.count++;
    return fault;
  }
}

/** A replica of a large file, the base, and a small one. */
async function withPlace(use: (place: CachedPlace) => Promise<void>): Promise<void> {
  await CachedPlace.with(async (place) => {
    place.folder.record(`CREATE TABLE noise (id INTEGER PRIMARY KEY, x);
      WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
      INSERT INTO noise SELECT i, randomblob(700) FROM n`);
    place.folder.snapshot();
    place.folder.step("UPDATE noise SET x = randomblob(50) WHERE id = 77");
    place.push();
    await use(place);
  });
}

for (
  const [what, rule] of [
    ["header of a large file", { key: "0009/", nth: 1, fault: { kind: "flipped", at: 1 } }],
    ["page index of a large file", { key: "0009/", nth: 2, fault: { kind: "flipped" } }],
    ["frame", { key: "0009/", nth: 3, fault: { kind: "flipped", at: 1 } }],
    ["small file", { key: "0000/", nth: 1, fault: { kind: "flipped" } }],
  ] as const
) {
  test(`cacheDir: a ${what} that was damaged on its way does no harm to who asks, or comes after`, () =>
    withPlace(async (place) => {
      const wanted = place.folder.rows(ALL);
      const faults = place.s3.options.faults = new Counted([rule]);
      await place.with({ prefetch: "off" }, async (_, rows) => assert.deepEqual(await rows(ALL), wanted));
      assert.equal(faults.count, 1, "it was damaged");
      place.s3.options.faults = new FaultSchedule([]);
      for (const isLast of [false, true]) {
        await place.with({ prefetch: "off" }, async (replica, rows) => {
          assert.deepEqual(await rows(ALL), wanted);
          assert.deepEqual(await rows("PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
          // what came along with a damaged frame was given up, too
          if (isLast) assert.equal(replica.stats().getRequests, 0, "all is on disk");
        });
      }
    }));
}
