import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { ObjectGoneError, StorageError } from "../../mod.ts";
import type { HttpLocation } from "../../src/storage/backend_location.ts";
import type { FetchFunction } from "../../src/storage/fetch_function.ts";
import { open } from "../../src/storage/http/http_storage.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import type { Storage, StoredObject } from "../../src/storage/storage.ts";
import { contextOf, requestOf } from "../support/backend_context.ts";
import { freePort } from "../support/real.ts";

const HOUR_MS = 3_600_000;
const START_MS = Date.UTC(2026, 0, 1);
const SECRET = "s3cr3t-token";

interface SiteFile {
  bytes: Uint8Array;
  modifiedMs: number;
  etag?: string;
}

interface Asked {
  readonly method: string;
  readonly url: URL;
  readonly headers: Headers;
}

/** A host to which files are uploaded: their times are those of uploading. `other` may answer before it. */
class FakeSite {
  readonly files = new Map<string, SiteFile>();
  readonly asked: Asked[] = [];
  other: (asked: Asked) => Response | undefined = () => undefined;

  put(path: string, content: string | Uint8Array, modifiedMs: number, etag?: string): void {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    this.files.set(path, { bytes, modifiedMs, ...(etag !== undefined && { etag }) });
  }

  /** Uploads an index; `files` as it says them. */
  index(modifiedMs: number, files: unknown[], more = {}): void {
    this.put("/r/index.json", JSON.stringify({ version: 1, files, ...more }), modifiedMs);
  }

  /** Paths that were asked for, with methods, since the last time. */
  taken(): string[] {
    return this.asked.splice(0).map(({ method, url }) => `${method} ${url.pathname}`);
  }

  readonly fetch = (url: string, init: RequestInit): Promise<Response> => {
    init.signal?.throwIfAborted();
    const asked = { method: init.method ?? "GET", url: new URL(url), headers: new Headers(init.headers) };
    this.asked.push(asked);
    return Promise.resolve(this.other(asked) ?? this.#answer(asked));
  };

  #answer({ method, url, headers }: Asked): Response {
    const file = this.files.get(decodeURIComponent(url.pathname));
    if (file === undefined) return new Response("none", { status: 404 });
    const { bytes, modifiedMs, etag } = file;
    const told = {
      "date": new Date(START_MS + 2 * HOUR_MS).toUTCString(),
      "last-modified": new Date(modifiedMs).toUTCString(),
      "content-length": String(bytes.length),
      ...(etag !== undefined && { etag }),
    };
    if (method === "HEAD") return new Response(null, { headers: told });
    if (headers.get("if-none-match") === etag && etag !== undefined) {
      return new Response(null, { status: 304 });
    }
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.get("range") ?? "") ?? [];
    if (first === undefined) return new Response(bytes.slice(), { headers: told });
    const part = bytes.slice(Number(first), Number(last) + 1);
    const range = `bytes ${first}-${Number(first) + part.length - 1}/${bytes.length}`;
    const length = String(part.length);
    const ranged = { ...told, "content-length": length, "content-range": range };
    return new Response(part, { status: 206, headers: ranged });
  }
}

async function opened(site: FakeSite, url = "http://h.example/r"): Promise<Storage> {
  return await open(parseReplicaUrl(url) as HttpLocation, contextOf({ fetch: site.fetch }));
}

async function listed(storage: Storage, prefix = ""): Promise<StoredObject[]> {
  const objects: StoredObject[] = [];
  for await (const page of storage.list(prefix, requestOf())) objects.push(...page);
  return objects;
}

async function readOf(storage: Storage, key: string, etag?: string) {
  const range = { offset: 0, size: 4 };
  return await storage.read(key, range, { ...requestOf(), ...(etag !== undefined && { etag }) });
}

async function failureOf(promise: Promise<unknown>): Promise<StorageError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof StorageError, String(error));
    return error;
  }
  assert.fail("it was no success");
}

test("HttpStorage: an index says what the files were before they were uploaded", async () => {
  const site = new FakeSite();
  site.put("/r/ltx/0/a", "aaaa", START_MS);
  site.index(START_MS + 1000, [{ key: "ltx/0/a", size: 4, modified: "2020-01-01T00:00:00Z" }]);
  const storage = await opened(site);
  const [a] = await listed(storage);
  assert.equal((await readOf(storage, "ltx/0/a", a!.etag))!.etag, a!.etag);
  assert.equal((await readOf(storage, "ltx/0/a"))!.etag, a!.etag);
  site.put("/r/ltx/0/a", "bbbb", START_MS + HOUR_MS);
  assert.equal(await readOf(storage, "ltx/0/a", a!.etag), undefined);
  const again = await opened(site); // the first thing that it reads is younger than the index
  const [listedAgain] = await listed(again);
  assert.equal(await readOf(again, "ltx/0/a", listedAgain!.etag), undefined);
});

test("HttpStorage: a file that was read by name keeps its tag when the index comes to have it", async () => {
  const site = new FakeSite();
  site.index(START_MS, [{ key: "ltx/0/1", size: 4, modified: START_MS - HOUR_MS }]);
  const storage = await opened(site);
  assert.equal((await listed(storage)).length, 1);
  site.put("/r/ltx/0/2", "2222", START_MS + 1000);
  const { etag } = (await readOf(storage, "ltx/0/2"))!;
  assert.deepEqual((await listed(storage, "ltx/0/")).map((object) => [object.key, object.etag])[1], [
    "ltx/0/2",
    etag,
  ]);
  site.index(START_MS + HOUR_MS, [{ key: "ltx/0/2", size: 4, modified: START_MS - 5000 }]);
  const [now] = await listed(storage);
  assert.deepEqual([now!.key, now!.etag, now!.modifiedMs], ["ltx/0/2", etag, START_MS - 5000]);
  assert.equal((await readOf(storage, "ltx/0/2", etag))!.etag, etag);
});

test("HttpStorage: files met by name are listed only while they are there", async () => {
  const site = new FakeSite();
  const entry = { key: "ltx/0/1", size: 4, modified: START_MS };
  site.index(START_MS, [entry]);
  const storage = await opened(site);
  for (const name of ["2", "3"]) {
    site.put(`/r/ltx/0/${name}`, "2222", START_MS + 1000);
    await readOf(storage, `ltx/0/${name}`);
  }
  assert.equal((await listed(storage)).length, 3);
  site.put("/r/ltx/0/3", "another", START_MS + 9000); // made anew
  assert.equal((await listed(storage)).length, 1);
  await readOf(storage, "ltx/0/3");
  site.index(START_MS + HOUR_MS, [entry, { ...entry, key: "ltx/0/4" }]); // an index that is newer has it not
  assert.deepEqual((await listed(storage)).map(({ key }) => key), ["ltx/0/1", "ltx/0/4"]);
});

test("HttpStorage: all levels come with one index, which is sent again when it has changed", async () => {
  const site = new FakeSite();
  site.index(START_MS, [{ key: "ltx/0/1", size: 4, modified: START_MS }]);
  const file = site.files.get("/r/index.json")!;
  site.files.set("/r/index.json", { ...file, etag: '"i1"' });
  const storage = await opened(site);
  await Promise.all(Array.from({ length: 10 }, (_, level) => listed(storage, `ltx/${level}/`)));
  assert.deepEqual(site.taken(), ["GET /r/index.json"]);
  assert.equal((await listed(storage)).length, 1);
  const [{ headers } = assert.fail("it was asked for")] = site.asked;
  assert.equal(headers.get("if-none-match"), '"i1"');
  assert.equal(headers.get("cache-control"), "no-cache");
  assert.equal(storage.counts!.bytes, file.bytes.length);
});

test("HttpStorage: an index that comes to a site without listings is seen at once", async () => {
  const site = new FakeSite();
  const storage = await opened(site);
  assert.deepEqual(await listed(storage, "ltx/"), []);
  site.put("/r/ltx/0/a", "aaaa", START_MS);
  site.index(START_MS, [{ key: "ltx/0/a", size: 4, modified: START_MS }]);
  assert.deepEqual((await listed(storage, "ltx/")).map(({ key }) => key), ["ltx/0/a"]);
});

test("HttpStorage: no index is asked for over and over where the site lists its folders", async () => {
  const site = new FakeSite();
  site.other = ({ url }) => {
    if (!url.pathname.endsWith("/ltx/")) return undefined;
    return new Response('<a href="0/">0/</a>', { headers: { "content-type": "text/html" } });
  };
  const storage = await opened(site);
  await listed(storage, "ltx/");
  site.asked.length = 0;
  for (const prefix of ["ltx/", "ltx/1/"]) await listed(storage, prefix);
  assert.deepEqual(site.taken(), ["GET /r/ltx/", "GET /r/ltx/0/", "GET /r/ltx/1/"]);
});

test("HttpStorage: an index that has what is gone is told of", async () => {
  const site = new FakeSite();
  site.index(START_MS, [{ key: "ltx/0/a", size: 4, modified: START_MS }]);
  const storage = await opened(site);
  const [a] = await listed(storage);
  const error = await failureOf(readOf(storage, "ltx/0/a", a!.etag));
  assert.ok(error instanceof ObjectGoneError);
  assert.match(error.message, /index.json has it and it is not there, expected an index that is made anew/);
});

test("HttpStorage: an index with ETags holds files to them", async () => {
  const site = new FakeSite();
  site.put("/r/ltx/0/a", "aaaa", START_MS, '"e1"');
  site.index(START_MS, [{ key: "ltx/0/a", size: 4, modified: START_MS, etag: 'W/"e1"' }]);
  const storage = await opened(site);
  assert.equal((await listed(storage))[0]!.etag, "e1");
  assert.equal((await readOf(storage, "ltx/0/a", "e1"))!.etag, "e1");
  assert.equal((await readOf(storage, "ltx/0/a"))!.etag, "e1");
  site.put("/r/ltx/0/a", "bbbb", START_MS, '"e2"');
  assert.equal(await readOf(storage, "ltx/0/a", "e1"), undefined);
});

test("HttpStorage: where pages tell names alone each file is asked for once, some at a time", async () => {
  const site = new FakeSite();
  const names = Array.from({ length: 300 }, (_, i) => String(i).padStart(4, "0"));
  for (const name of names) site.put(`/r/l/${name}`, "aaaa", START_MS, `"${name}"`);
  const rowOf = (name: string) =>
    `<a href="${name}">${name}</a> ${site.files.get(`/r/l/${name}`)!.modifiedMs}`;
  site.other = ({ url }) => {
    if (url.pathname !== "/r/l/") return undefined;
    return new Response(names.toReversed().map(rowOf).join("\n"), {
      headers: { "content-type": "text/html" },
    });
  };
  let [current, most] = [0, 0];
  const fetch = async (url: string, init: RequestInit) => {
    most = Math.max(most, ++current);
    await Promise.resolve();
    return await site.fetch(url, init).finally(() => current--);
  };
  const storage = await open(parseReplicaUrl("http://h.example/r") as HttpLocation, contextOf({ fetch }));
  const heads = () => site.taken().filter((asked) => asked.startsWith("HEAD")).length;
  const after = "l/0289";
  const some: StoredObject[] = [];
  for await (const page of storage.list("l/", { ...requestOf(), after })) some.push(...page);
  assert.deepEqual(some.map(({ key }) => key), names.slice(290).map((name) => `l/${name}`));
  assert.equal(heads(), 10);
  assert.deepEqual((await listed(storage, "l/")).map(({ etag }) => etag), names);
  assert.equal(heads(), 290);
  assert.ok(most > 1 && most <= 16, `${most} at once`);
  site.put("/r/l/0007", "bbbb", START_MS + 1000, '"other"');
  assert.equal((await listed(storage, "l/"))[7]!.etag, "other");
  assert.equal(heads(), 1);
});

test("HttpStorage: half an index is read again, one of another version is refused", async () => {
  const site = new FakeSite();
  const cases = [
    ['{"version":1,"files":[{"key"', true, /^Cannot list "index.json" in http:.* expected one whole index$/],
    [
      '{"version":2,"files":[]}',
      false,
      /: version 2 of index.json, expected version 1 with files$/,
    ],
    ['{"version":1,"files":[{"key":"a"}]}', false, /file 0 of index.json without key, size or time/],
  ] as const;
  for (const [text, retryable, message] of cases) {
    site.put("/r/index.json", text, START_MS);
    const error = await failureOf(listed(await opened(site)));
    assert.match(error.message, message);
    assert.equal(error.retryable, retryable, text);
  }
});

test("HttpStorage: a host that answers everything with its own page is no listing", async () => {
  const site = new FakeSite();
  const page = '<!doctype html><title>App</title><script src="/app.js"></script><a href="/about">About</a>';
  site.other = () => new Response(page, { headers: { "content-type": "text/html; charset=utf-8" } });
  const error = await failureOf(listed(await opened(site), "ltx/"));
  assert.match(error.message, /a page that lists no folder, expected index.json beside ltx\//);
  assert.equal(error.retryable, false);
  site.other = ({ url }) =>
    url.pathname.endsWith(".ltx")
      ? new Response(page, { headers: { "content-type": "text/html" } })
      : undefined;
  site.index(START_MS, []);
  const storage = await opened(site);
  assert.equal(await readOf(storage, "ltx/0/next.ltx"), undefined, "its page is no file");
});

test("HttpStorage: signs in, sends the query everywhere, and shows neither", async () => {
  const site = new FakeSite();
  site.index(START_MS, [{ key: "ltx/0/a", size: 4, modified: START_MS }]);
  site.put("/r/ltx/0/a", "aaaa", START_MS);
  const storage = await opened(site, `https://who:pass%20word@h.example/r?sig=${SECRET}&v=1`);
  const [a] = await listed(storage);
  await readOf(storage, "ltx/0/a", a!.etag);
  for (const { url, headers } of site.asked) {
    assert.equal(url.search, `?sig=${SECRET}&v=1`);
    assert.equal(headers.get("authorization"), `Basic ${btoa("who:pass word")}`);
  }
  const throwing = contextOf({ fetch: (url) => Promise.reject(new TypeError(`no route to ${url}`)) });
  const url = parseReplicaUrl(`http://who:pass%20word@h.example/r?sig=${SECRET}&v=1`) as HttpLocation;
  const error = await failureOf(listed(await open(url, throwing)));
  assert.match(error.message, /no route to/);
  assert.doesNotMatch(error.message, new RegExp(`${SECRET}|pass|${btoa("who:pass word")}`));
  assert.equal(error.retryable, true);
});

test("HttpStorage: no secret of a URL is shown, however an error is printed", async () => {
  const port = await freePort(); // nobody listens there
  const urls = [
    `http://127.0.0.1:${port}/r?sig=${SECRET}&v=1`,
    "http://site.localhost/elsewhere", // leads to an address that is signed
  ];
  const fetch: FetchFunction = (url, init) =>
    new URL(url).host === "site.localhost"
      ? Promise.resolve(
        new Response(null, {
          status: 302,
          headers: { location: `http://127.0.0.1:${port}/x?Signature=${SECRET}` },
        }),
      )
      : globalThis.fetch(url, init);
  for (const url of urls) {
    const storage = await open(parseReplicaUrl(url) as HttpLocation, contextOf({ fetch }));
    const error = await failureOf(listed(storage));
    assert.deepEqual([error.code, error.retryable], ["Network", true]);
    assert.ok(error.cause instanceof Error);
    assert.doesNotMatch(inspect(error, { depth: 9, showHidden: true }), new RegExp(SECRET));
  }
});

test("HttpStorage: redirects are followed, without who asks to another origin", async () => {
  const site = new FakeSite();
  site.put("/moved/index.json", '{"version":1,"files":[]}', START_MS);
  site.other = ({ url }) => {
    if (!url.pathname.startsWith("/r/")) return undefined;
    const location = url.pathname.startsWith("/r/x")
      ? url.href
      : `https://${url.searchParams.get("to")}${url.pathname.replace("/r/", "/moved/")}`;
    return new Response(null, { status: 302, headers: { location } });
  };
  for (const to of ["h.example", "cdn.example"]) {
    await listed(await opened(site, `https://who:word@h.example/r?to=${to}`));
    const { url, headers } = site.asked.splice(0).at(-1)!;
    assert.equal(url.host, to);
    assert.equal(headers.has("authorization"), to === "h.example");
  }
  const storage = await opened(site, "http://h.example/r?to=h.example");
  await listed(storage);
  const error = await failureOf(readOf(storage, "x"));
  assert.match(error.message, /status 302.* expected the place's own address/);
});

test("HttpStorage: what a person can mend is no reason to try again", async () => {
  const cases = [
    [401, false, /it asks for Basic authentication\), expected a user and a password/],
    [403, false, /expected index.json beside ltx\/|expected permission there/],
    [429, true, /status 429/],
    [500, true, /status 500/],
    [503, true, /status 503/],
  ] as const;
  for (const [status, retryable, message] of cases) {
    const site = new FakeSite();
    site.other = () => new Response("no", { status, headers: { "www-authenticate": 'Basic realm="r"' } });
    const error = await failureOf(listed(await opened(site)));
    assert.equal(error.retryable, retryable, `${status}`);
    if (status !== 403) assert.match(error.message, message);
  }
});

test("HttpStorage: an aborted signal ends requests, one that others wait for too", async () => {
  const site = new FakeSite();
  site.index(START_MS, []);
  let isHeld = true;
  const held = contextOf({
    fetch: (url, init) =>
      isHeld
        ? new Promise((_, reject) =>
          init.signal!.addEventListener("abort", () => reject(init.signal!.reason))
        )
        : site.fetch(url, init),
  });
  const storage = await open(parseReplicaUrl("http://h.example/r") as HttpLocation, held);
  const aborting = new AbortController();
  const first = storage.list("", requestOf(aborting.signal))[Symbol.asyncIterator]().next();
  const second = listed(storage);
  isHeld = false;
  aborting.abort(new Error("enough"));
  await assert.rejects(first, /enough/);
  assert.deepEqual(await second, []);
});

test("HttpStorage: a certificate's fault does not pass, a word in an address is none", async () => {
  const cases: [message: string, isRetryable: boolean][] = [
    [
      'ERR_TLS_CERT_ALTNAME_INVALID fetching "https://h.example/r/index.json". For more information, …',
      false,
    ],
    [
      "error sending request for url (https://h.example/r/index.json): invalid peer certificate: Expired",
      false,
    ],
    ["error sending request for url (https://h.example/certificates/index.json): connection refused", true],
    ['ECONNRESET fetching "https://h.example/?CERT_=certificate"', true],
  ];
  for (const [message, isRetryable] of cases) {
    const site = new FakeSite();
    site.other = () => {
      throw new TypeError(message);
    };
    assert.equal((await failureOf(listed(await opened(site)))).retryable, isRetryable, message);
  }
});

test("HttpStorage: no redirect leads from TLS to where there is none", async () => {
  const site = new FakeSite();
  site.index(START_MS, []);
  site.other = ({ url }) =>
    url.protocol === "https:"
      ? new Response(null, { status: 301, headers: { location: "http://h.example/r/index.json" } })
      : undefined;
  const error = await failureOf(listed(await opened(site, "https://h.example/r")));
  assert.match(error.message, /status 301, expected the place's own address$/);
  assert.deepEqual([error.retryable, site.asked.length], [false, 1]);
});

test("HttpStorage: a range that ends before it begins is refused", async () => {
  const site = new FakeSite();
  site.index(START_MS, []);
  const headers = { "content-range": "bytes 10-3/4" };
  site.other = ({ url }) => url.pathname === "/r/a" ? new Response("", { status: 206, headers }) : undefined;
  const reading = (await opened(site)).read("a", { offset: 10, size: 4 }, requestOf());
  const error = await failureOf(reading);
  assert.match(error.message, /the object has 4 bytes, expected a range inside$/);
  assert.deepEqual([error.code, error.retryable], ["InvalidRange", false]);
});
