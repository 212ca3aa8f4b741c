import { after, before } from "node:test";
import { testStorage } from "../../src/contract/storage_contract.ts";
import {
  azuriteProgram,
  type AzuriteServer,
  contextOf,
  openAbs,
  startAzurite,
} from "../support/azurite_server.ts";
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
}, { skip, listedCount: 250, removedCount: 200 });

testPlace("abs", async () => {
  const { account, key, endpoint } = azurite;
  const container = await azurite.makeContainer();
  return {
    place: (name) => ({
      url: azurite.url(container, name),
      options: { credentials: { accessKeyId: account, secretAccessKey: key } },
      replica: { type: "abs", "account-name": account, bucket: container, path: name, endpoint },
      env: { LITESTREAM_AZURE_ACCOUNT_KEY: key },
    }),
    close: async () => {},
  };
}, { writes: true, parts });
