import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { checkSignature } from "../support/sigv4_check.ts";

/** The first example of Amazon's "Authenticating Requests: Using the Authorization Header". */
const EXAMPLE = {
  method: "GET",
  target: "/test.txt",
  headers: new Map([
    ["host", "examplebucket.s3.amazonaws.com"],
    ["range", "bytes=0-9"],
    ["x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    ["x-amz-date", "20130524T000000Z"],
    [
      "authorization",
      "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, " +
      "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, " +
      "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ],
  ]),
  body: Buffer.alloc(0),
};
const FACTS = {
  accessKeyId: "AKIAIOSFODNN7EXAMPLE",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
  sessionToken: "",
  nowMs: Date.parse("2013-05-24T00:10:00Z"),
};

test("checkSignature() accepts Amazon's own example", () => {
  assert.deepEqual(checkSignature(EXAMPLE, FACTS), { region: "us-east-1" });
});

test("checkSignature() refuses each change of it", () => {
  const codeOf = (change: Partial<typeof EXAMPLE>, facts: Partial<typeof FACTS> = {}) =>
    checkSignature({ ...EXAMPLE, ...change }, { ...FACTS, ...facts }).refusal?.code;
  const headers = (name: string, value: string) => ({
    headers: new Map([...EXAMPLE.headers, [name, value]]),
  });
  assert.equal(codeOf({ target: "/test.txt?x=1" }), "SignatureDoesNotMatch");
  assert.equal(codeOf({ method: "PUT" }), "SignatureDoesNotMatch");
  assert.equal(codeOf(headers("range", "bytes=0-10")), "SignatureDoesNotMatch");
  assert.equal(codeOf(headers("x-amz-acl", "public-read")), "AccessDenied");
  assert.equal(codeOf(headers("x-amz-security-token", "t")), "InvalidToken");
  assert.equal(codeOf({ body: Buffer.from("x") }), "XAmzContentSHA256Mismatch");
  assert.equal(codeOf({}, { nowMs: FACTS.nowMs + 6 * 60_000 }), "RequestTimeTooSkewed");
  assert.equal(codeOf({}, { secretAccessKey: "other" }), "SignatureDoesNotMatch");
  assert.equal(codeOf({}, { accessKeyId: "OTHER" }), "InvalidAccessKeyId");
});
