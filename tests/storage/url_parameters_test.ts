import assert from "node:assert/strict";
import { test } from "node:test";
import { type LogEntry, openReplica } from "../../mod.ts";
import { parameterWarnings } from "../../src/storage/url_parameters.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";

const unused = (what: string, scheme: string, hint = "") =>
  `A parameter of the replica URL is not used: ${what}, which ${scheme}:// has not${hint}`;

test("parameterWarnings() tells of parameters that nobody reads, and what may be meant", () => {
  const given: [url: string, warnings: string[]][] = [
    ["s3://b/x?endpont=http://localhost:1", [unused('"endpont"', "s3", '; did you mean "endpoint"?')]],
    ["s3://b/x?SkipVerify=1", [unused('"SkipVerify"', "s3", '; did you mean "skipVerify"?')]],
    ["s3://arn:aws:s3:r:1:accesspoint/a?regoin=x", [unused('"regoin"', "s3", '; did you mean "region"?')]],
    ["s3://b/x?secret-access-key=hush", [unused('"secret-access-key"', "s3")]],
    ["s3://b/x?hush123", [unused("one of another form", "s3")]],
    ["gs://b/x?skip-verify=1", [unused('"skip-verify"', "gs", '; did you mean "skipVerify"?')]],
    ["file:///x?region=r", [unused('"region"', "file")]],
    ["sftp://me@h/x?keypath=k&a=1&a=2", [
      unused('"keypath"', "sftp", '; did you mean "keyPath"?'),
      unused('"a"', "sftp"),
    ]],
  ];
  for (const [url, warnings] of given) assert.deepEqual(parameterWarnings(url), warnings, url);
});

test("parameterWarnings() has nothing to tell of parameters that are read, in either spelling", () => {
  const given = [
    "s3://b/x",
    "s3://b/x?endpoint=h&region=r&forcePathStyle=1&force-path-style=1&skip-verify=1&sign-payload=1&concurrency=1",
    "s3://b/x?require-content-md5=1&requireContentMD5=1&part-size=9&storage-class=x&sse-customer-key=k#x?y",
    "s3://b/x?sse-customer-algorithm=AES256&sse-customer-key-md5=x&sse-kms-key-id=k&sseKmsKeyId=k",
    "gs://b/x?credentialsFile=x&credentials-file=x&endpoint=h",
    "sftp://me@h/x?host-key=x&known-hosts=x&key-path=x",
    "nats://h/b?root-cas=x&client-cert=x&client-key=x&tls=true",
    "https://h/x?token=hush&v=1",
  ];
  for (const url of given) assert.deepEqual(parameterWarnings(url), [], url);
});

test("openReplica() tells the log of a parameter that is misspelt", () =>
  withReplicaFolder({}, async (folder) => {
    folder.step("CREATE TABLE t (x)");
    const told: LogEntry[] = [];
    await using _replica = await openReplica(`${folder.url}?endpont=h`, { log: (entry) => told.push(entry) });
    assert.deepEqual(told.map(({ level, message }) => [level, message]), [[
      "warn",
      unused('"endpont"', "file"),
    ]]);
  }));
