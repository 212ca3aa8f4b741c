/**
 * Listings of services that come damaged, and then whole.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { StorageError } from "../../src/errors.ts";
import { openStore } from "../../src/storage/open_store.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";

const XML = '<?xml version="1.0" encoding="UTF-8"?>\n' +
  '<ListBucketResult xmlns="http://s3.example/doc"><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>' +
  "<Contents><Key>db/k</Key><LastModified>2026-11-21T02:15:56Z</LastModified><ETag>e</ETag><Size>1</Size></Contents>" +
  "</ListBucketResult>";
const JSON_PAGE = JSON.stringify({
  items: [{ name: "db/k", size: "1", generation: "7", timeCreated: "2026-11-21T02:15:56Z" }],
});

/** Services, a listing of theirs, and texts in it with what they become on the way. */
const SERVICES: readonly {
  url: string;
  whole: string;
  damages: readonly [[text: string, damaged: string], ...(readonly [text: string, damaged: string])[]];
}[] = [
  {
    url: "s3://bkt/db",
    whole: XML,
    damages: [
      ["</Size>", "</Sizd>"],
      ["<Size>1", "<Size>q"],
      ["</Contents>", "\xff/Contents>"],
      ["LastM", "LastL"],
      ["db/k", "dc/k"],
    ],
  },
  { url: "oss://bkt/db", whole: XML, damages: [["</Size>", "</Sizd>"], ["<Size>1", "<Size>q"]] },
  {
    url: "gs://bkt/db",
    whole: JSON_PAGE,
    damages: [['"7"', '"7:'], ["}", "|"], ["2026", "20\xff6"], ["items", "itels"]],
  },
];

/** Keys that a listing brings, or what it fails with, where the service answers one after another; and what it was asked. */
async function listed(
  url: string,
  answers: readonly Uint8Array[],
): Promise<{ keys: unknown; asked: number }> {
  let asked = 0;
  const store = await openStore(parseReplicaUrl(url) as Parameters<typeof openStore>[0], {
    credentials: "anonymous",
    fetch: () => Promise.resolve(new Response(answers[Math.min(asked++, answers.length - 1)]!.slice())),
    baseDelayMs: 1,
    maxDelayMs: 2,
    attemptsMax: 3,
  });
  const keys: string[] = [];
  try {
    for await (const page of store.list("")) keys.push(...page.map(({ key }) => key));
  } catch (error) {
    assert.ok(error instanceof StorageError, String(error));
    return { keys: [error.code, error.retryable], asked };
  } finally {
    await store.close();
  }
  return { keys, asked };
}

/** Each character one byte, so that a text can hold what is no UTF-8. */
function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

for (const { url, whole, damages } of SERVICES) {
  test(`a listing of ${url} that came damaged is asked for again`, async () => {
    for (const [text, damaged] of damages) {
      const answers = [bytesOf(whole.replace(text, damaged)), bytesOf(whole)];
      assert.deepEqual(await listed(url, answers), { keys: ["k"], asked: 2 }, damaged);
    }
  });

  test(`what never was a listing of ${url} is asked for once`, async () => {
    for (const page of ["<html></html>", "<p><ListBucketResult>{", "", "<ListBucketResultOfAnother/>"]) {
      const refused = { keys: ["WrongAnswer", false], asked: 1 };
      assert.deepEqual(await listed(url, [bytesOf(page)]), refused, page);
    }
  });
}

test("a listing that comes damaged in the same way twice is what the service gives", async () => {
  for (const { url, whole, damages: [[text, damaged]] } of SERVICES) {
    const given = bytesOf(whole.replace(text, damaged));
    assert.deepEqual(await listed(url, [given]), { keys: ["WrongAnswer", false], asked: 2 }, url);
  }
});
