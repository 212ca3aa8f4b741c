import assert from "node:assert/strict";
import { test } from "node:test";
import { Progress, type RestoreProgress } from "../../src/restore/progress.ts";

test("Progress tells no number that goes back, whatever is planned anew, and all of them at the end", () => {
  const told: RestoreProgress[] = [];
  const progress = new Progress(100, (now) => told.push(now));
  progress.plan({ bytes: 1000, pages: 90 });
  progress.came(40, 400);
  progress.plan({ bytes: 300, pages: 100 });
  progress.came(60, 200);
  progress.plan({ bytes: 50, pages: 20 });
  progress.came(20, 50);
  progress.end();
  assert.deepEqual(told.at(-1), { bytes: 650, bytesTotal: 650, pages: 100, pagesTotal: 100 });
  assert.deepEqual(told[0], { bytes: 0, bytesTotal: 1000, pages: 10, pagesTotal: 100 });
  for (const [i, { bytes, pages }] of told.slice(1).entries()) {
    assert.ok(bytes >= told[i]!.bytes && pages >= told[i]!.pages);
  }
});
