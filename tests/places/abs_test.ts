import { after, before } from "node:test";
import { testStorage } from "../../src/contract/storage_contract.ts";
import { open } from "../../src/storage/abs/abs_storage.ts";
import type { BackendContext } from "../../src/storage/backend.ts";
import type { AbsLocation } from "../../src/storage/backend_location.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { azuriteProgram, type AzuriteServer, startAzurite } from "../support/azurite_server.ts";
import { testPlace } from "../support/place_suite.ts";
import { skipWithout } from "../support/real.ts";

const parts = { azurite: azuriteProgram() };
const skip = skipWithout(parts);
let azurite: AzuriteServer;
before(async () => {
  if (!skip) azurite = await startAzurite();
});
after(() => azurite?.close());

/** A container as somebody opens it who has these variables. */
async function openContainer(container: string, more: Partial<BackendContext> = {}): Promise<Storage> {
  const { account, endpoint } = azurite;
  const url = `abs://${account}@${container}/?endpoint=${encodeURIComponent(endpoint)}`;
  return await open(parseReplicaUrl(url) as AbsLocation, contextOf(more));
}

function contextOf(more: Partial<BackendContext>): BackendContext {
  return {
    env: { LITESTREAM_AZURE_ACCOUNT_KEY: azurite.key },
    credentials: undefined,
    fetch: undefined,
    fetchInit: undefined,
    now: Date.now,
    log: undefined,
    readFile: () => Promise.reject(new Error("no files here")),
    ...more,
  };
}

testStorage("abs", async () => {
  const container = await azurite.makeContainer();
  const [storage, other] = await Promise.all([openContainer(container), openContainer(container)]);
  return { storage, other, close: async () => {} };
}, { skip, listedCount: 400, removedCount: 400 });

testPlace("abs", async () => {
  const { account, key, endpoint } = azurite;
  const container = await azurite.makeContainer();
  return {
    place: (name) => ({
      url: `abs://${account}@${container}/${name}?endpoint=${encodeURIComponent(endpoint)}`,
      options: { credentials: { accessKeyId: account, secretAccessKey: key } },
      replica: { type: "abs", "account-name": account, bucket: container, path: name, endpoint },
      env: { LITESTREAM_AZURE_ACCOUNT_KEY: key },
    }),
    close: async () => {},
  };
}, { writes: true, parts });
