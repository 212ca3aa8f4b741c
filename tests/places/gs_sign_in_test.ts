import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, before, test } from "node:test";
import { testWritableStore } from "../../src/contract/writable_store_contract.ts";
import { StorageError } from "../../src/errors.ts";
import { AdaptedStore } from "../../src/storage/adapted_store.ts";
import type { BackendContext } from "../../src/storage/backend.ts";
import type { GsLocation } from "../../src/storage/backend_location.ts";
import { CredentialsSource } from "../../src/storage/credentials.ts";
import { open } from "../../src/storage/gs/gs_storage.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { RetryingStore } from "../../src/storage/retrying_store.ts";
import type { Storage, StorageRequest, StoredObject } from "../../src/storage/storage.ts";
import { FakeGoogle, USER } from "../support/fake_google.ts";
import { type GcsServer, gcsServerBinary, startGcsServer } from "../support/gcs_server.ts";
import { type S3Server, s3ServerBinary, skipWithout, startS3Server } from "../support/real.ts";
import { checkSignature } from "../support/sigv4_check.ts";

const skip = skipWithout({ "fake-gcs-server": gcsServerBinary() });
const NOW_MS = Date.parse("2026-11-21T00:00:00Z");
const request: StorageRequest = { signal: new AbortController().signal, onProgress: () => {} };

let server: GcsServer;
let bucket: string;
before(async () => {
  if (skip) return;
  server = await startGcsServer();
  bucket = await server.newBucket();
  const storage = await opened({ endpoint: server.endpoint });
  await storage.put!("k", new Uint8Array(10), { ...request, ifAbsent: true });
});
after(() => server?.close());

interface Told extends Partial<BackendContext> {
  files?: Record<string, string>;
  endpoint?: string;
  query?: string;
}

/** The bucket as it is opened with these surroundings and no others. */
async function opened({ files = {}, endpoint = "", query = "", ...context }: Told): Promise<Storage> {
  const parameters = [query, endpoint && `endpoint=${endpoint}`].filter((each) => each !== "");
  return await open(parseReplicaUrl(`gs://${bucket}/db?${parameters.join("&")}`) as GsLocation, {
    env: {},
    credentials: undefined,
    fetch: undefined,
    fetchInit: undefined,
    now: () => NOW_MS,
    log: undefined,
    readFile: (path) => {
      const text = files[path];
      if (text !== undefined) return Promise.resolve(text);
      return Promise.reject(Object.assign(new Error(`no ${path}`), { code: "ENOENT" }));
    },
    ...context,
  });
}

async function listed(storage: Storage, given = request): Promise<string[]> {
  const objects: StoredObject[] = [];
  for await (const page of storage.list("", given)) objects.push(...page);
  return objects.map(({ key }) => key);
}

/** Runs a test with Google's services, and a bucket that wants their tokens. */
function googleTest(name: string, body: (google: FakeGoogle) => Promise<void>): void {
  test(`gs: ${name}`, { skip }, async () => {
    await using google = await FakeGoogle.start(server.endpoint);
    await body(google);
  });
}

/** A bucket as a service account reaches it. */
function asAccount(
  google: FakeGoogle,
  fields: Record<string, unknown> = {},
  more: Told = {},
): Promise<Storage> {
  return opened({
    env: { GOOGLE_APPLICATION_CREDENTIALS: "/keys/a.json" },
    files: { "/keys/a.json": google.accountFile(fields) },
    fetch: google.fetch,
    ...more,
  });
}

/** What a request fails with, checked to hold no secret. */
async function failureOf(work: Promise<unknown>, google: FakeGoogle): Promise<StorageError> {
  const error = await work.then(() => assert.fail("it fails"), (error) => error);
  assert.ok(error instanceof StorageError, String(error));
  const secrets = [google.privateKey.split("\n")[1]!, USER.client_secret, USER.refresh_token, "ya29", "eyJ"];
  for (const secret of secrets) assert.ok(!error.message.includes(secret), error.message);
  return error;
}

googleTest("a service account's key signs for a token, which all requests share", async (google) => {
  const storage = await asAccount(google);
  const lists = Array.from({ length: 8 }, () => listed(storage));
  assert.deepEqual(await Promise.all(lists), Array(8).fill(["k"]));
  const { bytes } = (await storage.read("k", { offset: 2, size: 5 }, request))!;
  assert.equal(bytes.length, 5);
  assert.deepEqual(google.asked, ["assertion"]);
  assert.deepEqual(google.claims, [{
    alg: "RS256",
    typ: "JWT",
    kid: "key-1",
    iss: "reader@project.iam.gserviceaccount.com",
    scope: "https://www.googleapis.com/auth/devstorage.read_write",
    aud: `${google.url}/token`,
    iat: NOW_MS / 1000,
    exp: NOW_MS / 1000 + 3600,
  }]);
  assert.deepEqual(new Set(google.seen), new Set(["Bearer ya29.token-number-1"]));
});

googleTest("the URL's credentialsFile is used before what the environment names", async (google) => {
  for (const name of ["credentialsFile", "credentials-file"]) {
    const files = { "/b.json": google.accountFile() };
    const env = {
      GOOGLE_APPLICATION_CREDENTIALS: "/absent.json",
      GS_ACCESS_KEY_ID: "a",
      GS_SECRET_ACCESS_KEY: "b",
    };
    const storage = await opened({ query: `${name}=/b.json`, files, env, fetch: google.fetch });
    assert.deepEqual(await listed(storage), ["k"]);
  }
});

googleTest("the file that gcloud keeps signs in its user", async (google) => {
  const name = "application_default_credentials.json";
  const places: [Record<string, string>, string][] = [
    [{ HOME: "/home/me" }, `/home/me/.config/gcloud/${name}`],
    [{ HOME: "/home/me", CLOUDSDK_CONFIG: "/sdk" }, `/sdk/${name}`],
    [{ APPDATA: "C:/Users/me/AppData" }, `C:/Users/me/AppData/gcloud/${name}`],
  ];
  for (const [env, path] of places) {
    const storage = await opened({ env, files: { [path]: google.userFile() }, fetch: google.fetch });
    assert.deepEqual(await listed(storage), ["k"]);
  }
  assert.deepEqual(google.asked, ["refresh", "refresh", "refresh"]);
});

googleTest("a machine of Google's has a token itself", async (google) => {
  const env = { GCE_METADATA_HOST: google.url.replace("http://", ""), HOME: "/home/me" };
  const storage = await opened({ env, fetch: google.fetch });
  assert.deepEqual(await listed(storage), ["k"]);
  assert.deepEqual(google.asked, ["machine"]);
  google.fault = { status: 503 };
  const { retryable } = await failureOf(listed(await opened({ env, fetch: google.fetch })), google);
  assert.equal(retryable, true);
});

googleTest("a token is renewed before it ends, while requests go on", async (google) => {
  let nowMs = NOW_MS;
  const storage = await asAccount(google, {}, { now: () => nowMs });
  await listed(storage);
  nowMs += 54 * 60_000;
  await listed(storage);
  assert.equal(google.asked.length, 1);
  nowMs += 2 * 60_000;
  while (google.seen.at(-1) !== "Bearer ya29.token-number-2") await listed(storage);
  assert.equal(google.asked.length, 2);
  assert.equal(google.seen.filter((each) => each.endsWith("-1")).length >= 3, true);
});

googleTest("a token that is refused is renewed once, whoever finds it out", async (google) => {
  const storage = await asAccount(google);
  await listed(storage);
  google.revoke();
  const lists = Array.from({ length: 8 }, () => listed(storage));
  assert.deepEqual(await Promise.all(lists), Array(8).fill(["k"]));
  assert.equal(google.asked.length, 2);
});

googleTest("credentials that Google refuses all the same are told, without the token", async (google) => {
  const fetch = (url: string, init: RequestInit) => {
    google.revoke();
    return google.fetch(url, init);
  };
  const error = await failureOf(listed(await asAccount(google, {}, { fetch })), google);
  assert.equal(google.asked.length, 2);
  assert.deepEqual([error.status, error.code, error.retryable], [401, "authError", false]);
  assert.match(
    error.message,
    /: status 401 authError \(Invalid Credentials \(Bearer …\)\), expected credentials that Google accepts$/,
  );
});

googleTest(
  "a token endpoint that refuses is told in its own words; one that is down is asked again",
  async (google) => {
    const other = await FakeGoogle.start(server.endpoint);
    const stranger = await asAccount(google, { private_key: other.privateKey });
    await other[Symbol.asyncDispose]();
    const refused = await failureOf(listed(stranger), google);
    assert.deepEqual([refused.code, refused.retryable], ["invalid_grant", false]);
    assert.match(
      refused.message,
      /^Cannot get a token for service account reader@.*: status 400 invalid_grant \(Invalid JWT Signature/,
    );
    for (const status of [429, 503]) {
      google.fault = { status };
      assert.equal((await failureOf(listed(await asAccount(google)), google)).retryable, true);
    }
    google.fault = { status: 200, body: "{}" };
    assert.equal((await failureOf(listed(await asAccount(google)), google)).retryable, false);
  },
);

googleTest("an aborted signal does not wait for a token", async (google) => {
  google.fault = "silence";
  const controller = new AbortController();
  const reason = new Error("enough");
  const storage = await asAccount(google);
  const listing = listed(storage, { ...request, signal: controller.signal });
  controller.abort(reason);
  await assert.rejects(listing, reason);
  await assert.rejects(listed(storage, { ...request, signal: AbortSignal.abort(reason) }), reason);
});

googleTest("close() ends the wait for a token", async (google) => {
  google.fault = "silence";
  let asked: AbortSignal | null | undefined;
  const fetch = (url: string, init: RequestInit) => {
    asked = init.signal;
    return google.fetch(url, init);
  };
  const storage = await asAccount(google, {}, { fetch });
  const listing = listed(storage);
  while (asked === undefined) await new Promise((resolve) => setImmediate(resolve));
  await storage.close!();
  assert.equal(asked?.aborted, true);
  assert.match((await failureOf(listing, google)).message, /no answer from 127.0.0.1/);
});

googleTest("files that are none are told by what is wrong with them", async (google) => {
  const files: [string, RegExp][] = [
    ["no json", /the file of the Google credentials "\/keys\/a.json" is no JSON object, expected one that/],
    [
      '{"type": "external_account"}',
      /has type "external_account", expected service_account or authorized_user$/,
    ],
    ["{}", /has no type, expected/],
    ['{"type": "service_account"}', /a service account without client_email or private_key/],
    [
      '{"type": "authorized_user", "client_id": "c"}',
      /a user without client_id, client_secret or refresh_token/,
    ],
    [
      google.accountFile({ private_key: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----" }),
      /a private_key/,
    ],
    [google.accountFile({ token_uri: "http://foreign.host/token" }), /a token_uri without TLS/],
  ];
  for (const [text, message] of files) {
    const storage = await asAccount(google, {}, { files: { "/keys/a.json": text } });
    const error = await failureOf(listed(storage), google);
    assert.match(error.message, message);
    assert.equal(error.retryable, false);
  }
  const absent = await failureOf(listed(await asAccount(google, {}, { files: {} })), google);
  assert.match(absent.message, /the file of the Google credentials "\/keys\/a.json" cannot be read/);
});

googleTest("where nobody is found, all places are named", async (google) => {
  const answers: [() => Response, string][] = [
    [() => {
      throw new TypeError("unreachable");
    }, "no answer"],
    [() => new Response("else", { status: 200 }), "it is not Google's"],
    [
      () => new Response("", { status: 404, headers: { "metadata-flavor": "Google" } }),
      "has no service account",
    ],
  ];
  for (const [answer, found] of answers) {
    const urls: string[] = [];
    const fetch = (url: string) => (urls.push(url), Promise.resolve().then(answer));
    const error = await failureOf(listed(await opened({ env: { HOME: "/h" }, fetch })), google);
    assert.ok(error.message.includes(found), error.message);
    assert.match(
      error.message,
      /: looked at GOOGLE_APPLICATION_CREDENTIALS \(not set\), gcloud's file \(\/h\/.*: none\), the machine's/,
    );
    assert.equal(error.retryable, false);
    assert.deepEqual(urls, [
      "http://169.254.169.254/computeMetadata/v1/instance/service-accounts/default/token",
    ]);
  }
});

googleTest("anonymous requests carry nothing", async (google) => {
  const storage = await opened({ credentials: "anonymous", fetch: google.fetch });
  const error = await failureOf(listed(storage), google);
  assert.deepEqual(google.seen, [""]);
  assert.deepEqual(google.asked, []);
  assert.match(
    error.message,
    /status 401 required \(Anonymous caller.*expected a bucket that everybody may use, or credentials$/,
  );
});

googleTest("an emulator and endpoints without TLS are sent no token", async (google) => {
  const env = { GOOGLE_APPLICATION_CREDENTIALS: "/keys/a.json" };
  const host = server.endpoint.replace("http://", "");
  for (const emulator of [host, `http://${host}`, `http://${host}/storage/v1/`]) {
    const storage = await asAccount(google, {}, { env: { ...env, STORAGE_EMULATOR_HOST: emulator } });
    assert.deepEqual(await listed(storage), ["k"]);
  }
  assert.deepEqual(await listed(await asAccount(google, {}, { endpoint: server.endpoint })), ["k"]);
  const keyed = await asAccount(google, {}, {
    env: { STORAGE_EMULATOR_HOST: host },
    credentials: { accessKeyId: "a", secretAccessKey: "b" },
  });
  assert.deepEqual(await listed(keyed), ["k"]);
  assert.deepEqual(google.asked, []);
  const query = "credentialsFile=/keys/a.json";
  const error = await failureOf(asAccount(google, {}, { endpoint: server.endpoint, query }), google);
  assert.match(
    error.message,
    /a credentials file for "http:.*", which has no TLS, expected an endpoint with https/,
  );
  await assert.rejects(opened({ env: { STORAGE_EMULATOR_HOST: "ftp://x" } }), /STORAGE_EMULATOR_HOST/);
});

const keySkip = skip || skipWithout({ "S3 server": s3ServerBinary() });
const EMPTY_LISTING = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
const KEYS = { accessKeyId: "GOOG1EXAMPLE", secretAccessKey: "key-secret" };

test("gs: a pair of keys signs requests to the XML interface", { skip: keySkip }, async () => {
  const env = { GS_ACCESS_KEY_ID: KEYS.accessKeyId, GS_SECRET_ACCESS_KEY: KEYS.secretAccessKey };
  const older = { accessKeyId: "GOOG1OLDER", secretAccessKey: "older" };
  const renewed = { credentials: older, credentialsSource: CredentialsSource.of(KEYS) };
  for (const told of [{ credentials: KEYS }, { env }, renewed]) {
    const seen: string[] = [];
    const fetch = async (url: string, init: RequestInit) => {
      const { host, pathname, search, origin } = new URL(url);
      const { method = "GET" } = init;
      seen.push(`${method} ${origin}${pathname}`);
      const headers = new Map([...new Headers(init.headers), ["host", host]]);
      const raw = { method, target: pathname + search, headers, body: Buffer.alloc(0) };
      const facts = { ...KEYS, sessionToken: "", nowMs: NOW_MS };
      assert.deepEqual(checkSignature(raw, facts), { region: "auto" });
      return await Promise.resolve(new Response(EMPTY_LISTING));
    };
    assert.deepEqual(await listed(await opened({ ...told, fetch })), []);
    assert.deepEqual(seen, [`GET https://storage.googleapis.com/${bucket}/`]);
  }
  await assert.rejects(opened({ env: { GS_ACCESS_KEY_ID: "a" } }), /only one of GS_ACCESS_KEY_ID and/);
});

let s3: S3Server;
before(async () => {
  if (!keySkip) s3 = await startS3Server();
});
after(() => s3?.close());

testWritableStore("gs by a pair of keys", async () => {
  const location = parseReplicaUrl(`gs://${s3.bucket}?endpoint=${s3.endpoint}`) as GsLocation;
  const prefix = `${crypto.randomUUID()}/`;
  const storage = () =>
    open(location, {
      env: { GS_ACCESS_KEY_ID: s3.accessKey, GS_SECRET_ACCESS_KEY: s3.secretKey },
      credentials: undefined,
      fetch: undefined,
      fetchInit: undefined,
      now: Date.now,
      log: undefined,
      readFile: () => Promise.reject(new Error("no file is needed")),
    });
  const [store, other] = (await Promise.all([storage(), storage()])).map((each) =>
    new RetryingStore(new AdaptedStore(location.name, each, prefix))
  );
  return {
    store: store!,
    other: other!,
    close: async () => void await Promise.all([store!.close(), other!.close()]),
  };
}, { manyCount: 100, skip: keySkip });
