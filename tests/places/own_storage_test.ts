import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { testStorage } from "../../src/contract/storage_contract.ts";
import { testPlace } from "../support/place_suite.ts";
import makeStorage from "./own_storage.ts";

const env = {};

testStorage("a user's storage", async () => {
  const folder = await mkdtemp(join(tmpdir(), "own-"));
  const given = { url: `own:${folder}`, options: undefined, env };
  return {
    storage: makeStorage(given),
    other: makeStorage(given),
    close: () => rm(folder, { recursive: true }),
  };
}, { listedCount: 300, removedCount: 300 });

testPlace("a user's storage", async () => {
  const folder = await mkdtemp(join(tmpdir(), "own-"));
  return {
    place: (name) => ({
      url: `own:${folder}/${name}`,
      options: { storage: { module: new URL("./own_storage.ts", import.meta.url) } },
      replica: { url: pathToFileURL(join(folder, name)).href },
    }),
    close: () => rm(folder, { recursive: true }),
  };
}, { writes: true, parts: {} });
