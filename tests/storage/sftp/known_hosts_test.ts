import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { fingerprintOf, HostKeyCheck, pinnedHostKey } from "../../../src/storage/sftp/host_key_check.ts";
import { KnownHosts, type SshHost } from "../../../src/storage/sftp/known_hosts.ts";

/** A key of a type in the wire's form, its content a letter. */
function keyOf(type: string, letter: string): Buffer {
  const name = Buffer.from(type);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(name.length);
  return Buffer.concat([length, name, Buffer.alloc(32, letter)]);
}

const ED = keyOf("ssh-ed25519", "a");
const OTHER = keyOf("ssh-ed25519", "b");
const RSA = keyOf("ssh-rsa", "c");
const line = (hosts: string, key: Buffer, type = "ssh-ed25519") =>
  `${hosts} ${type} ${key.toString("base64")} comment`;
const hashed = (name: string) => {
  const salt = Buffer.alloc(20, 7);
  return `|1|${salt.toString("base64")}|${createHmac("sha1", salt).update(name).digest("base64")}`;
};
const host = (name: string, port = 22): SshHost => ({ name, port });

test("KnownHosts.verdictOf() reads names, ports, patterns, negations and hashes", () => {
  const cases: [lines: string, at: SshHost, verdict: string][] = [
    [line("db.example", ED), host("db.example"), "trusted"],
    [line("db.example", ED), host("DB.Example"), "trusted"],
    [line("DB.example,10.0.0.1", ED), host("10.0.0.1"), "trusted"],
    [line("db.example", ED), host("db.example.org"), "unknown"],
    [line("dbxexample", ED), host("db.example"), "unknown"],
    [line("db.example", ED), host("dbxexample"), "unknown"],
    [line("[db.example]:2222", ED), host("db.example", 2222), "trusted"],
    [line("[db.example]:2222", ED), host("db.example", 2223), "unknown"],
    [line("[db.example]:2222", ED), host("db.example"), "unknown"],
    [line("db.example", ED), host("db.example", 2222), "trusted"],
    [line("*.example", ED), host("db.example"), "trusted"],
    [line("*.example", ED), host("example"), "unknown"],
    [line("db?.example", ED), host("db1.example"), "trusted"],
    [line("db?.example", ED), host("db.example"), "unknown"],
    [line("[*.example]:*", ED), host("db.example", 2222), "trusted"],
    [line("*,!db.example", ED), host("db.example"), "unknown"],
    [line("!db.example,*", ED), host("www.example"), "trusted"],
    [line("!db.example", ED), host("www.example"), "unknown"],
    [line(hashed("db.example"), ED), host("db.example"), "trusted"],
    [line(hashed("db.example"), ED), host("db2.example"), "unknown"],
    [line(hashed("[db.example]:2222"), ED), host("db.example", 2222), "trusted"],
    [line("|1|broken", ED), host("db.example"), "unknown"],
    [line("|2|AAAA|AAAA", ED), host("db.example"), "unknown"],
  ];
  for (const [lines, at, verdict] of cases) {
    assert.equal(new KnownHosts(lines).verdictOf(at, ED), verdict, `${lines} for ${at.name}:${at.port}`);
  }
});

test("KnownHosts.verdictOf() tells another key, a revoked one and an authority apart", () => {
  const at = host("db.example", 2222);
  const cases: [lines: string[], verdict: string][] = [
    [[line("[db.example]:2222", OTHER)], "changed"],
    [[line("[db.example]:2222", RSA, "ssh-rsa")], "unknown"],
    [[line("db.example", OTHER)], "unknown"],
    [[line("[db.example]:2222", OTHER), line("[db.example]:2222", ED)], "trusted"],
    [[line("[db.example]:2222", OTHER), line("db.example", ED)], "changed"],
    [[line("[db.example]:2222", RSA, "ssh-rsa"), line("db.example", ED)], "trusted"],
    [[line("[db.example]:2222", ED), `@revoked ${line("*", ED)}`], "revoked"],
    [[`@revoked ${line("*", OTHER)}`, line("[db.example]:2222", ED)], "trusted"],
    [[`@cert-authority ${line("*", OTHER)}`], "authority"],
    [[`@cert-authority ${line("*", ED)}`], "authority"],
    [[`@else ${line("*", ED)}`], "unknown"],
    [
      [`# ${line("db.example", ED)}`, "", "db.example", "db.example ssh-ed25519", "db.example ssh-rsa AAAA"],
      "unknown",
    ],
    [[`db.example ssh-rsa ${ED.toString("base64")}`], "unknown"],
  ];
  for (const [lines, verdict] of cases) {
    assert.equal(new KnownHosts(lines.join("\r\n")).verdictOf(at, ED), verdict, lines.join("; "));
  }
});

test("HostKeyCheck asks first for the kinds of key that the host is known by, and never for SHA-1", () => {
  const at = host("db.example");
  const knownHosts = new KnownHosts(
    [line("db.example", RSA, "ssh-rsa"), `@revoked ${line("*", ED)}`].join("\n"),
  );
  const { algorithms } = new HostKeyCheck(at, { kind: "files", knownHosts, paths: ["known"] });
  assert.deepEqual(algorithms.slice(0, 3), ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]);
  assert.ok(!algorithms.includes("ssh-rsa"));
  const pinned = new HostKeyCheck(at, pinnedHostKey(`ssh-ed25519 ${ED.toString("base64")}`));
  assert.deepEqual(pinned.algorithms, ["ssh-ed25519"]);
});

test("HostKeyCheck takes a pinned key or fingerprint, and no other", () => {
  const at = host("db.example");
  const text = ED.toString("base64");
  for (
    const pin of [
      fingerprintOf(ED),
      `${fingerprintOf(ED)}=`,
      `ssh-ed25519 ${text} me@host`,
      `ssh-ed25519+${text}`,
    ]
  ) {
    const check = new HostKeyCheck(at, pinnedHostKey(pin));
    assert.ok(!check.accepts(OTHER), pin);
    const { message = "", retryable } = check.refusal ?? {};
    assert.equal(retryable, false);
    assert.ok(message.includes(fingerprintOf(OTHER)), message);
    assert.ok(check.accepts(ED) && check.refusal === undefined, pin);
  }
  for (const pin of ["SHA256:short", "MD5:aa:bb", "ssh-rsa", `ssh-rsa ${text}`, "no"]) {
    assert.throws(() => pinnedHostKey(pin), TypeError, pin);
  }
});
