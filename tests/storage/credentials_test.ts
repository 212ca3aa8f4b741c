import assert from "node:assert/strict";
import { test } from "node:test";
import { StorageError } from "../../src/errors.ts";
import {
  type Credentials,
  credentialsChain,
  CredentialsSource,
  type CredentialsSurroundings,
} from "../../src/storage/credentials.ts";

const NOW_MS = Date.parse("2026-11-21T00:00:00Z");
const SECRET = "hush-hush";

interface Told {
  env?: Record<string, string>;
  files?: Record<string, string>;
  answer?: (url: string, init: RequestInit) => Response | Promise<Response>;
}

/** A chain whose every surrounding is told; it notes the URLs it asks for. */
function chain({ env = {}, files = {}, answer }: Told): { source: CredentialsSource; urls: string[] } {
  const urls: string[] = [];
  const surroundings: CredentialsSurroundings = {
    env,
    fetch: (url, init) => {
      urls.push(`${init.method ?? "GET"} ${url}`);
      return Promise.resolve(answer?.(url, init) ?? Promise.reject(new TypeError("unreachable")));
    },
    readFile: (path) => {
      const text = files[path];
      if (text !== undefined) return Promise.resolve(text);
      return Promise.reject(Object.assign(new Error(`no ${path}`), { code: "ENOENT" }));
    },
  };
  return { source: credentialsChain(surroundings, { now: () => NOW_MS }), urls };
}

function keysOf({ accessKeyId, secretAccessKey, sessionToken }: Credentials): unknown[] {
  return [accessKeyId, secretAccessKey, sessionToken];
}

async function refusal(told: Told): Promise<StorageError> {
  const error = await chain(told).source.current().then(() => undefined, (error) => error);
  assert.ok(error instanceof StorageError, String(error));
  for (const text of [error.message, String(error.cause ?? "")]) assert.ok(!text.includes("hush"), text);
  return error;
}

const OFF = { AWS_EC2_METADATA_DISABLED: "true" };
const AWS = { AWS_ACCESS_KEY_ID: "AKID", AWS_SECRET_ACCESS_KEY: SECRET };
const LITESTREAM = { LITESTREAM_ACCESS_KEY_ID: "LSID", LITESTREAM_SECRET_ACCESS_KEY: "ls-hush" };

test("P8: the chain takes AWS_* with its session token first", async () => {
  const env = { ...AWS, ...LITESTREAM, AWS_SESSION_TOKEN: "tok" };
  assert.deepEqual(keysOf(await chain({ env }).source.current()), ["AKID", SECRET, "tok"]);
});

test("the chain takes LITESTREAM_* without the AWS session token", async () => {
  const env = { ...LITESTREAM, AWS_ACCESS_KEY_ID: "AKID", AWS_SESSION_TOKEN: "tok" };
  assert.deepEqual(keysOf(await chain({ env }).source.current()), ["LSID", "ls-hush", undefined]);
});

const CREDENTIALS_FILE = `# comment
[default]
aws_access_key_id = DEFAULT
aws_secret_access_key=${SECRET}

[work]
aws_access_key_id = WORK
aws_secret_access_key = work-hush
aws_session_token = work-token
`;

test("the chain reads the shared files by profile", async () => {
  const files = { "/home/me/.aws/credentials": CREDENTIALS_FILE };
  const env = { HOME: "/home/me" };
  assert.deepEqual(keysOf(await chain({ env, files }).source.current()), ["DEFAULT", SECRET, undefined]);
  const work = await chain({ env: { ...env, AWS_PROFILE: "work" }, files }).source.current();
  assert.deepEqual(keysOf(work), ["WORK", "work-hush", "work-token"]);
});

test("the chain reads the files that the environment names, credentials before config", async () => {
  const files = {
    "/c":
      "[ profile  work ]\naws_access_key_id = CONFIG\naws_secret_access_key = c-hush\ns3 =\n  aws_access_key_id = NESTED\n",
    "/s": "[work]\naws_access_key_id = SHARED\naws_secret_access_key = s-hush\n",
  };
  const env = { AWS_PROFILE: "work", AWS_CONFIG_FILE: "/c" };
  assert.equal((await chain({ env, files }).source.current()).accessKeyId, "CONFIG");
  const both = { ...env, AWS_SHARED_CREDENTIALS_FILE: "/s" };
  assert.equal((await chain({ env: both, files }).source.current()).accessKeyId, "SHARED");
});

test("the chain says which settings it does not follow", async () => {
  for (const setting of ["credential_process = /bin/x hush", "sso_session = hush", "source_profile = hush"]) {
    const files = { "/c": `[default]\nrole_arn = hush\n${setting}\n` };
    const error = await refusal({ env: { AWS_CONFIG_FILE: "/c" }, files });
    assert.match(error.message, new RegExp(`uses ${setting.split(" ")[0]}, which is not followed here`));
  }
});

test("the chain says that the profile does not exist", async () => {
  const error = await refusal({ env: { AWS_PROFILE: "nobody", HOME: "/home/me" } });
  assert.match(error.message, /no profile "nobody" in ~\/\.aws\/credentials and ~\/\.aws\/config/);
});

const STS_ANSWER = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult><AssumedRoleUser><Arn>x</Arn></AssumedRoleUser>
    <Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>${SECRET}</SecretAccessKey>
      <SessionToken>sts-token</SessionToken><Expiration>2026-11-21T01:00:00Z</Expiration></Credentials>
  </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`;

test("the chain assumes a role by web identity", async () => {
  const bodies: string[] = [];
  const told: Told = {
    env: { AWS_WEB_IDENTITY_TOKEN_FILE: "/token", AWS_ROLE_ARN: "arn:role", AWS_REGION: "eu-west-1" },
    files: { "/token": "jwt-hush\n" },
    answer: (_url, init) => {
      bodies.push(String(init.body));
      return new Response(STS_ANSWER);
    },
  };
  const { source, urls } = chain(told);
  const credentials = await source.current();
  assert.deepEqual(keysOf(credentials), ["ASIA", SECRET, "sts-token"]);
  assert.equal(credentials.expiresMs, NOW_MS + 3_600_000);
  assert.deepEqual(urls, ["POST https://sts.eu-west-1.amazonaws.com/"]);
  assert.match(
    bodies[0] ?? "",
    /Action=AssumeRoleWithWebIdentity&.*RoleArn=arn%3Arole&.*WebIdentityToken=jwt-hush$/,
  );
});

test("the chain assumes a profile's role by web identity", async () => {
  const files = {
    "/token": "jwt",
    "/c": "[default]\nrole_arn = r\nweb_identity_token_file = /token\nregion = eu-north-1\n",
  };
  const { source, urls } = chain({
    env: { AWS_CONFIG_FILE: "/c" },
    files,
    answer: () => new Response(STS_ANSWER),
  });
  assert.equal((await source.current()).accessKeyId, "ASIA");
  assert.deepEqual(urls, ["POST https://sts.eu-north-1.amazonaws.com/"]);
});

test("a refused web identity is an error with STS's code, not a reason to look further", async () => {
  const env = { AWS_WEB_IDENTITY_TOKEN_FILE: "/token", AWS_ROLE_ARN: "arn:role" };
  const files = { "/token": "jwt-hush" };
  const xml =
    "<ErrorResponse><Error><Code>AccessDenied</Code><Message>jwt-hush</Message></Error></ErrorResponse>";
  const error = await refusal({ env, files, answer: () => new Response(xml, { status: 403 }) });
  assert.match(error.message, /Cannot assume role arn:role: status 403 AccessDenied/);
  assert.equal(error.retryable, false);
  assert.equal((await refusal({ env, files })).retryable, true);
  assert.match((await refusal({ env })).message, /file of the web identity token cannot be read/);
  assert.match((await refusal({ env, files, answer: () => new Response("hush") })).message, /no XML/);
});

const METADATA = JSON.stringify({
  Code: "Success",
  AccessKeyId: "ASIA",
  SecretAccessKey: SECRET,
  Token: "meta-token",
  Expiration: "2026-11-21T06:00:00Z",
});

test("the chain asks the container's service", async () => {
  const answer = (_url: string, init: RequestInit) => {
    assert.equal(new Headers(init.headers).get("authorization"), null);
    return new Response(METADATA);
  };
  const { source, urls } = chain({ env: { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: "/v2/x" }, answer });
  assert.deepEqual(keysOf(await source.current()), ["ASIA", SECRET, "meta-token"]);
  assert.deepEqual(urls, ["GET http://169.254.170.2/v2/x"]);
});

test("the chain gives the container's service its token, from the environment or a file", async () => {
  const uri = { AWS_CONTAINER_CREDENTIALS_FULL_URI: "http://169.254.170.23/v1/credentials" };
  const answer = (_url: string, init: RequestInit) => {
    assert.equal(new Headers(init.headers).get("authorization"), "auth-token");
    return new Response(METADATA);
  };
  const files = { "/auth": "auth-token\n" };
  for (
    const env of [
      { ...uri, AWS_CONTAINER_AUTHORIZATION_TOKEN: "auth-token" },
      { ...uri, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: "/auth" },
    ]
  ) assert.equal((await chain({ env, files, answer }).source.current()).accessKeyId, "ASIA");
});

test("the chain sends no container token to a foreign host without TLS", async () => {
  for (
    const url of ["http://evil.example/x", "ftp://localhost/x", "http://localhost.evil.example/", "nonsense"]
  ) {
    const { source, urls } = chain({ env: { AWS_CONTAINER_CREDENTIALS_FULL_URI: url } });
    await assert.rejects(source.current(), /foreign host without TLS/);
    assert.deepEqual(urls, []);
  }
  const https = { AWS_CONTAINER_CREDENTIALS_FULL_URI: "https://creds.example/x" };
  await chain({ env: https, answer: () => new Response(METADATA) }).source.current();
});

test("the chain asks the instance's metadata with a session", async () => {
  const answer = (url: string, init: RequestInit) => {
    if (url.endsWith("/api/token")) return new Response("imds-token");
    assert.equal(new Headers(init.headers).get("x-aws-ec2-metadata-token"), "imds-token");
    return new Response(url.endsWith("/security-credentials/") ? "my-role\n" : METADATA);
  };
  const { source, urls } = chain({ answer });
  assert.deepEqual(keysOf(await source.current()), ["ASIA", SECRET, "meta-token"]);
  const base = "http://169.254.169.254/latest";
  assert.deepEqual(urls, [
    `PUT ${base}/api/token`,
    `GET ${base}/meta-data/iam/security-credentials/`,
    `GET ${base}/meta-data/iam/security-credentials/my-role`,
  ]);
});

test("the chain tells all it has looked at, by name only", async () => {
  const error = await refusal({ env: { AWS_SECRET_ACCESS_KEY: SECRET, HOME: "/home/me" } });
  assert.equal(error.code, "NoCredentials");
  assert.equal(error.retryable, false);
  assert.equal(
    error.message,
    "Cannot find credentials: looked at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (only the second is set); " +
      "LITESTREAM_ACCESS_KEY_ID and LITESTREAM_SECRET_ACCESS_KEY (not set); " +
      "AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN (not set); " +
      'profile "default" in ~/.aws/credentials and ~/.aws/config (no such file); ' +
      "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI (not set); " +
      'instance metadata (no answer), expected credentials in one of them, or "anonymous" access',
  );
  const { source, urls } = chain({ env: OFF });
  await assert.rejects(source.current(), /instance metadata \(AWS_EC2_METADATA_DISABLED is set\)/);
  assert.deepEqual(urls, []);
});

function expiring(hours: number, accessKeyId = "AKID"): Credentials {
  return { accessKeyId, secretAccessKey: SECRET, expiresMs: NOW_MS + hours * 3_600_000 };
}

test("CredentialsSource asks again shortly before the end, once for all who wait", async () => {
  let nowMs = NOW_MS;
  let calls = 0;
  const load = async () => {
    calls++;
    await Promise.resolve();
    return { ...expiring(1), accessKeyId: `K${calls}`, expiresMs: nowMs + 3_600_000 };
  };
  const source = new CredentialsSource(load, { now: () => nowMs, marginMs: 60_000 });
  const ids = async () =>
    (await Promise.all([source.current(), source.current(), source.current()])).map((c) => c.accessKeyId);
  assert.deepEqual(await ids(), ["K1", "K1", "K1"]);
  nowMs += 3_600_000 - 60_001;
  assert.deepEqual(await ids(), ["K1", "K1", "K1"]);
  nowMs += 1;
  assert.deepEqual(await ids(), ["K2", "K2", "K2"]);
  assert.equal(calls, 2);
});

test("CredentialsSource goes on with what holds when a renewal fails, and asks again next time", async () => {
  let nowMs = NOW_MS;
  let fail = false;
  const source = new CredentialsSource(() => {
    if (fail) throw new Error("down");
    return { ...expiring(1), expiresMs: nowMs + 3_600_000 };
  }, { now: () => nowMs });
  await source.current();
  fail = true;
  nowMs += 3_570_000;
  assert.equal((await source.current()).accessKeyId, "AKID");
  nowMs += 60_000;
  await assert.rejects(source.current(), /down/);
  fail = false;
  assert.equal((await source.current()).accessKeyId, "AKID");
});

test("CredentialsSource knows what is pushed, and says when it has expired", async () => {
  let nowMs = NOW_MS;
  const source = new CredentialsSource(undefined, { now: () => nowMs });
  await assert.rejects(source.current(), /none were given/);
  source.push(expiring(1, "FIRST"));
  nowMs += 3_590_000;
  assert.equal((await source.current()).accessKeyId, "FIRST");
  nowMs += 10_000;
  await assert.rejects(
    source.current(),
    /they expired at 2026-11-21T01:00:00\.000Z and no newer ones have come/,
  );
  source.push(expiring(2, "SECOND"));
  assert.equal((await source.current()).accessKeyId, "SECOND");
});

test("CredentialsSource.forget() tells whether others may come", async () => {
  const fixed = CredentialsSource.of({ accessKeyId: "AKID", secretAccessKey: SECRET });
  assert.equal(fixed.forget(await fixed.current()), false);
  let calls = 0;
  const loaded = new CredentialsSource(() => ({ accessKeyId: `K${++calls}`, secretAccessKey: SECRET }));
  const stale = await loaded.current();
  assert.equal(loaded.forget(stale), true);
  assert.equal((await loaded.current()).accessKeyId, "K2");
  assert.equal(loaded.forget(stale), true, "newer ones have come meanwhile");
  assert.equal((await loaded.current()).accessKeyId, "K2");
});

test("CredentialsSource refuses malformed credentials without repeating them", () => {
  const given: Credentials[] = [
    { accessKeyId: "", secretAccessKey: "hush" },
    { accessKeyId: "AKID", secretAccessKey: "" },
    { accessKeyId: "AKID", secretAccessKey: "hu\nsh" },
    { accessKeyId: "AKID", secretAccessKey: "hush", sessionToken: "hush\r\nx: y" },
    { accessKeyId: "AKID", secretAccessKey: "hush", expiresMs: NaN },
    { accessKeyId: "AKID" } as Credentials,
  ];
  for (const credentials of given) {
    assert.throws(() => CredentialsSource.of(credentials), (error) => {
      assert.ok(error instanceof TypeError && !error.message.includes("hu"));
      return true;
    });
  }
});

test("CredentialsSource forgives a line break at the end", async () => {
  const source = CredentialsSource.of({
    accessKeyId: "AKID\n",
    secretAccessKey: ` ${SECRET}\n`,
    sessionToken: "",
  });
  assert.deepEqual(keysOf(await source.current()), ["AKID", SECRET, undefined]);
});
