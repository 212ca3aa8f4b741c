import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { testStorage } from "../../src/contract/storage_contract.ts";
import {
  azuriteProgram,
  type AzuriteServer,
  contextOf,
  openAbs,
  startAzurite,
} from "../support/azurite_server.ts";
import { absPlaces } from "../support/all_places.ts";
import { testPlace } from "../support/place_suite.ts";
import { skipWithout } from "../support/real.ts";

const parts = { azurite: azuriteProgram() };
const skip = skipWithout(parts);
let azurite: AzuriteServer;
before(async () => {
  if (!skip) azurite = await startAzurite();
});
after(() => azurite?.close());

testStorage("abs", async () => {
  const url = azurite.url(await azurite.makeContainer());
  const context = contextOf({ LITESTREAM_AZURE_ACCOUNT_KEY: azurite.key });
  return { storage: await openAbs(url, context), other: await openAbs(url, context), close: async () => {} };
}, { skip, listedCount: 120, removedCount: 120 });

test("abs: of replacements of one object exactly one wins", { skip }, async () => {
  const url = azurite.url(await azurite.makeContainer());
  const storage = await openAbs(url, contextOf({ LITESTREAM_AZURE_ACCOUNT_KEY: azurite.key }));
  const request = { signal: new AbortController().signal, onProgress: () => {} };
  const put = (byte: number, how: { ifAbsent: boolean; ifMatch?: string }) =>
    storage.put!("lock.json", Uint8Array.of(byte), { ...request, ...how });
  assert.equal(await put(0, { ifAbsent: false, ifMatch: "0x8D0000000000000" }), undefined);
  const first = await put(0, { ifAbsent: true });
  const made = await Promise.all(
    Array.from({ length: 12 }, (_, i) => put(i + 1, { ifAbsent: false, ifMatch: first!.etag })),
  );
  const winners = made.flatMap((won, i) => won === undefined ? [] : [i + 1]);
  assert.equal(winners.length, 1);
  const now = await storage.read("lock.json", { offset: 0, size: 1 }, request);
  assert.deepEqual([...now!.bytes], winners);
  assert.equal(now!.etag, made[winners[0]! - 1]!.etag);
});

testPlace("abs", () => absPlaces(azurite), { writes: true, parts });
