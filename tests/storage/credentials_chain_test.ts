import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { StorageError } from "../../src/errors.ts";
import type { Credentials, CredentialsSource } from "../../src/storage/credentials.ts";
import { credentialsChain } from "../../src/storage/credentials_chain.ts";
import type { CredentialsSurroundings } from "../../src/storage/credentials_service.ts";
import { openStore } from "../../src/storage/open_store.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { FakeCredentialsService } from "../support/fake_credentials_service.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { checkSignature } from "../support/sigv4_check.ts";

const NOW_MS = Date.parse("2026-11-21T00:00:00Z");
const SECRET = "hush-hush";

interface Told {
  env?: Record<string, string>;
  files?: Record<string, string>;
  answer?: (url: string, init: RequestInit) => Response | Promise<Response>;
  /** What each command prints; without it none can run. */
  commands?: Record<string, string>;
}

/** A chain whose every surrounding is told; it notes the URLs it asks for. */
function chain(
  { env = {}, files = {}, answer, commands }: Told,
): { source: CredentialsSource; urls: string[] } {
  const urls: string[] = [];
  const surroundings: CredentialsSurroundings = {
    env,
    fetch: (url, init) => {
      urls.push(`${init.method ?? "GET"} ${url}`);
      return Promise.resolve(answer?.(url, init) ?? Promise.reject(new TypeError("unreachable")));
    },
    now: () => NOW_MS,
    ...(commands && {
      runCommand: (command) => {
        const printed = commands[command];
        if (printed !== undefined) return Promise.resolve(printed);
        return Promise.reject(new Error("exit status 3"));
      },
    }),
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

test("the chain reads files with comments, of any line end, below a byte order mark", async () => {
  const file =
    "\ufeff[default] # mine\r\naws_access_key_id = AKID # the first\r\n; aws_access_key_id = OTHER\r\n" +
    `aws_secret_access_key = ${SECRET} ;; and so on\r\n#aws_session_token = x\r\n`;
  const { source } = chain({ env: { AWS_CONFIG_FILE: "/c" }, files: { "/c": file } });
  assert.deepEqual(keysOf(await source.current()), ["AKID", SECRET, undefined]);
});

test("the chain reads files that are indented throughout", async () => {
  const file =
    `[default]\n  s3 =\n    aws_access_key_id = NESTED\n  aws_access_key_id = AKID\n  aws_secret_access_key = ${SECRET}\n`;
  const { source } = chain({ env: { AWS_CONFIG_FILE: "/c" }, files: { "/c": file } });
  assert.deepEqual(keysOf(await source.current()), ["AKID", SECRET, undefined]);
});

const KEYS = `aws_access_key_id = BASE\naws_secret_access_key = ${SECRET}\n`;

/** What the chain makes of a config file, and the roles that were assumed: each by which key id. */
async function ofConfig(config: string, told: Told = {}): Promise<{ id: string; roles: string[] }> {
  const roles: string[] = [];
  const { source } = chain({
    ...told,
    env: { AWS_CONFIG_FILE: "/c", ...told.env },
    files: { "/c": config, ...told.files },
    answer: async (url, init) => {
      const role = /RoleArn=([^&]*)/.exec(String(init.body))?.[1];
      if (role === undefined) return await told.answer?.(url, init) ?? new Response("", { status: 500 });
      const by = /Credential=([^/]*)/.exec(new Headers(init.headers).get("authorization") ?? "")?.[1] ??
        "nobody";
      roles.push(`${role} by ${by}`);
      return new Response(STS_ANSWER.replace(">ASIA<", `>AS-${role}<`));
    },
  });
  return { id: (await source.current()).accessKeyId, roles };
}

test("the chain assumes a role for its source profile, signed as STS wants it", async () => {
  const files = {
    "/c":
      "[default]\nrole_arn = arn:role\nsource_profile = base\nrole_session_name = me\nexternal_id = e x\n" +
      "duration_seconds = 900\nregion = eu-west-1\n",
    "/s": `[base]\n${KEYS}aws_session_token = base-token\n`,
  };
  let asked: RequestInit = {};
  const { source, urls } = chain({
    env: { AWS_CONFIG_FILE: "/c", AWS_SHARED_CREDENTIALS_FILE: "/s" },
    files,
    answer: (_url, init) => {
      asked = init;
      return new Response(STS_ANSWER);
    },
  });
  const credentials = await source.current();
  assert.deepEqual(keysOf(credentials), ["ASIA", SECRET, "sts-token"]);
  assert.equal(credentials.expiresMs, NOW_MS + 3_600_000);
  assert.deepEqual(urls, ["POST https://sts.eu-west-1.amazonaws.com/"]);
  assert.equal(
    asked.body,
    "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Arole&RoleSessionName=me&DurationSeconds=900&ExternalId=e+x",
  );
  const headers = new Map([...new Headers(asked.headers), ["host", "sts.eu-west-1.amazonaws.com"]]);
  const request = { method: "POST", target: "/", headers, body: Buffer.from(String(asked.body)) };
  const facts = { accessKeyId: "BASE", secretAccessKey: SECRET, sessionToken: "base-token", nowMs: NOW_MS };
  assert.deepEqual(checkSignature(request, { ...facts, service: "sts" }), { region: "eu-west-1" });
});

test("the chain assumes roles one after the other, and takes a source's own keys first", async () => {
  const roles =
    "[default]\nrole_arn = one\nsource_profile = two\n[profile two]\nrole_arn = two\nsource_profile = three\n";
  assert.deepEqual(await ofConfig(`${roles}[profile three]\n${KEYS}`), {
    id: "AS-one",
    roles: ["two by BASE", "one by AS-two"],
  });
  assert.deepEqual((await ofConfig(`${roles}${KEYS}[profile three]\n${KEYS}`)).roles, ["one by BASE"]);
});

test("the chain assumes a profile's role though the profile has keys, also as its own source", async () => {
  const itself = await ofConfig(`[default]\nrole_arn = one\nsource_profile = default\n${KEYS}`);
  assert.deepEqual(itself, { id: "AS-one", roles: ["one by BASE"] });
  const other = await ofConfig(
    `[default]\nrole_arn = one\nsource_profile = b\n${KEYS}[profile b]\n${KEYS.replace("BASE", "B")}`,
  );
  assert.deepEqual(other.roles, ["one by B"]);
});

test("the chain assumes a role for a source profile's web identity", async () => {
  const config = "[default]\nrole_arn = one\nsource_profile = b\n[profile b]\nrole_arn = two\n" +
    "web_identity_token_file = /token\n";
  const { roles } = await ofConfig(config, { files: { "/token": "jwt" } });
  assert.deepEqual(roles, ["two by nobody", "one by AS-two"]);
});

test("the chain assumes a role for the place that credential_source names", async () => {
  const config = (place: string) => `[default]\nrole_arn = one\ncredential_source = ${place}\n`;
  const container = { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: "/v2/x" };
  const answer = () => new Response(METADATA);
  assert.deepEqual((await ofConfig(config("EcsContainer"), { env: container, answer })).roles, [
    "one by ASIA",
  ]);
  const instance = (url: string) => new Response(url.endsWith("/security-credentials/") ? "role" : METADATA);
  assert.deepEqual((await ofConfig(config("Ec2InstanceMetadata"), { answer: instance })).roles, [
    "one by ASIA",
  ]);
  const none = (place: string) =>
    refusal({ env: { AWS_CONFIG_FILE: "/c", ...OFF }, files: { "/c": config(place) } });
  assert.match(
    (await none("Environment")).message,
    /credential_source Environment: AWS_ACCESS_KEY_ID and .* \(not set\)/,
  );
  assert.match(
    (await none("Ec2InstanceMetadata")).message,
    /instance metadata \(AWS_EC2_METADATA_DISABLED is set\)/,
  );
  assert.match((await none("constructor")).message, /one of Ec2InstanceMetadata, EcsContainer, Environment/);
});

const profileFaults: [name: string, config: string, words: RegExp][] = [
  [
    "a role alone",
    "[default]\nrole_arn = hush\n",
    /profile "default" has role_arn alone, expected source_profile/,
  ],
  [
    "profiles that name each other",
    "[default]\nrole_arn = hush\nsource_profile = b\n[profile b]\nrole_arn = hush\nsource_profile = default\n",
    /the profiles "default", "b", "default" name each other/,
  ],
  [
    "a profile that names itself without keys",
    "[default]\nrole_arn = hush\nsource_profile = default\n",
    /the profiles "default", "default" name each other/,
  ],
  [
    "a source profile that is not there",
    "[default]\nrole_arn = hush\nsource_profile = nobody\n",
    /profile "default" has source_profile "nobody", which has none in ~\/\.aws\/credentials and AWS_CONFIG_FILE/,
  ],
  [
    "a code to type",
    `[default]\nrole_arn = hush\nsource_profile = b\nmfa_serial = hush\n[profile b]\n${KEYS}`,
    /profile "default" uses mfa_serial, for which somebody has to type a code/,
  ],
  [
    "single sign-on",
    "[default]\nsso_session = hush\n",
    /profile "default" uses sso_session, which is not followed here/,
  ],
  ["old single sign-on", "[default]\nsso_start_url = hush\n", /uses sso_start_url, .*export-credentials/],
  [
    "single sign-on of a source",
    "[default]\nrole_arn = hush\nsource_profile = b\n[profile b]\nsso_session = hush\n",
    /profile "b" uses sso_session/,
  ],
];
for (const [name, config, words] of profileFaults) {
  test(`the chain tells of a profile with ${name}`, async () => {
    const error = await refusal({ env: { AWS_CONFIG_FILE: "/c" }, files: { "/c": config } });
    assert.match(error.message, words);
    assert.equal(error.retryable, false);
  });
}

const PROCESS = "[default]\ncredential_process = /bin/keys hush\n";
const PRINTED = { Version: 1, AccessKeyId: "PROC", SecretAccessKey: SECRET, SessionToken: "proc-token" };

test("the chain runs a profile's credential_process", async () => {
  const run = (printed: unknown) =>
    chain({
      env: { AWS_CONFIG_FILE: "/c" },
      files: { "/c": PROCESS },
      commands: { "/bin/keys hush": JSON.stringify(printed) },
    }).source.current();
  const lasting = await run(PRINTED);
  assert.deepEqual([...keysOf(lasting), lasting.expiresMs], ["PROC", SECRET, "proc-token", undefined]);
  const ending = await run({ ...PRINTED, SessionToken: undefined, Expiration: "2026-11-21T01:00:00Z" });
  assert.deepEqual([...keysOf(ending), ending.expiresMs], ["PROC", SECRET, undefined, NOW_MS + 3_600_000]);
});

test("the chain tells of a credential_process that fails, without the command or what it printed", async () => {
  const told = (commands?: Record<string, string>) =>
    refusal({ env: { AWS_CONFIG_FILE: "/c" }, files: { "/c": PROCESS }, ...(commands && { commands }) });
  assert.match(
    (await told({})).message,
    /credential_process of profile "default" failed: exit status 3, expected/,
  );
  assert.match((await told()).message, /uses credential_process, which cannot run here/);
  const printing = (printed: string) => told({ "/bin/keys hush": printed });
  assert.match(
    (await printing("hush")).message,
    /by credential_process of profile "default": .*no JSON object/,
  );
  assert.match(
    (await printing(JSON.stringify({ ...PRINTED, Version: 2 }))).message,
    /another Version, expected Version 1/,
  );
  assert.match((await printing('{"Version":1,"AccessKeyId":"hush"}')).message, /an answer of another form/);
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

test("the chain asks the instance's metadata over IPv6, or where the environment says", async () => {
  const asked = async (env: Record<string, string>) => {
    const { source, urls } = chain({ env, answer: () => new Response(METADATA) });
    await source.current();
    return urls[0];
  };
  assert.equal(
    await asked({ AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE: "IPv6" }),
    "PUT http://[fd00:ec2::254]/latest/api/token",
  );
  assert.equal(
    await asked({ AWS_EC2_METADATA_SERVICE_ENDPOINT: "http://meta:80/" }),
    "PUT http://meta:80/latest/api/token",
  );
});

test("the chain tells an instance without a role from one whose service fails", async () => {
  const answering = (status: number) => (url: string) =>
    url.endsWith("/api/token") ? new Response("imds-token") : new Response("", { status });
  assert.match(
    (await refusal({ answer: answering(404) })).message,
    /instance metadata \(the instance has no role\)/,
  );
  const failing = await refusal({ answer: answering(503) });
  assert.match(failing.message, /^Cannot get instance credentials: status 503, expected credentials$/);
  assert.equal(failing.retryable, true);
});

test("the chain may be asked again where it has found credentials before", async () => {
  let down = false;
  let nowMs = NOW_MS;
  const surroundings: CredentialsSurroundings = {
    env: {},
    fetch: (url) =>
      down
        ? Promise.reject(new TypeError("unreachable"))
        : Promise.resolve(new Response(url.endsWith("/security-credentials/") ? "role" : METADATA)),
  };
  const source = credentialsChain(surroundings, { now: () => nowMs });
  await source.current();
  down = true;
  nowMs += 7 * 3_600_000;
  await assert.rejects(source.current(), { retryable: true, message: /instance metadata \(no answer\)/ });
  await assert.rejects(credentialsChain(surroundings).current(), { retryable: false });
});

test("the chain asks STS where the environment says", async () => {
  const env = {
    AWS_WEB_IDENTITY_TOKEN_FILE: "/token",
    AWS_ROLE_ARN: "r",
    AWS_ENDPOINT_URL_STS: "http://sts:1/x",
  };
  const { source, urls } = chain({ env, files: { "/token": "jwt" }, answer: () => new Response(STS_ANSWER) });
  await source.current();
  assert.deepEqual(urls, ["POST http://sts:1/x"]);
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

/** A bucket of keys that change, the services that give them, and a store that finds them by the environment alone. */
async function served(
  env: (service: FakeCredentialsService, folder: string) => Record<string, string>,
  use: (
    parts: { fake: FakeS3; service: FakeCredentialsService; list: () => Promise<void>; folder: string },
  ) => Promise<void>,
): Promise<void> {
  await using fake = await FakeS3.start();
  await using service = await FakeCredentialsService.start();
  const folder = await mkdtemp(join(tmpdir(), "credentials-"));
  service.onKeys = (keys) => Object.assign(fake.options, keys);
  try {
    const location = parseReplicaUrl(fake.url("/db"));
    const given = { AWS_EC2_METADATA_DISABLED: "true", HOME: folder, ...env(service, folder) };
    const store = await openStore(location, { env: given });
    const list = async () => {
      for await (const page of store.list("")) assert.fail(`${page.length} keys`);
    };
    await use({ fake, service, list, folder });
    await store.close();
  } finally {
    await rm(folder, { recursive: true });
  }
}

const services: [
  name: string,
  env: (service: FakeCredentialsService, folder: string) => Record<string, string>,
  requests: string[],
][] = [
  ["container", ({ url }) => ({ AWS_CONTAINER_CREDENTIALS_FULL_URI: `${url}/container` }), [
    "GET /container",
  ]],
  [
    "instance",
    ({ url }) => ({ AWS_EC2_METADATA_DISABLED: "false", AWS_EC2_METADATA_SERVICE_ENDPOINT: url }),
    [
      "PUT /latest/api/token",
      "GET /latest/meta-data/iam/security-credentials/",
      "GET /latest/meta-data/iam/security-credentials/fake-role",
    ],
  ],
  [
    "web identity",
    ({ url }, folder) => ({
      AWS_ENDPOINT_URL_STS: url,
      AWS_WEB_IDENTITY_TOKEN_FILE: join(folder, "token"),
      AWS_ROLE_ARN: "arn:role",
    }),
    ["POST / AssumeRoleWithWebIdentity"],
  ],
  [
    "profile's role",
    ({ url }, folder) => ({ AWS_ENDPOINT_URL_STS: url, AWS_CONFIG_FILE: join(folder, "config") }),
    ["POST / AssumeRole"],
  ],
];
for (const [name, env, requests] of services) {
  test(`a store goes on when the credentials of its ${name} are refused as expired`, async () => {
    await served(env, async ({ fake, service, list, folder }) => {
      await writeFile(join(folder, "token"), "jwt");
      await writeFile(
        join(folder, "config"),
        `[default]\nrole_arn = arn:role\nsource_profile = b\n[profile b]\n${KEYS}`,
      );
      await list();
      assert.deepEqual(service.log, requests);
      await list();
      assert.equal(service.log.length, requests.length, "kept while they hold");
      Object.assign(fake.options, { sessionToken: "the-next", expiredTokens: [fake.options.sessionToken] });
      await list();
      assert.deepEqual(service.log.slice(requests.length), requests, "asked once more");
    });
  });
}

test("a store tries again where a credentials service fails for a while", async () => {
  const env = ({ url }: FakeCredentialsService) => ({
    AWS_CONTAINER_CREDENTIALS_FULL_URI: `${url}/container`,
  });
  await served(env, async ({ service, list }) => {
    service.failures = 2;
    await list();
    assert.equal(service.log.length, 3);
  });
});

test("a store runs the credential_process of its profile", async () => {
  const env = (_: FakeCredentialsService, folder: string) => ({ AWS_CONFIG_FILE: join(folder, "config") });
  await served(env, async ({ fake, list, folder }) => {
    const { accessKeyId, secretAccessKey } = fake.options;
    const printed = { Version: 1, AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey };
    const keys = join(folder, "keys.json");
    await writeFile(keys, JSON.stringify(printed));
    await writeFile(join(folder, "config"), `[default]\ncredential_process = cat ${keys}\n`);
    await list();
    await writeFile(join(folder, "config"), "[default]\ncredential_process = exit 7\n");
    fake.options.accessKeyId = "ANOTHER";
    await assert.rejects(list(), {
      message: /credential_process of profile "default" failed: exit status 7/,
    });
  });
});
