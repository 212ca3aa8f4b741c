import assert from "node:assert/strict";
import { chmod, mkdir, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openReplica, StorageError } from "../../mod.ts";
import { AdaptedStore } from "../../src/storage/adapted_store.ts";
import type { WebdavLocation } from "../../src/storage/backend_location.ts";
import { anyObject, type ListedObject } from "../../src/storage/object_store.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import type { Storage, StoredObject } from "../../src/storage/storage.ts";
import { DavClient } from "../../src/storage/webdav/dav_client.ts";
import { ExclusiveMove } from "../../src/storage/webdav/exclusive_move.ts";
import { open } from "../../src/storage/webdav/webdav_storage.ts";
import { contextOf, requestOf } from "../support/backend_context.ts";
import { skipWithout } from "../support/real.ts";
import { apacheBinary, startApache, type WebServer } from "../support/web_servers.ts";

const ACCOUNT = { user: "who", password: "hush hush" };
const skip = skipWithout({ apache2: apacheBinary() });
let server: WebServer | undefined;
before(async () => {
  if (!skip) server = await startApache(ACCOUNT);
});
after(() => server?.close());

function urlOf(path: string, { user, password } = ACCOUNT): string {
  const at = `${encodeURIComponent(user)}:${encodeURIComponent(password)}@`;
  return `${server!.origin.replace("http://", `webdav://${at}`)}/${path}`;
}

async function opened(url: string, fetch?: typeof globalThis.fetch): Promise<Storage> {
  const given = contextOf({ fetch: fetch as (url: string, init: RequestInit) => Promise<Response> });
  return await open(parseReplicaUrl(url) as WebdavLocation, given);
}

async function listed(storage: Storage, prefix = ""): Promise<StoredObject[]> {
  const objects: StoredObject[] = [];
  for await (const page of storage.list(prefix, requestOf())) objects.push(...page);
  return objects;
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

const ABSENT = { ...requestOf(), ifAbsent: true };
const BYTES = new Uint8Array([1, 2, 3]);

test("WebdavStorage: a wrong password is told without it, at once", { skip }, async () => {
  for (const account of [{ user: "who", password: "wrong+word" }, { user: "", password: "" }]) {
    const error = await failureOf(openReplica(urlOf("r", account)));
    assert.match(
      error.message,
      /status 401 \(it asks for Basic authentication\), expected a user and a password/,
    );
    assert.doesNotMatch(error.message, /wrong|d2hv/);
    assert.equal(error.retryable, false);
  }
});

test(
  "WebdavStorage: signs in by Digest where the server wants it, and sends no password",
  { skip },
  async () => {
    const other = await startApache({ ...ACCOUNT, digest: true });
    try {
      const there = (account = ACCOUNT) =>
        urlOf("r", account).replace(
          server!.origin.slice("http://".length),
          other.origin.slice("http://".length),
        );
      const sent: string[] = [];
      const storage = await opened(there(), (url, init) => {
        sent.push(new Headers(init!.headers).get("authorization") ?? "none");
        return fetch(url, init);
      });
      assert.ok(await storage.put!("ltx/0/a b", BYTES, ABSENT));
      const [a] = await listed(storage, "ltx/0/");
      const read = await storage.read("ltx/0/a b", { offset: 1, size: 2 }, { ...requestOf(), etag: a!.etag });
      assert.deepEqual([...read!.bytes], [2, 3]);
      assert.equal(sent[0], "none");
      assert.deepEqual(sent.slice(1).filter((text) => !text.startsWith("Digest ")), []);
      const wrong = await opened(there({ user: "who", password: "wrong" }));
      const error = await failureOf(listed(wrong));
      assert.match(error.message, /status 401 \(it asks for Digest authentication\)/);
      assert.equal(error.retryable, false);
    } finally {
      await other.close();
    }
  },
);

test(
  "WebdavStorage: what others have begun is listed nowhere, and a dead one's claim falls",
  { skip },
  async () => {
    const folder = join(server!.folder, "claims", "ltx", "0");
    const claim = join(folder, "k.claim.tmp");
    await mkdir(claim, { recursive: true });
    await writeFile(join(folder, "k.other.tmp"), "half");
    for (const path of [folder, claim]) await chmod(path, 0o777); // Apache started by root is another user
    await utimes(claim, Date.now() / 1000 - 60, Date.now() / 1000 - 60);
    const storage = await opened(urlOf("claims"));
    assert.deepEqual(await listed(storage), []);
    assert.ok(await storage.put!("ltx/0/k", BYTES, ABSENT));
    assert.deepEqual((await listed(storage)).map(({ key }) => key), ["ltx/0/k"]);
    await assert.rejects(stat(claim), { code: "ENOENT" });
  },
);

test("WebdavStorage: who is late waits for a claim, and sees what came of it", { skip }, async () => {
  const storage = await opened(urlOf("late"));
  assert.ok(await storage.put!("ltx/0/first", BYTES, ABSENT)); // makes the folders
  const claim = join(server!.folder, "late", "ltx", "0", "k.claim.tmp");
  await mkdir(claim);
  let isClaimSeen: () => void;
  const claimSeen = new Promise<void>((resolve) => isClaimSeen = resolve);
  const watching = await opened(urlOf("late"), async (url, init) => {
    const response = await fetch(url, init);
    if (init!.method === "MKCOL" && response.status === 405) isClaimSeen();
    return response;
  });
  const putting = watching.put!("ltx/0/k", BYTES, ABSENT);
  await claimSeen;
  await writeFile(join(server!.folder, "late", "ltx", "0", "k"), "theirs");
  assert.equal(await putting, undefined);
  assert.deepEqual((await listed(storage)).map(({ key, size }) => [key, size]), [["ltx/0/first", 3], [
    "ltx/0/k",
    6,
  ]]);
});

test("ExclusiveMove: a dead one's claim falls where the server tells no time of folders", async () => {
  const claim = "/r/k.claim.tmp/";
  const folder = '<d:multistatus xmlns:d="DAV:"><d:response><d:href>/r/k.claim.tmp/</d:href><d:propstat>' +
    "<d:prop><d:resourcetype><d:collection/></d:resourcetype></d:prop>" +
    "<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>";
  let aborting = new AbortController();
  const asked: string[] = [];
  let [nowMs, looks, isClaimed] = [0, 0, true];
  const answer = (method: string, path: string): Response => {
    if (path !== claim) return new Response(null, { status: method === "PROPFIND" ? 404 : 201 });
    if (method === "PROPFIND") {
      nowMs += 16_000;
      if (++looks === 2) aborting.abort(new Error("the attempt's time is over"));
      return new Response(folder, { status: 207 });
    }
    const status = method === "DELETE" ? 204 : isClaimed ? 405 : 201;
    isClaimed = method === "MKCOL";
    return new Response(null, { status });
  };
  const fetch = (url: string, init: RequestInit) => {
    asked.push(init.method!);
    return Promise.resolve(answer(init.method!, new URL(url).pathname));
  };
  const location = parseReplicaUrl("webdav://h.example/r") as WebdavLocation;
  const move = new ExclusiveMove(new DavClient(location, contextOf({ fetch })), () => nowMs);
  await assert.rejects(move.ifAbsent("t", "k", requestOf(aborting.signal)), /time is over/);
  assert.ok(!asked.includes("DELETE"), "it may be a living one's");
  nowMs += 60_000;
  [aborting, looks] = [new AbortController(), 1];
  await assert.rejects(move.ifAbsent("t", "k", requestOf(aborting.signal)), /time is over/);
  assert.ok(!asked.includes("DELETE"), "after a pause it may be another one's");
  asked.length = 0;
  const ending = requestOf(AbortSignal.timeout(5_000));
  assert.equal(await move.ifAbsent("t", "k", ending), true);
  const look = ["MKCOL", "PROPFIND", "PROPFIND"];
  assert.deepEqual(asked, [...look, ...look, "DELETE", "MKCOL", "MOVE", "DELETE"]);
});

test("WebdavStorage: a put that is given up leaves nothing", { skip }, async () => {
  const aborting = new AbortController();
  const storage = await opened(urlOf("given-up"), async (url, init) => {
    if (init!.method === "MOVE") aborting.abort(new Error("enough"));
    return await fetch(url, init);
  });
  const putting = storage.put!("ltx/0/k", BYTES, { ...ABSENT, signal: aborting.signal });
  await assert.rejects(putting, /enough/);
  const page = await fetch(`${server!.origin}/given-up/ltx/0/`, {
    headers: { authorization: `Basic ${btoa("who:hush hush")}` },
  });
  assert.doesNotMatch(await page.text(), /\.tmp/);
});

test("WebdavStorage: a server without WebDAV is told of", async () => {
  const storage = await opened(
    "webdav://h.example/r",
    () => Promise.resolve(new Response("<html>", { status: 200 })),
  );
  assert.match((await failureOf(listed(storage))).message, /status 200, expected status 207, as WebDAV/);
  const other = await opened(
    "webdav://h.example/r",
    () => Promise.resolve(new Response("", { status: 405 })),
  );
  assert.match((await failureOf(listed(other))).message, /status 405, expected a server that speaks WebDAV/);
});

test("WebdavStorage: redirects are followed on the same origin only", async () => {
  const asked: string[] = [];
  const listing = '<d:multistatus xmlns:d="DAV:"><d:response><d:href>/new/</d:href><d:propstat><d:prop>' +
    "<d:resourcetype><d:collection/></d:resourcetype></d:prop>" +
    "<d:status>HTTP/1.1 200 OK</d:status></d:propstat>" +
    "</d:response></d:multistatus>";
  const redirecting = (to: string) => (url: string | URL | Request, _init?: RequestInit) => {
    asked.push(String(url));
    return Promise.resolve(
      String(url).includes("/new/")
        ? new Response(listing, { status: 207 })
        : new Response(null, { status: 301, headers: { location: to } }),
    );
  };
  assert.deepEqual(await listed(await opened("webdav://a:b@h.example/r", redirecting("/new/"))), []);
  assert.deepEqual(asked.splice(0), ["http://h.example/r/", "http://h.example/new/"]);
  const away = await opened("webdav://a:b@h.example/r", redirecting("https://h.example/new/"));
  const error = await failureOf(listed(away));
  assert.match(error.message, /status 301 \(to https:\/\/h.example\), expected the place's own address/);
  assert.equal(error.retryable, false);
  assert.equal(asked.length, 1);
});

test("WebdavStorage: without ETags in listings, time and size tell files apart", async () => {
  const modified = "Sat, 21 Nov 2026 10:00:00 GMT";
  const listing = '<D:multistatus xmlns:D="DAV:">' +
    ["/p/r/", "/p/r/a"].map((href) =>
      `<D:response><D:href>http://inner${href}</D:href><D:propstat><D:prop><D:getlastmodified>${modified}` +
      "</D:getlastmodified>" + (href.endsWith("/")
        ? "<D:resourcetype><D:collection/></D:resourcetype>"
        : "<D:getcontentlength>3</D:getcontentlength><D:resourcetype/>") +
      "</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
    ).join("") + "</D:multistatus>";
  const headers = { etag: '"x"', "content-range": "bytes 0-2/3", "last-modified": modified };
  const storage = await opened(
    "webdav://h.example/r",
    (_url, init) =>
      Promise.resolve(
        init!.method === "PROPFIND"
          ? new Response(listing, { status: 207 })
          : new Response(BYTES.slice(), { status: 206, headers }),
      ),
  );
  const [a] = await listed(storage);
  assert.deepEqual([a!.key, a!.size, a!.modifiedMs], ["a", 3, Date.parse(modified)]);
  for (const etag of [undefined, a!.etag]) {
    const request = { ...requestOf(), ...(etag !== undefined && { etag }) };
    assert.equal((await storage.read("a", { offset: 0, size: 3 }, request))!.etag, a!.etag);
  }
});

test("WebdavStorage: an entry that tells nothing does not change how files are told apart", async () => {
  const modified = "<D:getlastmodified>Sat, 21 Nov 2026 10:00:00 GMT</D:getlastmodified>";
  const properties = {
    whole: `<D:getetag>"x"</D:getetag><D:getcontentlength>3</D:getcontentlength>${modified}`,
    untagged: `<D:getcontentlength>3</D:getcontentlength>${modified}`,
    vanished: "<D:getetag/><D:getcontentlength/>",
  };
  let kind: keyof typeof properties = "whole";
  const responseOf = (path: string, found: keyof typeof properties) =>
    `<D:response><D:href>/r/${path}</D:href><D:propstat><D:prop>${properties[found]}</D:prop><D:status>` +
    `HTTP/1.1 ${found === "vanished" ? "404 Not Found" : "200 OK"}</D:status></D:propstat></D:response>`;
  const listing = () =>
    `<D:multistatus xmlns:D="DAV:">${responseOf("", "vanished")}${responseOf("a", "whole")}` +
    `${responseOf("b", kind)}</D:multistatus>`;
  const headers = {
    etag: '"x"',
    "content-range": "bytes 0-2/3",
    "last-modified": "Sat, 21 Nov 2026 10:00:00 GMT",
  };
  const storage = await opened("webdav://h.example/r", (_url, init) =>
    Promise.resolve(
      init!.method === "PROPFIND"
        ? new Response(listing(), { status: 207 })
        : new Response(BYTES.slice(), { status: 206, headers }),
    ));
  const store = new AdaptedStore("webdav://h.example/r", storage);
  const list = async () => {
    const objects: ListedObject[] = [];
    for await (const page of store.list("")) objects.push(...page);
    return objects;
  };
  const range = { offset: 0, size: 3 };
  const [a] = await list();
  kind = "vanished";
  await assert.rejects(list(), /"b" with size NaN/);
  assert.equal((await store.read(anyObject("a"), range)).etag, "x");
  for (const found of ["whole", "untagged"] as const) {
    kind = found;
    assert.equal((await list())[0]!.etag, "x");
    assert.equal((await store.read(a!, range)).etag, "x", `the other one is ${found}`);
  }
  assert.match((await store.read(anyObject("b"), range)).etag, /^t\d+-3$/);
  kind = "whole";
  await list();
  assert.equal((await store.read(anyObject("b"), range)).etag, "x");
});

test("WebdavStorage: what may pass is tried again, what a person can mend is not", async () => {
  for (
    const [status, retryable] of [[403, false], [429, true], [500, true], [503, true], [507, false]] as const
  ) {
    const storage = await opened(
      "webdav://h.example/r",
      () => Promise.resolve(new Response("", { status })),
    );
    const list = await failureOf(listed(storage));
    const put = await failureOf(storage.put!("ltx/0/a", BYTES, ABSENT));
    assert.deepEqual([list.retryable, put.retryable], [retryable, retryable], `${status}`);
  }
});

test("WebdavStorage: a body that was cut is tried again, bytes without a range are refused", async () => {
  const answers = (status: number, headers: Record<string, string>) => () =>
    Promise.resolve(new Response(BYTES.slice(), { status, headers }));
  const range = { offset: 0, size: 8 };
  const cut = await opened("webdav://h.example/r", answers(206, { "content-range": "bytes 0-7/9" }));
  assert.equal((await failureOf(cut.read("a", range, requestOf()))).retryable, true);
  const whole = await opened("webdav://h.example/r", answers(200, { "content-length": "3" }));
  const error = await failureOf(whole.read("a", range, requestOf()));
  assert.match(error.message, /status 200 without a range, expected a server that answers ranges/);
  assert.equal(error.retryable, false);
});

test("WebdavStorage: without TLS no password is sent before it is asked for, with TLS at once", async () => {
  const listing = '<D:multistatus xmlns:D="DAV:"/>';
  for (
    const [scheme, expected] of [["webdav", ["none", "none", "Basic", "Basic"]], ["webdavs", [
      "Basic",
      "Basic",
    ]]]
  ) {
    const sent: string[] = [];
    const storage = await opened(`${scheme}://who:hush@h.example/r`, (_url, init) => {
      const authorization = new Headers(init!.headers).get("authorization");
      sent.push(authorization?.split(" ")[0] ?? "none");
      const headers = { "www-authenticate": 'Basic realm="a, b"' };
      return Promise.resolve(
        authorization === null
          ? new Response("", { status: 401, headers })
          : new Response(listing, { status: 207 }),
      );
    });
    await Promise.all([listed(storage), listed(storage)]);
    assert.deepEqual(sent, expected);
  }
});
