import assert from "node:assert/strict";
import { test } from "node:test";
import { parseFault } from "../../src/storage/s3_fault.ts";
import { parseListing } from "../../src/storage/s3_listing.ts";
import { childText, parseXml } from "../../src/storage/xml.ts";

test("parseXml() reads elements, text, entities, CDATA and comments", () => {
  const root = parseXml(
    `\ufeff<?xml version="1.0"?>\n<!-- a > b --><s3:A xmlns:s3="http://x/y" b='c'><B>1 &lt;&amp;&gt; &quot;&apos;&#65;&#x1F600;</B>` +
      "<C/><D ></D><E><![CDATA[<raw> & ]]>x</E>\n</s3:A>\n",
  );
  assert.equal(root.name, "A");
  assert.equal(childText(root, "B"), "1 <&> \"'A😀");
  assert.equal(childText(root, "C"), "");
  assert.equal(childText(root, "E"), "<raw> & x");
  assert.equal(childText(root, "F"), undefined);
});

test("parseXml() is over where a document has more elements than it may", () => {
  assert.equal(parseXml("<A><B>1</B><C/><!-- no element's --></A>", 4).children.length, 2);
  for (const document of ["<A><B/><B/><B/></A>", "<A><B>1</B><B></B><B>3</B></A>"]) {
    assert.throws(() => parseXml(document, 3), /more than 3 elements/);
  }
});

const malformed = [
  "",
  "text",
  "<A>",
  "<A></B>",
  "</A>",
  "<A/><B/>",
  "<A/>x",
  "<A>&unknown;</A>",
  "<A>a & b</A>",
  "<A>&#0;</A>",
  "<A>&#x110000;</A>",
  "<A b></A>",
  "<A",
  "<!DOCTYPE A [<!ENTITY x 'y'>]><A>&x;</A>",
  "<A><!-- </A>",
  "<A><![CDATA[ </A>",
  "<A>".repeat(20) + "</A>".repeat(20),
];
for (const document of malformed) {
  test(`parseXml() refuses ${document.slice(0, 40)}`, () => {
    assert.throws(() => parseXml(document), SyntaxError);
  });
}

test("parseXml() ends on every cut of a document", () => {
  const document = '<?xml version="1.0"?><A x="1"><B>t&amp;u</B><C/><!-- c --></A>';
  for (let length = 0; length < document.length; length++) {
    assert.throws(() => parseXml(document.slice(0, length)), SyntaxError);
  }
});

const contents = (key: string) =>
  `<Contents><Key>${key}</Key><LastModified>2026-11-21T02:15:56.242Z</LastModified>` +
  "<ETag>&quot;abc-2&quot;</ETag><Size>123</Size><StorageClass>STANDARD</StorageClass></Contents>";

test("parseListing() reads a page", () => {
  const page = parseListing(
    `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b</NextContinuationToken>` +
      `${
        contents("db/a&amp;b+c%20d")
      }<CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes></ListBucketResult>`,
  );
  assert.deepEqual(page, {
    objects: [{
      key: "db/a&b+c%20d",
      etag: "abc-2",
      size: 123,
      modifiedMs: Date.parse("2026-11-21T02:15:56.242Z"),
    }],
    continuationToken: "a&b",
  });
});

test("parseListing() decodes keys only where the answer says they are encoded", () => {
  const page = (key: string) =>
    parseListing(
      `<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>${contents(key)}` +
        "</ListBucketResult>",
    );
  assert.equal(page("a+b%2Bc%20d/%C3%A4").objects[0]?.key, "a b+c d/ä");
  assert.throws(() => page("a%b"), SyntaxError);
});

test("parseListing() refuses objects without their facts", () => {
  for (const part of [/<Key>.*<\/Key>/, /<Size>.*<\/Size>/, /<LastModified>.*<\/LastModified>/]) {
    for (const bad of ["", "<Size>-1</Size>", "<Size>1e9</Size>"]) {
      const document = `<ListBucketResult><IsTruncated>false</IsTruncated>${
        contents("k").replace(part, bad)
      }</ListBucketResult>`;
      if (bad !== "" && !part.source.includes("Size")) continue;
      assert.throws(() => parseListing(document), SyntaxError, document);
    }
  }
});

test("parseFault() reads code, message, region and clock from body and headers", () => {
  const headers = new Headers({ "retry-after": "2", date: "Sat, 21 Nov 2026 00:00:00 GMT" });
  const body =
    "<?xml version='1.0'?><Error><Code>X</Code><Message>m</Message><Region>eu-west-1</Region></Error>";
  assert.deepEqual(parseFault({ status: 400, headers }, body, 0), {
    status: 400,
    code: "X",
    message: "m",
    region: "eu-west-1",
    serverTime: "Sat, 21 Nov 2026 00:00:00 GMT",
    retryAfterMs: 2000,
  });
  const empty = parseFault({ status: 503, headers: new Headers() }, "<html>", 0);
  assert.deepEqual([empty.code, empty.message, empty.region, empty.retryAfterMs], ["", "", "", undefined]);
});
