import { after, before } from "node:test";
import { testStorage } from "../../src/contract/storage_contract.ts";
import type { WebdavLocation } from "../../src/storage/backend_location.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { open } from "../../src/storage/webdav/webdav_storage.ts";
import { contextOf } from "../support/backend_context.ts";
import { webdavPlaces } from "../support/all_places.ts";
import { testPlace } from "../support/place_suite.ts";
import { skipWithout } from "../support/real.ts";
import {
  apacheBinary,
  rcloneBinary,
  startApache,
  startRclone,
  type WebServer,
} from "../support/web_servers.ts";

const SERVERS = [
  { name: "webdav on Apache", binary: apacheBinary(), start: startApache },
  { name: "webdav on rclone", binary: rcloneBinary(), start: startRclone },
] as const;

for (const { name, binary, start } of SERVERS) {
  const skip = skipWithout({ [name]: binary });
  let server: WebServer | undefined;
  before(async () => {
    if (!skip) server = await start();
  });
  after(() => server?.close());
  testStorage(name, async () => {
    const url = `${server!.origin.replace("http", "webdav")}/a b/${crypto.randomUUID()}`;
    const [storage, other] = [await storageOf(url), await storageOf(url)];
    return { storage, other, close: async () => {} };
  }, { listedCount: 40, removedCount: 40, skip });
}

testPlace("webdav on Apache", webdavPlaces, { writes: true, parts: { apache2: apacheBinary() } });

function storageOf(url: string) {
  return open(parseReplicaUrl(url) as WebdavLocation, contextOf());
}
