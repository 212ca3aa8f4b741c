import { after, before } from "node:test";
import { testStorage } from "../../src/contract/storage_contract.ts";
import { gsAddress } from "../../src/storage/gs/gs_address.ts";
import { GsStorage } from "../../src/storage/gs/gs_storage.ts";
import { type GcsServer, gcsServerBinary, startGcsServer } from "../support/gcs_server.ts";
import { gsPlaces } from "../support/all_places.ts";
import { testPlace } from "../support/place_suite.ts";
import { skipWithout } from "../support/real.ts";

const parts = { "fake-gcs-server": gcsServerBinary() };
const skip = skipWithout(parts);
let server: GcsServer;
before(async () => {
  if (!skip) server = await startGcsServer();
});
after(() => server?.close());

testStorage("gs", async () => {
  const bucket = await server.newBucket();
  const [storage, other] = [1, 2].map(() =>
    new GsStorage(gsAddress({ bucket, endpoint: server.endpoint }, {}), undefined, {})
  );
  return { storage: storage!, other: other!, close: async () => {} };
}, { skip, listedCount: 1_050, removedCount: 100 });

testPlace("gs", gsPlaces, { writes: true, parts });
