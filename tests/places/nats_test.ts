import { after, before } from "node:test";
import { testStorage } from "../../src/contract/storage_contract.ts";
import { natsPlaces } from "../support/all_places.ts";
import { testPlace } from "../support/place_suite.ts";
import { type NatsServer, natsServerBinary, natsStorage, startNatsServer } from "../support/nats_server.ts";
import { skipWithout } from "../support/real.ts";

const parts = { "nats-server": natsServerBinary() };
const skip = skipWithout(parts);
let server: NatsServer;
before(async () => {
  if (!skip) server = await startNatsServer();
});
after(() => server?.close());

testStorage("nats", async () => {
  const bucket = `b${crypto.randomUUID()}`;
  await server.makeBucket(bucket);
  const make = () => natsStorage(`nats://${server.host}/${bucket}`);
  return { storage: await make(), other: await make(), close: async () => {} };
}, { listedCount: 1_050, removedCount: 600, skip });

testPlace("nats", natsPlaces, { writes: true, parts });
