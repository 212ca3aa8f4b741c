/** Parts that are gathered in a file: what nobody waits for any more is neither left open nor left there. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { ReplicaClosedError } from "../../mod.ts";
import { type Spooled, SpooledParts } from "../../src/storage/spooled_parts.ts";
import { processCensus } from "../soak/soak_support.ts";

const MADE = { etag: '"e"', modifiedMs: 1 } as const;
const PART = { number: 1, offset: 0, bytes: new Uint8Array(100).fill(7) } as const;

/** Spools into nothing, and tells the folders of its uploads. */
function spoolInto(put: (spooled: Spooled) => Promise<void> = async () => {}) {
  return new SpooledParts(async (spooled) => {
    await put(spooled);
    return MADE;
  });
}

test("SpooledParts: an object is put as its parts came, and its file goes", async () => {
  const found: number[] = [];
  const parts = spoolInto(async ({ size, chunks }) => {
    assert.equal(size, 200);
    for await (const chunk of chunks()) found.push(...chunk);
  });
  const upload = await parts.begin("k");
  await parts.put(upload, PART, {});
  await parts.put(upload, { ...PART, number: 2, offset: 100, bytes: PART.bytes.map(() => 8) }, {});
  assert.deepEqual(await parts.complete(upload, ["1", "2"], {}), MADE);
  assert.deepEqual(found, [...PART.bytes, ...PART.bytes.map(() => 8)]);
  assert.equal(existsSync(upload.id), false);
});

const skip = process.platform === "win32" && "open files keep their names there";
test(
  "SpooledParts: what is gathered has no name, so that a killed process leaves none of it",
  { skip },
  async () => {
    const isThere: boolean[] = [];
    const parts = spoolInto(() => Promise.resolve(void isThere.push(existsSync(upload.id))));
    const upload = await parts.begin("k");
    await parts.put(upload, PART, {});
    isThere.push(existsSync(upload.id));
    await parts.complete(upload, ["1"], {});
    assert.deepEqual(isThere, [false, false]);
  },
);

const ENDINGS = {
  "was given up while it began": async (parts: SpooledParts) => {
    const abort = new AbortController();
    const beginning = parts.begin("k", { signal: abort.signal });
    abort.abort(new Error("given up"));
    await assert.rejects(beginning, /given up/);
  },
  "began while the store was closed": async (parts: SpooledParts) => {
    const beginning = parts.begin("k");
    await parts.close();
    await assert.rejects(beginning, ReplicaClosedError);
  },
} as const;

for (const [name, end] of Object.entries(ENDINGS)) {
  test(`SpooledParts: an upload that ${name} leaves no open file`, async () => {
    const before = processCensus().descriptors;
    for (let i = 0; i < 20; i++) await end(spoolInto());
    const after = processCensus().descriptors;
    assert.ok(after < before + 10, `${after} descriptors, ${before} before`);
  });
}
