import assert from "node:assert/strict";
import { test } from "node:test";
import { parseReplicaUrl, type ReplicaUrlDefaults, type S3Location } from "../../src/storage/replica_url.ts";
import { providerOf } from "../../src/storage/providers.ts";

function s3(url: string, defaults?: ReplicaUrlDefaults): S3Location {
  const location = parseReplicaUrl(url, defaults);
  assert.equal(location.scheme, "s3");
  return location as S3Location;
}

const places: [url: string, bucket: string, prefixes: string[]][] = [
  ["s3://bkt/db", "bkt", ["db/"]],
  ["s3://bkt/a/b/c", "bkt", ["a/b/c/"]],
  ["s3://bkt/a//b/../c/", "bkt", ["a/c/"]],
  ["s3://bkt/../x", "bkt", ["x/"]],
  ["s3://bkt/p%20q+r", "bkt", ["p q+r/"]],
  ["s3://bkt/d%C3%A4ten", "bkt", ["däten/"]],
  ["s3://bkt/", "bkt", ["/", "", "./"]],
  ["s3://bkt", "bkt", ["./", "", "/"]],
  ["s3://bkt?region=eu-west-1", "bkt", ["./", "", "/"]],
  ["S3://My.Bucket_1/db#part", "My.Bucket_1", ["db/"]],
];
for (const [url, bucket, prefixes] of places) {
  test(`parseReplicaUrl() reads bucket and prefix of ${url}`, () => {
    const location = s3(url);
    assert.equal(location.bucket, bucket);
    assert.deepEqual(location.prefixes, prefixes);
    assert.equal(location.layout, "s3");
  });
}

const hosts: [url: string, bucket: string, region: string, endpoint: string, pathStyle: boolean][] = [
  ["s3://bkt/db", "bkt", "", "", false],
  ["s3://bkt.s3.amazonaws.com/db", "bkt", "", "", false],
  ["s3://bkt.s3.eu-west-1.amazonaws.com/db", "bkt", "eu-west-1", "", false],
  ["s3://my.bkt.s3.eu-west-1.amazonaws.com/db", "my.bkt", "eu-west-1", "", false],
  ["s3://bkt.localhost:9000/db", "bkt", "us-east-1", "http://localhost:9000", true],
  ["s3://bkt.10.0.0.1:9000/db", "bkt", "us-east-1", "http://10.0.0.1:9000", true],
  ["s3://bkt.nyc3.digitaloceanspaces.com/db", "bkt", "nyc3", "https://nyc3.digitaloceanspaces.com", false],
  [
    "s3://bkt.s3.us-west-002.backblazeb2.com/db",
    "bkt",
    "us-west-002",
    "https://s3.us-west-002.backblazeb2.com",
    true,
  ],
  ["s3://bkt.s3.filebase.com/db", "bkt", "us-east-1", "https://s3.filebase.com", true],
  ["s3://bkt.s3.nl-ams.scw.cloud/db", "bkt", "nl-ams", "https://s3.nl-ams.scw.cloud", false],
];
for (const [url, bucket, region, endpoint, pathStyle] of hosts) {
  test(`parseReplicaUrl() knows the host of ${url}`, () => {
    const location = s3(url);
    const found = [location.bucket, location.region, location.endpoint, location.pathStyle];
    assert.deepEqual(found, [bucket, region, endpoint, pathStyle]);
  });
}

const parameters: [query: string, wanted: Partial<S3Location>][] = [
  ["", {
    skipVerify: false,
    signPayload: true,
    requireContentMd5: true,
    uploadConcurrency: 5,
    partSize: 5242880,
  }],
  ["region=eu-west-1", { region: "eu-west-1", endpoint: "" }],
  ["endpoint=minio.example", { endpoint: "https://minio.example", region: "us-east-1", pathStyle: true }],
  ["endpoint=http://minio.example:9000/", { endpoint: "http://minio.example:9000", provider: "minio" }],
  ["endpoint=https://h/a/b/", { endpoint: "https://h/a/b" }],
  ["endpoint=localhost:9000", { endpoint: "http://localhost:9000" }],
  ["endpoint=127.0.0.1:9000", { endpoint: "http://127.0.0.1:9000" }],
  ["endpoint=10.1.2.3", { endpoint: "http://10.1.2.3" }],
  ["endpoint=192.168.1.1", { endpoint: "http://192.168.1.1" }],
  ["endpoint=172.16.0.1", { endpoint: "http://172.16.0.1" }],
  ["endpoint=172.32.0.1", { endpoint: "https://172.32.0.1" }],
  ["endpoint=nas.local", { endpoint: "http://nas.local" }],
  ["endpoint=s3.localhost", { endpoint: "http://s3.localhost" }],
  ["endpoint=h&region=r1", { region: "r1" }],
  ["endpoint=h&forcePathStyle=false", { pathStyle: false }],
  ["endpoint=h&force-path-style=0", { pathStyle: false }],
  ["forcePathStyle=true", { pathStyle: true }],
  ["skipVerify=YES", { skipVerify: true }],
  ["skip-verify=t", { skipVerify: true }],
  ["skipVerify=&skip-verify=1", { skipVerify: true }],
  ["skipVerify=true&skip-verify=false", { skipVerify: true }],
  ["SkipVerify=true", { skipVerify: false }],
  ["signPayload=false", { signPayload: false }],
  ["sign-payload=no", { signPayload: false }],
  ["requireContentMD5=false", { requireContentMd5: false }],
  ["require-content-md5=f", { requireContentMd5: false }],
  ["concurrency=7", { uploadConcurrency: 7 }],
  ["partSize=10485760", { partSize: 10485760 }],
  ["part-size=10485760", { partSize: 10485760 }],
  ["storageClass=STANDARD_IA", { storageClass: "STANDARD_IA" }],
  ["sse-kms-key-id=arn:aws:kms:x", { kmsKeyId: "arn:aws:kms:x" }],
  ["endpoint=fly.storage.tigris.dev", { provider: "tigris", requireContentMd5: false, signPayload: true }],
  ["endpoint=fly.storage.tigris.dev&requireContentMD5=true", { requireContentMd5: true }],
  ["endpoint=T3.storage.dev", { provider: "tigris" }],
  ["endpoint=fsn1.your-objectstorage.com", { provider: "hetzner" }],
  ["endpoint=x.r2.cloudflarestorage.com", { provider: "r2", uploadConcurrency: 2 }],
  ["endpoint=x.r2.cloudflarestorage.com&concurrency=9", { uploadConcurrency: 9 }],
  ["endpoint=x.supabase.co/storage/v1/s3", { provider: "supabase", pathStyle: true }],
  ["endpoint=storage.googleapis.com", { provider: "google" }],
  ["endpoint=my-storage-x.googleapis.com", { provider: "google" }],
  ["endpoint=compute.googleapis.com", { provider: "other" }],
  ["endpoint=https://s3.eu-west-1.amazonaws.com", { provider: "aws" }],
];
for (const [query, wanted] of parameters) {
  test(`parseReplicaUrl() reads the parameters "${query}"`, () => {
    const location: S3Location = s3(`s3://bkt/db?${query}`);
    for (const [name, value] of Object.entries(wanted)) {
      assert.deepEqual(location[name as keyof S3Location], value, name);
    }
  });
}

test("parseReplicaUrl() takes the default endpoint only where the URL yields none", () => {
  const defaults = { endpoint: "http://localhost:9000" };
  assert.deepEqual([s3("s3://bkt/db", defaults).endpoint, s3("s3://bkt/db", defaults).pathStyle], [
    "http://localhost:9000",
    true,
  ]);
  assert.equal(s3("s3://bkt/db?endpoint=h", defaults).endpoint, "https://h");
  assert.equal(s3("s3://bkt.s3.filebase.com/db", defaults).endpoint, "https://s3.filebase.com");
  assert.equal(s3("s3://bkt/db?forcePathStyle=false", defaults).pathStyle, false);
  assert.equal(s3("s3://bkt/db", { endpoint: "" }).endpoint, "");
});

test("parseReplicaUrl() reads access points", () => {
  const arn = "arn:aws:s3:eu-west-1:123456789012:accesspoint/mine";
  for (
    const [rest, prefixes] of [["/a/b", ["a/b/"]], ["", ["./", "", "/"]], ["/a%20b?signPayload=0", [
      "a b/",
    ]]] as const
  ) {
    const location = s3(`s3://${arn}${rest}`);
    assert.equal(location.bucket, arn);
    assert.equal(location.region, "eu-west-1");
    assert.equal(location.pathStyle, false);
    assert.deepEqual(location.prefixes, prefixes);
  }
  assert.equal(s3(`s3://${arn}/a?signPayload=0`).signPayload, false);
});

test("parseReplicaUrl() reads a customer's key, plus signs as they are", () => {
  const key = "++//" + btoa("x".repeat(29)).slice(0, 39) + "=";
  const bytes = Uint8Array.from(atob(key), (character) => character.charCodeAt(0));
  assert.equal(bytes.length, 32);
  for (const spelled of [key, encodeURIComponent(key)]) {
    const { customerKey } = s3(`s3://bkt/db?sseCustomerKey=${spelled}`);
    assert.equal(customerKey?.key, key);
    assert.equal(customerKey?.algorithm, "AES256");
    assert.equal(customerKey?.keyMd5.length, 24);
  }
  assert.ok(s3(`s3://bkt/db?endpoint=http://localhost:9000&sse-customer-key=${key}`).customerKey);
});

const files: [url: string, path: string][] = [
  ["file:///var/replica", "/var/replica"],
  ["file:///var//x/../replica/", "/var/replica"],
  ["file:///var/my%20replica", "/var/my replica"],
  ["file:///var/my replica", "/var/my replica"],
  ["file:///var/100%25", "/var/100%"],
  ["file:///var/d%C3%A4ten?x=1", "/var/däten"],
  ["file://localhost/var/replica", "/var/replica"],
  ["file:/var/replica", "/var/replica"],
  ["file:///C:/data", "C:/data"],
];
for (const [url, path] of files) {
  test(`parseReplicaUrl() reads ${url}`, () => {
    const location = parseReplicaUrl(url);
    assert.equal(location.scheme, "file");
    assert.equal(location.scheme === "file" && location.path, path);
    assert.equal(location.layout, "folder");
    assert.deepEqual(location.prefixes, [""]);
  });
}

const faults: [url: string, words: RegExp][] = [
  ["", /no scheme, expected s3:\/\/, file:\/\/, gs:\/\/, .* or https:\/\//],
  ["/var/replica", /no scheme/],
  ["ftp://host/x", /scheme "ftp" is not supported, expected s3:\/\/, file:\/\/, /],
  ["ftps://me:hush@host/x", /"ftps:\/\/host\/x": scheme "ftps" is not supported/],
  ["s3:bkt/db", /no \/\/ after the scheme/],
  ["s3:///db", /no bucket, expected s3:\/\/BUCKET/],
  [
    "s3://127.0.0.1:9000/bkt/db",
    /the address "127\.0\.0\.1:9000".*expected s3:\/\/BUCKET\/path\?endpoint=127\.0\.0\.1:9000/,
  ],
  ["s3://127.0.0.1/db", /the address/],
  ["s3://[::1]:9000/db", /the address/],
  ["s3://localhost:9000/db", /no bucket before "localhost:9000".*\?endpoint=localhost:9000/],
  ["s3://nyc3.digitaloceanspaces.com/db", /no bucket before/],
  ["s3://s3.filebase.com/db", /no bucket before/],
  ["s3://b%20kt/db", /bucket "b%20kt"/],
  ["s3://id:hush@bkt/db", /"s3:\/\/bkt\/db": user information/],
  ["s3://bkt/db%2", /percent sign/],
  ["s3://bkt/db%ff", /percent sign/],
  ["s3://bkt/db?concurrency=0", /"concurrency" is "0", expected a positive integer/],
  ["s3://bkt/db?part-size=5MB", /"partSize" is "5MB"/],
  ["s3://bkt/db?endpoint=ftp://h", /an endpoint of another form/],
  ["s3://bkt/db?endpoint=https://id:hush@h", /an endpoint with user information/],
  ["s3://bkt/db?endpoint=id:hush@h", /an endpoint with user information/],
  ["s3://bkt/db?endpoint=h%20x", /an endpoint of another form/],
  ["s3://bkt/db?sseCustomerKey=hush", /an sseCustomerKey of another form/],
  ["s3://bkt/db?sseCustomerAlgorithm=DES&sseCustomerKey=hush", /"DES", expected AES256/],
  [`s3://bkt/db?endpoint=http://h.example&sseCustomerKey=${btoa("h".repeat(32))}`, /without TLS/],
  [`s3://bkt/db?sseCustomerKeyMD5=hush&sseCustomerKey=${btoa("h".repeat(32))}`, /MD5 of another key/],
  [`s3://bkt/db?sseKmsKeyId=x&sseCustomerKey=${btoa("h".repeat(32))}`, /one of them/],
  ["s3://arn:aws:s3::123456789012:accesspoint/mine.mrap/db", /a multi-region access point/],
  ["s3://arn:aws:s3::123456789012:accesspoint/mine/db", /multi-region/],
  ["s3://arn:aws:s3-outposts:eu-west-1:123456789012:outpost/x/db", /ARN of another form/],
  ["S3://key:hush@bkt/db", /user information before the host, expected credentials in options/],
  ["File://key:hush@/db", /user information before the host/],
  ["file://relative/path", /a relative path, or the host "relative", expected three slashes/],
  ["file://./x", /a relative path/],
  ["file:x/y", /relative path/],
  ["file://", /no path/],
  ["file:///a%00b", /percent sign/],
  ["file:///a%00b", /a zero byte, .*, expected a path without one/],
  ["s3://bkt/db?forcePathStyle=maybe&endpoint=h", /"forcePathStyle" is "maybe", expected true or false/],
  ["s3://bkt/db?skip-verify=on", /"skipVerify" is "on", expected true or false/],
  ["webdavs://host/db?skipVerify=on", /"skipVerify" is "on", expected true or false/],
  ["nats://host/db?tls=y", /"tls" is "y", expected true or false/],
];
for (const [url, words] of faults) {
  test(`parseReplicaUrl() refuses "${url}"`, () => {
    assert.throws(() => parseReplicaUrl(url), (error) => {
      assert.ok(error instanceof TypeError);
      assert.match(error.message, words);
      assert.match(error.message, /^Cannot parse replica URL "[^?@]*": /);
      assert.ok(!/hush|aGhoa/.test(error.message), error.message);
      return true;
    });
  });
}

test("parseReplicaUrl() gives frozen plain data without secrets in its name", () => {
  const url = `s3://bkt/db?region=eu-west-1&sseCustomerKey=${btoa("h".repeat(32))}`;
  const location = s3(url);
  assert.deepEqual(structuredClone(location), location);
  assert.equal(location.name, "s3://bkt/db");
  assert.ok(
    Object.isFrozen(location) && Object.isFrozen(location.prefixes) && Object.isFrozen(location.customerKey),
  );
});

test("providerOf() knows Amazon by the absence of an endpoint", () => {
  assert.equal(providerOf("").name, "aws");
  assert.equal(providerOf("s3.cn-north-1.amazonaws.com.cn").name, "aws");
  assert.equal(providerOf("minio.example").name, "other");
});
