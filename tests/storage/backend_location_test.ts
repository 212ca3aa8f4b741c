import assert from "node:assert/strict";
import { test } from "node:test";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";

test("parseReplicaUrl() reads sftp://", () => {
  const parsed = (url: string) => {
    const location = parseReplicaUrl(url);
    assert.equal(location.scheme, "sftp");
    assert.deepEqual(location.prefixes, [""]);
    assert.equal(location.layout, "folder");
    return location;
  };
  const { name, user, password, host, port, path } = parsed("sftp://me:a%40b@Host/backups/db");
  assert.deepEqual([name, user, password, host, port, path], [
    "sftp://me@host/backups/db",
    "me",
    "a@b",
    "host",
    22,
    "backups/db",
  ]);
  const paths: [path: string, read: string][] = [
    ["", ""],
    ["/", ""],
    ["/a//b/../c/", "a/c"],
    ["/a%20b", "a b"],
    ["//srv/db", "/srv/db"],
    ["//srv/../db/", "/db"],
  ];
  for (const [given, read] of paths) assert.equal(parsed(`sftp://me@host${given}`).path, read, given);
  assert.equal(parsed("sftp://me@host:2222//srv/db").name, "sftp://me@host:2222//srv/db");
  assert.equal(parsed("sftp://me@[::1]:2222/db").host, "::1");
  const { parameters } = parsed("sftp://me@host/db?keyPath=~/.ssh/backup&hostKey=SHA256:a+b/c");
  assert.deepEqual({ ...parameters }, { keyPath: "~/.ssh/backup", hostKey: "SHA256:a+b/c" });
  for (
    const [url, words] of [["sftp://host/db", /no user, expected sftp:\/\/USER@HOST/], [
      "sftp://me@/db",
      /no host/,
    ]] as const
  ) {
    assert.throws(
      () => parseReplicaUrl(url),
      (error) => error instanceof TypeError && words.test(error.message),
    );
  }
  assert.throws(() => parseReplicaUrl("sftp://me:hush@host:99999/db"), (error) => {
    assert.doesNotMatch(String(error), /hush/);
    return error instanceof TypeError;
  });
});
