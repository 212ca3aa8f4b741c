import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { StorageError } from "../../src/errors.ts";
import { stringToSign } from "../../src/storage/abs/shared_key.ts";
import { parseListing, parseTimestamp } from "../../src/storage/abs/abs_listing.ts";
import { AdaptedStore } from "../../src/storage/adapted_store.ts";
import type { BackendContext } from "../../src/storage/backend.ts";
import { RetryAfterError } from "../../src/storage/retry_after.ts";
import { RetryingStore } from "../../src/storage/retrying_store.ts";
import type { Storage } from "../../src/storage/storage.ts";
import {
  azuriteProgram,
  type AzuriteServer,
  contextOf,
  openAbs,
  startAzurite,
} from "../support/azurite_server.ts";
import { skipWithout } from "../support/real.ts";

const skip = skipWithout({ azurite: azuriteProgram() });
let azurite: AzuriteServer;
before(async () => {
  if (!skip) azurite = await startAzurite();
});
after(() => azurite?.close());

const request = { signal: new AbortController().signal, onProgress: () => {} };
const KEY = btoa("a key of this test's account");

/** What a fetch is asked for, and what it answers: undefined for the true answer. */
type Answer = (url: URL, init: RequestInit) => Response | Promise<Response> | undefined;

/** A container that answers as it is told, and what was asked of it. */
async function openFake(answer: Answer, more: Partial<BackendContext> = {}) {
  const asked: URL[] = [];
  const fetch = async (url: string, init: RequestInit) => {
    asked.push(new URL(url));
    return await (answer(new URL(url), init) ?? globalThis.fetch(url, init));
  };
  const context = contextOf({ LITESTREAM_AZURE_ACCOUNT_KEY: KEY }, { fetch, ...more });
  return { asked, storage: await openAbs("abs://account@box/db", context) };
}

/** A new container of Azurite's, whose answers may be replaced. */
async function openReal(answer: Answer) {
  const url = azurite.url(await azurite.makeContainer());
  const asked: URL[] = [];
  const fetch = async (url: string, init: RequestInit) => {
    asked.push(new URL(url));
    return await (answer(new URL(url), init) ?? globalThis.fetch(url, init));
  };
  // A SAS, so that a test may change what is asked.
  const env = { LITESTREAM_AZURE_SAS_TOKEN: azurite.sas("rwdlc") };
  return { asked, storage: await openAbs(url, contextOf(env, { fetch })) };
}

function fault(
  status: number,
  code: string,
  message = "Words.\nRequestId:1\nTime:2",
  headers = {},
): Response {
  const text = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`;
  return new Response(text, { status, headers });
}

function listing(names: readonly string[], nextMarker = ""): Response {
  const blobs = names.map((name) =>
    name.endsWith("/")
      ? `<Blob><Name>${
        name.slice(0, -1)
      }</Name><Properties><ResourceType>directory</ResourceType></Properties></Blob>`
      : `<Blob><Name>${name}</Name><Properties><Creation-Time>Fri, 26 Jun 2026 23:39:12 GMT</Creation-Time>` +
        `<Etag>0x1</Etag><Content-Length>5</Content-Length></Properties></Blob>`
  );
  return new Response(
    `<EnumerationResults><Blobs>${
      blobs.join("")
    }</Blobs><NextMarker>${nextMarker}</NextMarker></EnumerationResults>`,
  );
}

async function keysOf(storage: Storage, prefix = "", after?: string): Promise<string[]> {
  const keys: string[] = [];
  const given = after === undefined ? request : { ...request, after };
  for await (const page of storage.list(prefix, given)) keys.push(...page.map(({ key }) => key));
  return keys;
}

function read(storage: Storage) {
  return storage.read("k", { offset: 2, size: 4 }, { ...request, etag: "0x1" });
}

async function failure(act: () => Promise<unknown>): Promise<StorageError> {
  const error = await act().then(() => assert.fail("it fails"), (reason) => reason);
  assert.ok(error instanceof StorageError, String(error));
  return error;
}

test("stringToSign() is that of Azure's documentation", () => {
  const url =
    "https://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=metadata&timeout=20";
  const headers = { "x-ms-version": "2015-02-21", "x-ms-date": "Fri, 26 Jun 2015 23:39:12 GMT" };
  assert.equal(
    stringToSign("myaccount", { method: "GET", url, headers, bodySize: 0 }),
    "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n" +
      "/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20",
  );
});

test("parseListing() leaves folders out, and takes times of metadata", () => {
  const blob = (name: string, properties: string, metadata = "") =>
    `<Blob><Name>${name}</Name><Properties><Creation-Time>Fri, 26 Jun 2026 23:39:12 GMT</Creation-Time>` +
    `<Etag>"0x1"</Etag>${properties}</Properties><Metadata>${metadata}</Metadata></Blob>`;
  const size = "<Content-Length>7</Content-Length>";
  const { objects, nextMarker } = parseListing(
    '<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="x"><Prefix/><Blobs>' +
      blob("a", size, "<litestreamtimestamp>2026-11-21T20:00:00.123456789Z</litestreamtimestamp>") +
      blob("b", size, "<LitestreamTimestamp>2026-11-21T20:00:00Z</LitestreamTimestamp>") +
      blob("c", size, "<litestreamtimestamp>soon</litestreamtimestamp>") +
      blob("d", `${size}<ResourceType>directory</ResourceType>`) +
      blob("e", size, "<hdi_isfolder>true</hdi_isfolder>") +
      "</Blobs><NextMarker>2!x</NextMarker></EnumerationResults>",
  );
  const time = Date.UTC(2026, 10, 21, 20);
  assert.deepEqual(objects.map(({ key, modifiedMs }) => [key, modifiedMs]), [
    ["a", time + 123],
    ["b", time],
    ["c", Date.UTC(2026, 5, 26, 23, 39, 12)],
  ]);
  assert.deepEqual([objects[0]?.etag, objects[0]?.size, nextMarker], ["0x1", 7, "2!x"]);
  assert.equal(parseTimestamp(undefined), undefined);
  for (
    const broken of [
      "",
      "<a/>",
      "<EnumerationResults/>",
      `<EnumerationResults><Blobs>${blob("a", "")}</Blobs>`,
    ]
  ) {
    assert.throws(() => parseListing(broken), SyntaxError);
  }
});

test("abs: Azure's faults are told in words, and tried again where that may help", async () => {
  const cases: [number, string, boolean, RegExp][] = [
    [
      403,
      "AuthenticationFailed",
      false,
      /status 403 AuthenticationFailed \(Words\.\), expected the key of that account$/,
    ],
    [403, "AuthorizationPermissionMismatch", false, /, expected permission there$/],
    [403, "InsufficientAccountPermissions", false, /, expected an account that may be written to$/],
    [403, "", false, /, expected permission there$/],
    [404, "ContainerNotFound", false, /, expected an existing container, not "box"$/],
    [409, "ContainerBeingDeleted", false, /, expected a container that is not being deleted$/],
    [
      403,
      "KeyBasedAuthenticationNotPermitted",
      false,
      /, expected an identity, since the account refuses keys$/,
    ],
    [409, "PublicAccessNotPermitted", false, /, expected credentials, since the account is not public$/],
    [500, "InternalError", true, /status 500 InternalError/],
    [500, "OperationTimedOut", true, /status 500/],
    [503, "ServerBusy", true, /status 503 ServerBusy/],
    [429, "TooManyRequests", true, /status 429/],
    [302, "", false, /, expected the place's own address$/],
  ];
  for (const [status, code, retryable, words] of cases) {
    const { storage } = await openFake(() => fault(status, code));
    const error = await failure(() => keysOf(storage, "db/ltx/0/"));
    assert.match(error.message, words);
    assert.match(error.message, /^Cannot list "db\/ltx\/0\/" in abs:\/\/account@box\/db: /);
    assert.deepEqual([error.status, error.code, error.retryable], [status, code, retryable], code);
  }
});

test("abs: a clock that is wrong is told with both times", async () => {
  const headers = { date: "Fri, 26 Jun 2026 23:39:12 GMT", "x-ms-error-code": "AuthenticationFailed" };
  const now = () => Date.UTC(2026, 5, 26, 22);
  const { storage } = await openFake(() => fault(403, "AuthenticationFailed", "Words.", headers), { now });
  assert.match(
    (await failure(() => keysOf(storage))).message,
    /says 2026-06-26T23:39:12\.000Z, ours 2026-06-26T22:00:00\.000Z\), expected clocks that agree within 15/,
  );
});

test("abs: how long Azure asks to wait is told on", async () => {
  const { storage } = await openFake(() => fault(503, "ServerBusy", "Busy.", { "retry-after": "7" }));
  const error = await failure(() => keysOf(storage));
  assert.ok(error instanceof RetryAfterError);
  assert.deepEqual([error.retryAfterMs, error.retryable], [7_000, true]);
});

test("abs: only bytes of the range that was asked for are taken", async () => {
  const whole = new Uint8Array(10);
  const range = { etag: '"0x1"', "content-range": "bytes 2-5/10" };
  const answers: [Response, Partial<StorageError>][] = [
    [new Response(whole, { headers: { etag: '"0x1"' } }), { code: "WrongAnswer", retryable: false }],
    [new Response(whole.slice(0, 3), { status: 206, headers: range }), {
      code: "WrongAnswer",
      retryable: true,
    }],
    [new Response(whole.slice(0, 5), { status: 206, headers: range }), {
      code: "WrongAnswer",
      retryable: false,
    }],
    [new Response(whole.slice(0, 4), { status: 206, headers: { ...range, etag: '"0x2"' } }), {
      code: "Changed",
    }],
    [fault(416, "InvalidRange"), { code: "InvalidRange", status: 416, retryable: false }],
    [new Response("<html>", { status: 502 }), { code: "", status: 502, retryable: true }],
  ];
  for (const [answer, wanted] of answers) {
    const { storage } = await openFake((_, init) => {
      assert.equal(new Headers(init.headers).get("if-match"), '"0x1"');
      return answer;
    });
    const error = await failure(() => read(storage));
    for (const [name, value] of Object.entries(wanted)) {
      assert.equal(error[name as "code"], value, error.message);
    }
  }
  for (const gone of [fault(404, "BlobNotFound"), fault(412, "ConditionNotMet")]) {
    const { storage } = await openFake(() => gone);
    assert.equal(await read(storage), undefined);
  }
  const { storage } = await openFake(() => fault(404, "ContainerNotFound"));
  assert.match((await failure(() => read(storage))).message, /, expected an existing container, not "box"$/);
});

test("abs: a condition that does not hold is told apart from other conflicts", async () => {
  const put = (storage: Storage, how: { ifAbsent: boolean; ifMatch?: string }) =>
    storage.put!("k", new Uint8Array(3), { ...request, ...how });
  const cases: [Response, { ifAbsent: boolean; ifMatch?: string }, boolean][] = [
    [fault(409, "BlobAlreadyExists"), { ifAbsent: true }, true],
    [fault(412, "ConditionNotMet"), { ifAbsent: true }, true],
    [fault(403, "UnauthorizedBlobOverwrite"), { ifAbsent: true }, true],
    [fault(412, "ConditionNotMet"), { ifAbsent: false, ifMatch: "0x1" }, true],
    [fault(404, "BlobNotFound"), { ifAbsent: false, ifMatch: "0x1" }, true],
    [fault(412, "LeaseIdMissing"), { ifAbsent: false, ifMatch: "0x1" }, false],
    [fault(403, "UnauthorizedBlobOverwrite"), { ifAbsent: false }, false],
    [fault(409, "BlobImmutableDueToPolicy"), { ifAbsent: false }, false],
    [fault(404, "ContainerNotFound"), { ifAbsent: true }, false],
  ];
  for (const [answer, how, isTaken] of cases) {
    const { storage } = await openFake(() => answer);
    if (isTaken) assert.equal(await put(storage, how), undefined);
    else assert.equal((await failure(() => put(storage, how))).retryable, false);
  }
});

test("abs: what could not be removed is told by its key, the rest is removed", async () => {
  const removed: string[] = [];
  const { storage } = await openFake(({ pathname }) => {
    const key = pathname.slice("/box/".length);
    if (key === "3") return fault(409, "SnapshotsPresent");
    if (key === "4") return fault(404, "BlobNotFound");
    removed.push(key);
    return new Response(null, { status: 202 });
  });
  const keys = Array.from({ length: 40 }, (_, i) => String(i));
  const error = await failure(() => storage.remove!(keys, request));
  assert.match(
    error.message,
    /^Cannot remove 1 of 40 objects .*remove "3" from.*, expected a blob without snapshots$/,
  );
  assert.equal(removed.length, 38);
});

test("abs: a listing goes on behind each marker", { skip }, async () => {
  const { storage, asked } = await openReal((url, init) => {
    if (url.searchParams.get("comp") !== "list" || url.searchParams.has("maxresults")) return undefined;
    url.searchParams.set("maxresults", "3");
    return globalThis.fetch(url, init);
  });
  const keys = Array.from({ length: 10 }, (_, i) => `ltx/0/${i}`);
  for (const key of keys) await storage.put!(key, new Uint8Array(1), { ...request, ifAbsent: true });
  asked.length = 0;
  assert.deepEqual(await keysOf(storage, "ltx/0/"), keys);
  assert.equal(asked.length, 4);
  assert.deepEqual(await keysOf(storage, "ltx/0/", "ltx/0/4"), keys.slice(4));
  assert.deepEqual(asked.slice(4).map(({ searchParams }) => searchParams.get("startFrom")), [
    "ltx/0/4",
    "ltx/0/4",
  ]);
});

test("abs: folders of a hierarchical namespace change no order", async () => {
  const pages = [["db/a", "db/b+/", "db/b+/1"], ["db/b+/2", "db/b/", "db/b/1", "db/b!"], ["db/c"]];
  const { storage } = await openFake(({ searchParams }) => {
    const at = Number(searchParams.get("marker") ?? 0);
    return listing(pages[at]!, at + 1 < pages.length ? String(at + 1) : "");
  });
  const store = new RetryingStore(new AdaptedStore("abs", storage, "db/"));
  const keys = (await Array.fromAsync(store.list(""))).flat().map(({ key }) => key);
  assert.deepEqual(keys, ["a", "b!", "b+/1", "b+/2", "b/1", "c"]);
});

test("abs: a listing that begins elsewhere than it was told to is not trusted", async () => {
  const all = ["db/0/1", "db/0/2", "db/0/3"];
  const asked = (urls: readonly URL[]) => urls.map(({ searchParams }) => searchParams.get("startFrom"));
  const late = await openFake(({ searchParams }) => listing(searchParams.has("startFrom") ? [] : all));
  assert.deepEqual(await keysOf(late.storage, "db/0/", "db/0/2"), all);
  assert.deepEqual(asked(late.asked), ["db/0/2", null]);
  const older = await openFake(() => listing(all));
  for (let i = 0; i < 2; i++) assert.deepEqual(await keysOf(older.storage, "db/0/", "db/0/2"), all);
  assert.deepEqual(asked(older.asked), ["db/0/2", null]);
  const refusing = await openFake(({ searchParams }) =>
    searchParams.has("startFrom") ? fault(400, "UnsupportedQueryParameter") : listing(all)
  );
  for (let i = 0; i < 2; i++) assert.deepEqual(await keysOf(refusing.storage, "db/0/", "db/0/2"), all);
  assert.deepEqual(asked(refusing.asked), ["db/0/2", null, null]);
  const exact = await openFake(({ searchParams }) => {
    const start = searchParams.get("startFrom") ?? "";
    return listing(all.filter((key) => key >= start));
  });
  assert.deepEqual(await keysOf(exact.storage, "db/0/", "db/0/2"), all.slice(1));
  assert.deepEqual(await keysOf(exact.storage, "db/0/", "db/0/9"), []);
  assert.deepEqual(await keysOf(exact.storage, "db/", "db/0/3"), all); // Folders may have another order.
  assert.deepEqual(asked(exact.asked), ["db/0/2", "db/0/9", null]);
});

test("abs: an older service is spoken to in an older version", async () => {
  const versions: (string | null)[] = [];
  const { storage } = await openFake((_, init) => {
    const version = new Headers(init.headers).get("x-ms-version");
    versions.push(version);
    const isKnown = version! < "2024";
    return isKnown
      ? listing(["db/a"])
      : fault(400, "InvalidHeaderValue", "The API version is not supported.");
  });
  assert.deepEqual(await keysOf(storage), ["db/a"]);
  assert.deepEqual(await keysOf(storage), ["db/a"]);
  assert.deepEqual(versions, ["2026-02-06", "2019-07-07", "2019-07-07"]);
});

test("abs: parts that somebody else made vanish are sent anew", { skip }, async () => {
  let uploads = 0;
  const { storage } = await openReal((url) => {
    if (url.searchParams.get("comp") !== "blocklist") return undefined;
    return ++uploads === 1 ? fault(400, "InvalidBlockList") : undefined;
  });
  const store = new RetryingStore(new AdaptedStore("abs", storage));
  const made = await store.put("k", new Uint8Array(6_000_000).fill(7), {
    inParts: true,
    timestampMs: 1_795_227_356_789,
  });
  assert.deepEqual([uploads, made.size, made.modifiedMs], [2, 6_000_000, 1_795_227_356_789]);
  const [listed] = (await Array.fromAsync(store.list(""))).flat();
  assert.deepEqual(listed, made);
});

test("abs: an aborted request ends at once, with the signal's reason", async () => {
  const { storage } = await openFake((_, { signal }) =>
    new Promise((_, reject) => signal!.addEventListener("abort", () => reject(new Error("aborted"))))
  );
  const controller = new AbortController();
  const reason = new Error("enough");
  const reading = storage.read("k", { offset: 0, size: 1 }, { ...request, signal: controller.signal });
  controller.abort(reason);
  await assert.rejects(reading, reason);
});
