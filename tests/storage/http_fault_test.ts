import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { networkError } from "../../src/storage/http_fault.ts";

const asked = { what: "read a file", key: "a", kind: "get" } as const;

/** All that can be seen of the error that `message` becomes. */
function seen(message: string): string {
  const cause = new TypeError("fetch failed", { cause: new Error(message) });
  return inspect(networkError(asked, cause, { signal: undefined, redact: (text) => text }), { depth: 9 });
}

test("networkError() shows nothing of a signature, in whatever form a runtime repeats it", () => {
  const scope = "AKIDEXAMPLE/20250101/us-east-1\n/s3/aws4_request";
  const header = `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=host, Signature=5ec7e7`;
  for (
    const text of [
      `Invalid header: ["authorization", "${header}"]`,
      `Invalid header value: authorization: ${header}`,
      `Authorization='${header}' is not valid`,
      `"${header}" is no header value`,
    ]
  ) {
    const shown = seen(text);
    assert.ok(!/AKID|5ec7e7/.test(shown), shown);
    assert.match(shown, /…/);
  }
  for (const text of ["connection refused", "proxy authorization required"]) {
    assert.ok(seen(text).includes(text), text);
  }
});
