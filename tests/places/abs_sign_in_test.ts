import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { inspect } from "node:util";
import { StorageError } from "../../src/errors.ts";
import type { BackendContext } from "../../src/storage/backend.ts";
import type { Storage } from "../../src/storage/storage.ts";
import {
  azuriteProgram,
  type AzuriteServer,
  contextOf,
  openAbs,
  startAzurite,
} from "../support/azurite_server.ts";
import { FakeAzure } from "../support/fake_azure.ts";
import { freePort, skipWithout, withFolder } from "../support/real.ts";

const skip = skipWithout({ azurite: azuriteProgram() });
let azurite: AzuriteServer;
let container = "";
before(async () => {
  if (skip) return;
  azurite = await startAzurite();
  container = await azurite.makeContainer();
  const storage = await openAbs(
    azurite.url(container),
    contextOf({ LITESTREAM_AZURE_ACCOUNT_KEY: azurite.key }),
  );
  await put(storage, "k");
});
after(() => azurite?.close());

const request = { signal: new AbortController().signal, onProgress: () => {} };
const OTHER_KEY = btoa("another key, of another account!");

async function keysOf(storage: Storage): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of storage.list("", request)) keys.push(...page.map(({ key }) => key));
  return keys;
}

function put(storage: Storage, key: string) {
  return storage.put!(key, new Uint8Array(10), { ...request, ifAbsent: true });
}

/** Whether the error is one for good, says `words` and, however it is printed, none of the secrets. */
function isRefusal(words: RegExp, ...secrets: string[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof StorageError, String(error));
    assert.match(error.message, words);
    assert.equal(error.retryable, false);
    assertSilent(error, secrets);
    return true;
  };
}

function assertSilent(error: unknown, secrets: readonly string[]): void {
  const shown = inspect(error, { depth: 9, showHidden: true });
  for (const secret of secrets) assert.ok(!shown.includes(secret), shown);
}

test("abs: each way to name account and key in the environment is taken", { skip }, async () => {
  const { account, key, endpoint } = azurite;
  const at = `?endpoint=${encodeURIComponent(endpoint)}`;
  const described =
    `DefaultEndpointsProtocol=http;AccountName=${account};AccountKey=${key};BlobEndpoint=${endpoint};`;
  const ways: [string, Record<string, string>][] = [
    [`abs://${container}/${at}`, { AZURE_STORAGE_ACCOUNT: account, AZURE_STORAGE_KEY: key }],
    [`abs://${account}@${container}/${at}`, { AZURE_STORAGE_KEY: key }],
    [`abs://${container}/${at}`, { LITESTREAM_AZURE_ACCOUNT_KEY: key }],
    [`abs://${container}/`, { AZURE_STORAGE_CONNECTION_STRING: described }],
    [`abs://${container}/`, {
      AZURE_STORAGE_CONNECTION_STRING: `BlobEndpoint=${endpoint}/;SharedAccessSignature=${azurite.sas("rl")}`,
    }],
    [`abs://${container}/${at}`, { LITESTREAM_AZURE_SAS_TOKEN: `?${azurite.sas("rl")}` }],
    [`abs://${container}/${at}`, { AZURE_STORAGE_SAS_TOKEN: azurite.sas("rl") }],
    [`abs://${container}/${at}`, {
      LITESTREAM_AZURE_SAS_TOKEN: azurite.sas("rl"),
      LITESTREAM_AZURE_ACCOUNT_KEY: OTHER_KEY,
    }],
    [`abs://${container}/${at}`, {
      LITESTREAM_AZURE_ACCOUNT_KEY: key,
      AZURE_STORAGE_KEY: OTHER_KEY,
      AZURE_STORAGE_CONNECTION_STRING: described.replace(key, OTHER_KEY),
    }],
  ];
  for (const [url, env] of ways) {
    assert.deepEqual(await keysOf(await openAbs(url, contextOf(env))), ["k"], Object.keys(env).join());
  }
});

test("abs: option credentials stand before the environment", { skip }, async () => {
  const { account, key } = azurite;
  const url = azurite.url(container);
  const env = { LITESTREAM_AZURE_SAS_TOKEN: "sig=wrong" };
  const credentials = { accessKeyId: account, secretAccessKey: key };
  assert.deepEqual(await keysOf(await openAbs(url, contextOf(env, { credentials }))), ["k"]);
});

test("abs: a public container is read without any", { skip }, async () => {
  const open = await azurite.makeContainer({ isPublic: true });
  const key = contextOf({ LITESTREAM_AZURE_ACCOUNT_KEY: azurite.key });
  await put(await openAbs(azurite.url(open), key), "ltx/0/a");
  const anonymous = contextOf({ LITESTREAM_AZURE_ACCOUNT_KEY: OTHER_KEY }, { credentials: "anonymous" });
  const storage = await openAbs(azurite.url(open), anonymous);
  assert.deepEqual(await keysOf(storage), ["ltx/0/a"]);
  const read = await storage.read("ltx/0/a", { offset: 2, size: 3 }, request);
  assert.deepEqual([read?.bytes.length, read?.objectSize], [3, 10]);
  await assert.rejects(put(storage, "b"), isRefusal(/expected a container that is public, or credentials/));
  const hidden = await openAbs(azurite.url(container), anonymous);
  await assert.rejects(keysOf(hidden), isRefusal(/expected (an existing|a) container that is public/));
});

test("abs: what is refused is told with what to do, and without secrets", { skip }, async () => {
  const url = azurite.url(container);
  const opened = (env: Record<string, string>, at = url) => openAbs(at, contextOf(env));
  const wrongKey = await opened({ LITESTREAM_AZURE_ACCOUNT_KEY: OTHER_KEY });
  await assert.rejects(
    keysOf(wrongKey),
    isRefusal(
      /^Cannot list "" in abs:.*AuthorizationFailure.*, expected the key of that account, and/,
      OTHER_KEY,
    ),
  );
  await assert.rejects(put(wrongKey, "x"), isRefusal(/^Cannot put "x" in abs:.*403/, OTHER_KEY));
  const key = { LITESTREAM_AZURE_ACCOUNT_KEY: azurite.key };
  const missing = await opened(key, azurite.url("nowhere"));
  const asks = [
    () => keysOf(missing),
    () => missing.read("x", { offset: 0, size: 1 }, request),
    () => put(missing, "x"),
    () => missing.remove!(["x"], request),
  ];
  for (const asked of asks) {
    await assert.rejects(
      asked(),
      isRefusal(/ContainerNotFound.*, expected an existing container, not "nowhere"/),
    );
  }
  const sas = azurite.sas("rl");
  const sig = new URLSearchParams(sas).get("sig")!;
  const reader = await opened({ LITESTREAM_AZURE_SAS_TOKEN: sas });
  await assert.rejects(
    put(reader, "x"),
    isRefusal(/expected a SAS token with permission to create and write/, sig),
  );
  const ended = azurite.sas("rl", Date.now() - 60_000);
  const late = await opened({ LITESTREAM_AZURE_SAS_TOKEN: ended });
  await assert.rejects(
    keysOf(late),
    isRefusal(
      /, expected a SAS token that was not changed, has not expired/,
      new URLSearchParams(ended).get("sig")!,
    ),
  );
});

test("abs: a connection that fails is told without the SAS token", async () => {
  const url = `abs://c/?endpoint=${encodeURIComponent(`http://127.0.0.1:${await freePort()}/account`)}`;
  const sas = "sv=2021-12-02&sp=rl&sig=c2VjcmV0c2VjcmV0%2Bc2VjcmV0%3D";
  const storage = await openAbs(url, contextOf({ LITESTREAM_AZURE_SAS_TOKEN: sas }));
  await assert.rejects(keysOf(storage), (error) => {
    assert.ok(error instanceof StorageError && error.retryable);
    assertSilent(error, ["c2VjcmV0"]);
    return true;
  });
});

test("abs: what cannot be used is told before anything is asked", async () => {
  const opened = (
    env: Record<string, string>,
    url = "abs://account@c/p",
    more: Partial<BackendContext> = {},
  ) => openAbs(url, contextOf(env, more));
  const secret = "not-base-64-but-secret";
  for (
    const [opening, words] of [
      [() => opened({}, "abs://c/p"), /no account, expected abs:\/\/ACCOUNT@CONTAINER\/PATH/],
      [() => opened({}, "abs://evil.example%2F@c/p"), /for an account, expected 3 to 24 small letters/],
      [() => opened({ LITESTREAM_AZURE_ACCOUNT_KEY: secret }), /ACCOUNT_KEY that is no base64/],
      [() => opened({ AZURE_STORAGE_KEY: secret }), /AZURE_STORAGE_KEY that is no base64/],
      [() => opened({ LITESTREAM_AZURE_SAS_TOKEN: secret }), /a SAS token without sig=/],
      [
        () => opened({ AZURE_STORAGE_CONNECTION_STRING: `AccountName=account;AccountKey=${secret}` }),
        /AZURE_STORAGE_CONNECTION_STRING that is no base64/,
      ],
      [
        () => opened({}, "abs://account@c/p", { credentials: { accessKeyId: "a", secretAccessKey: secret } }),
        /option credentials that is no base64/,
      ],
    ] as const
  ) await assert.rejects(opening, isRefusal(words, secret));
});

test("abs: keys of another account are left alone", async () => {
  await using fake = await FakeAzure.start();
  fake.give("token");
  const env = {
    AZURE_STORAGE_ACCOUNT: "another",
    AZURE_STORAGE_KEY: OTHER_KEY,
    AZURE_STORAGE_CONNECTION_STRING: `AccountName=another;AccountKey=${OTHER_KEY}`,
    IDENTITY_ENDPOINT: `${fake.url}/app`,
    IDENTITY_HEADER: "header",
  };
  const url = `abs://account@c/?endpoint=${encodeURIComponent(`${fake.url}/account`)}`;
  assert.deepEqual(await keysOf(await openAbs(url, contextOf(env))), []);
  assert.deepEqual(fake.listings, ["token"]);
});

/** The container of {@link FakeAzure}. */
function openFake(fake: FakeAzure, env: Record<string, string>, more: Partial<BackendContext> = {}) {
  return openAbs(`abs://c/?endpoint=${encodeURIComponent(`${fake.url}/account`)}`, contextOf(env, more));
}

test("abs: a client's secret gives a token, asked for once", async () => {
  await using fake = await FakeAzure.start();
  fake.give("first-token");
  const env = {
    AZURE_AUTHORITY_HOST: `${fake.url}/`,
    AZURE_TENANT_ID: "tenant",
    AZURE_CLIENT_ID: "client",
    AZURE_CLIENT_SECRET: "a secret+",
    AZURE_FEDERATED_TOKEN_FILE: "/nowhere",
  };
  const storage = await openFake(fake, env);
  await Promise.all([keysOf(storage), keysOf(storage)]);
  assert.deepEqual(fake.tokenRequests.map(({ line, parameters }) => [line, parameters]), [[
    "POST /tenant/oauth2/v2.0/token",
    {
      client_id: "client",
      client_secret: "a secret+",
      grant_type: "client_credentials",
      scope: "https://storage.azure.com/.default",
    },
  ]]);
});

test("abs: a workload's federated token is read anew for each token", async () => {
  await using fake = await FakeAzure.start();
  fake.give("one", { expires_in: 60 });
  fake.give("two");
  await withFolder(async (folder) => {
    const file = join(folder, "token");
    const env = {
      AZURE_AUTHORITY_HOST: fake.url,
      AZURE_TENANT_ID: "tenant",
      AZURE_CLIENT_ID: "client",
      AZURE_FEDERATED_TOKEN_FILE: file,
    };
    let nowMs = Date.now();
    const storage = await openFake(fake, env, { now: () => nowMs });
    await writeFile(file, "assertion-1\n");
    await keysOf(storage);
    await writeFile(file, "assertion-2\n");
    nowMs += 61_000;
    await keysOf(storage);
    assert.deepEqual(
      fake.tokenRequests.map(({ parameters }) => parameters.client_assertion),
      ["assertion-1", "assertion-2"],
    );
    assert.match(fake.tokenRequests[0]!.parameters.client_assertion_type!, /jwt-bearer$/);
    assert.deepEqual(fake.listings, ["one", "two"]);
  });
});

test("abs: an app's and an instance's identity give tokens", async () => {
  await using fake = await FakeAzure.start();
  fake.give("app-token", { expires_on: String(Math.floor(Date.now() / 1000) + 3_600) });
  const app = { IDENTITY_ENDPOINT: `${fake.url}/app`, IDENTITY_HEADER: "header", AZURE_CLIENT_ID: "mine" };
  await keysOf(await openFake(fake, app));
  fake.answers = [];
  fake.give("instance-token", { expires_in: "3599", expires_on: "1" });
  await keysOf(await openFake(fake, { AZURE_POD_IDENTITY_AUTHORITY_HOST: fake.url }));
  const [ofApp, ofInstance] = fake.tokenRequests;
  assert.deepEqual([ofApp?.line, ofApp?.headers["x-identity-header"], ofApp?.parameters], [
    "GET /app",
    "header",
    {
      "api-version": "2019-08-01",
      client_id: "mine",
      resource: "https://storage.azure.com",
    },
  ]);
  assert.deepEqual([ofInstance?.line, ofInstance?.headers.metadata, ofInstance?.parameters], [
    "GET /metadata/identity/oauth2/token",
    "true",
    { "api-version": "2018-02-01", resource: "https://storage.azure.com" },
  ]);
  assert.deepEqual(fake.listings, ["app-token", "instance-token"]);
});

test("abs: a token is renewed before its end, while the older one is used", async () => {
  await using fake = await FakeAzure.start();
  for (const token of ["one", "two"]) fake.give(token);
  let nowMs = Date.now();
  const now = () => nowMs;
  const storage = await openFake(fake, { AZURE_POD_IDENTITY_AUTHORITY_HOST: fake.url }, { now });
  await keysOf(storage);
  nowMs += 3_600_000 - 4 * 60_000;
  await keysOf(storage);
  while (fake.listings.at(-1) !== "two") await keysOf(storage);
  assert.deepEqual(fake.listings.slice(0, 2), ["one", "one"]);
  assert.equal(fake.tokenRequests.length, 2);
});

test("abs: a refused token is renewed once", async () => {
  await using fake = await FakeAzure.start();
  for (const token of ["one", "two", "three"]) fake.give(token);
  fake.tokens.delete("one");
  const storage = await openFake(fake, { AZURE_POD_IDENTITY_AUTHORITY_HOST: fake.url });
  assert.deepEqual(await keysOf(storage), []);
  assert.deepEqual(fake.listings, ["one", "two"]);
  fake.tokens.clear();
  await assert.rejects(
    keysOf(storage),
    isRefusal(/InvalidAuthenticationInfo.*Refused \[secret\].*, expected a token of the tenant/, "three"),
  );
  assert.deepEqual(fake.listings, ["one", "two", "two", "three"]);
});

test("abs: a refusal that comes late costs no token that is newer", async () => {
  await using fake = await FakeAzure.start();
  for (const token of ["one", "two", "three"]) fake.give(token);
  fake.tokens.delete("one");
  const refused = Promise.withResolvers<void>();
  let count = 0;
  const fetch = async (url: string, init: RequestInit) => {
    const isLate = url.includes("/account/c") && ++count === 2;
    const response = await globalThis.fetch(url, init);
    if (isLate) await refused.promise;
    return response;
  };
  const storage = await openFake(fake, { AZURE_POD_IDENTITY_AUTHORITY_HOST: fake.url }, { fetch });
  const both = [keysOf(storage), keysOf(storage)];
  await Promise.race(both);
  refused.resolve();
  await Promise.all(both);
  assert.deepEqual(fake.listings, ["one", "one", "two", "two"]);
  assert.equal(fake.tokenRequests.length, 2);
});

test("abs: why there is no token is told", async () => {
  await using fake = await FakeAzure.start();
  const tenant = { AZURE_AUTHORITY_HOST: fake.url, AZURE_TENANT_ID: "tenant", AZURE_CLIENT_ID: "client" };
  const secret = { ...tenant, AZURE_CLIENT_SECRET: "wrong-secret" };
  const refused = (error: string, words: string) => {
    fake.answers = [{ status: 401, body: { error, error_description: `${words}: said wrong-secret` } }];
  };
  refused("invalid_client", "AADSTS7000215: Invalid");
  const words =
    /^Cannot get a token of Microsoft Entra: status 401 AADSTS7000215, expected the client's own secret/;
  await assert.rejects(keysOf(await openFake(fake, secret)), isRefusal(words, "wrong-secret"));
  refused("unauthorized_client", "no number");
  const code = /status 401 unauthorized_client, expected a token$/;
  await assert.rejects(keysOf(await openFake(fake, secret)), isRefusal(code, "wrong-secret"));
  const file = { ...tenant, AZURE_FEDERATED_TOKEN_FILE: "/nowhere/at/all" };
  await assert.rejects(keysOf(await openFake(fake, file)), isRefusal(/the federated token cannot be read/));
  const instance = { AZURE_POD_IDENTITY_AUTHORITY_HOST: fake.url };
  fake.answers = [{
    status: 400,
    body: { error: "invalid_request", error_description: "Identity not found" },
  }];
  const none =
    /instance's identity: status 400 invalid_request, expected an identity that is assigned there$/;
  await assert.rejects(keysOf(await openFake(fake, instance)), isRefusal(none));
  fake.answers = [{ status: 404, body: {} }];
  await assert.rejects(keysOf(await openFake(fake, instance)), { retryable: true, status: 404 });
  const nowhere = { AZURE_POD_IDENTITY_AUTHORITY_HOST: "http://127.0.0.1:1" };
  const looked =
    /^Cannot find credentials: looked at AZURE_TENANT_ID.*managed identity \(no answer.*"anonymous" access$/;
  await assert.rejects(keysOf(await openFake(fake, nowhere)), isRefusal(looked));
  assert.deepEqual(fake.listings, []);
});

test("abs: a token is sent nowhere in the clear", async () => {
  await using fake = await FakeAzure.start();
  fake.give("token");
  const env = { AZURE_POD_IDENTITY_AUTHORITY_HOST: fake.url };
  const fetched: string[] = [];
  const fetch = (url: string) => {
    fetched.push(url);
    return Promise.reject(new Error("unreachable"));
  };
  const storage = await openAbs(
    "abs://account@c/?endpoint=http%3A%2F%2Fblobs.example",
    contextOf(env, { fetch }),
  );
  await assert.rejects(keysOf(storage), isRefusal(/a token would be sent without TLS, expected https$/));
  assert.deepEqual(fetched, []);
});
