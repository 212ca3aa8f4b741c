import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before } from "node:test";
import { testObjectStore } from "../../src/contract/object_store_contract.ts";
import { AdaptedStore } from "../../src/storage/adapted_store.ts";
import type { HttpLocation } from "../../src/storage/backend_location.ts";
import { open } from "../../src/storage/http/http_storage.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { RetryingStore } from "../../src/storage/retrying_store.ts";
import { contextOf } from "../support/backend_context.ts";
import { httpPlaces } from "../support/all_places.ts";
import { testPlace } from "../support/place_suite.ts";
import { PublishedFolder } from "../support/published_folder.ts";
import { skipWithout } from "../support/real.ts";
import {
  apacheBinary,
  nginxBinary,
  startApache,
  startNginx,
  type WebServer,
} from "../support/web_servers.ts";

const LISTINGS = [
  {
    name: "http, index.json on nginx",
    binary: nginxBinary(),
    start: () => startNginx("off"),
    hasIndex: true,
  },
  { name: "http, nginx's JSON", binary: nginxBinary(), start: () => startNginx("json"), hasIndex: false },
  { name: "http, nginx's HTML", binary: nginxBinary(), start: () => startNginx("html"), hasIndex: false },
  { name: "http, Apache's HTML", binary: apacheBinary(), start: () => startApache(), hasIndex: false },
] as const;

for (const { name, binary, start, hasIndex } of LISTINGS) {
  const skip = skipWithout({ [name]: binary });
  let server: WebServer | undefined;
  before(async () => {
    if (!skip) server = await start();
  });
  after(() => server?.close());
  testObjectStore(name, async () => {
    const id = crypto.randomUUID();
    const path = join(server!.folder, "a b", id);
    await mkdir(path, { recursive: true });
    const folder = new PublishedFolder(path, hasIndex);
    if (hasIndex) await folder.index();
    const storage = await storageOf(`${server!.origin}/a%20b/${id}`);
    const store = new RetryingStore(new AdaptedStore(name, storage));
    return {
      store,
      put: (key, bytes) => folder.put(key, bytes),
      remove: (key) => folder.remove(key),
      close: () => store.close(),
    };
  }, { listedCount: 150, skip });
}

for (const listings of ["json", "html"] as const) {
  testPlace(`http, nginx's ${listings}`, () => httpPlaces(listings), {
    writes: false,
    parts: { nginx: nginxBinary() },
  });
}

function storageOf(url: string) {
  return open(parseReplicaUrl(url) as HttpLocation, contextOf());
}
