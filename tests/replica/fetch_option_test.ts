import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { openReplica } from "../../mod.ts";
import type { FetchOption } from "../../src/options.ts";
import { makeReplica } from "../soak/soak_support.ts";
import { FakeS3 } from "../support/fake_s3.ts";

const KEY = "db/0009/0000000000000001-0000000000000001.ltx";
const PROXY = new URL("../support/proxy_fetch.ts", import.meta.url);

/** A server with a replica of 20 rows, small enough to come whole: no query waits for this thread, which serves. */
async function serve(): Promise<FakeS3> {
  const source = await makeReplica(20);
  const server = await FakeS3.start();
  server.put(KEY, await readFile(fileURLToPath(`${source.url}/ltx/9/${KEY.split("/").at(-1)}`)));
  await source.remove();
  return server;
}

function keysOf({ options: { accessKeyId, secretAccessKey } }: FakeS3) {
  return { accessKeyId, secretAccessKey };
}

async function rowsThrough(server: FakeS3, fetch: FetchOption, endpoint?: string): Promise<number> {
  await using replica = await openReplica("s3://bucket/db", {
    credentials: keysOf(server),
    fetch,
    ...(endpoint === undefined ? {} : { endpoint }),
  });
  const database = replica.connect();
  const { n } = database.prepare("SELECT count(*) AS n FROM t").get();
  database.close();
  return n;
}

for (const fetch of [{ module: PROXY }, { module: PROXY.href, export: "named" }] satisfies FetchOption[]) {
  test(`openReplica() sends every request through export "${fetch.export ?? "default"}"`, async () => {
    await using server = await serve();
    assert.equal(await rowsThrough(server, fetch, server.endpoint), 20);
    assert.ok(server.log.length >= 2);
    for (const { headers } of server.log) assert.match(headers.get("proxied") ?? "", /^\d+$/);
  });
}

/** A module of its own whose function sends every request to `origin`, whatever host it names. */
function redirecting(origin: string): string {
  return `export default (url, init) => {
    const { host, pathname, search } = new URL(url);
    const headers = new Headers(init.headers);
    headers.set("fake-host", host);
    return fetch("${origin}" + pathname + search, { ...init, headers });
  };`;
}

test("openReplica() lets a fetch function send requests elsewhere; what was signed stays signed", async () => {
  await using server = await serve();
  const folder = await mkdtemp(join(tmpdir(), "fetch-option-"));
  try {
    const path = join(folder, "redirecting.mjs");
    await writeFile(path, redirecting(server.endpoint));
    assert.equal(await rowsThrough(server, { module: pathToFileURL(path) }), 20);
    assert.equal(server.log[0]?.headers.get("host"), "bucket.s3.us-east-1.amazonaws.com");
  } finally {
    await rm(folder, { recursive: true });
  }
});

const faults: [name: string, fetch: FetchOption, words: RegExp][] = [
  [
    "no module",
    { module: new URL("./nowhere.ts", import.meta.url) },
    /Cannot use option fetch: file:\S+nowhere\.ts cannot be loaded: /,
  ],
  [
    "no such export",
    { module: PROXY, export: "other" },
    /has no export "other", expected one of its own \(it exports .*"named".*\)/,
  ],
  [
    "an export that is no function",
    { module: PROXY, export: "noFunction" },
    /export "noFunction" of file:\S+ is string, expected a function/,
  ],
];
for (const [name, fetch, message] of faults) {
  test(`openReplica() tells of ${name}`, async () => {
    const options = { endpoint: "http://127.0.0.1:1", credentials: "anonymous" as const, fetch };
    await assert.rejects(openReplica("s3://bucket/db", options), { name: "TypeError", message });
  });
}

test("openReplica() waits for a fetch module no longer than for the opening", async () => {
  const module = new URL("../support/waiting_module.ts", import.meta.url);
  const options = { endpoint: "http://127.0.0.1:1", credentials: "anonymous" as const, openTimeoutMs: 500 };
  await assert.rejects(openReplica("s3://bucket/db", { ...options, fetch: { module } }), {
    name: "DeadlineError",
    message: /Cannot open replica .* not done after 500 ms/,
  });
});
