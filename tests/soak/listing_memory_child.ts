/** Keeps one key of each of many listings, and prints how much more JavaScript lives, in bytes, by parser. */
import process from "node:process";
import { parseListing as parseAbs } from "../../src/storage/abs/abs_listing.ts";
import { parseListing } from "../../src/storage/s3_listing.ts";
import { parseMultistatus } from "../../src/storage/webdav/multistatus.ts";
import { releaseMemory } from "./garbage.ts";

const OBJECTS = 500;
const LISTINGS = 60;

/** Parsers by what they read, each with the document of one object, and all of them in it. */
const PARSERS = {
  s3: {
    parse: (text: string) => parseListing(text).objects.map(({ key, etag }) => [key, etag]),
    object: (key: string) =>
      `<Contents><Key>${key}</Key><LastModified>2026-11-23T00:00:00Z</LastModified><ETag>"${key}"</ETag>` +
      "<Size>1</Size></Contents>",
    document: (objects: string) =>
      `<ListBucketResult><IsTruncated>false</IsTruncated>${objects}</ListBucketResult>`,
  },
  abs: {
    parse: (text: string) => parseAbs(text).objects.map(({ key, etag }) => [key, etag]),
    object: (key: string) =>
      `<Blob><Name>${key}</Name><Properties><Content-Length>1</Content-Length><Etag>${key}</Etag>` +
      "<Last-Modified>Mon, 23 Nov 2026 00:00:00 GMT</Last-Modified></Properties></Blob>",
    document: (objects: string) => `<EnumerationResults><Blobs>${objects}</Blobs></EnumerationResults>`,
  },
  webdav: {
    parse: (text: string) => parseMultistatus(text).map(({ path, etag }) => [path, etag]),
    object: (key: string) =>
      `<response><href>/${key}</href><propstat><prop><getetag>"${key}"</getetag></prop>` +
      "<status>HTTP/1.1 200 OK</status></propstat></response>",
    document: (objects: string) => `<multistatus>${objects}</multistatus>`,
  },
};

function heapBytes(): number {
  releaseMemory();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** A document as it comes from a server, in one piece. */
function received({ object, document }: (typeof PARSERS)["s3"], listing: number): string {
  const keys = Array.from(
    { length: OBJECTS },
    (_, i) => `db/0001/${String(listing * OBJECTS + i).padStart(33, "0")}.ltx`,
  );
  return new TextDecoder().decode(new TextEncoder().encode(document(keys.map(object).join(""))));
}

const grown = Object.entries(PARSERS).map(([name, parser]) => {
  parser.parse(received(parser, 0));
  const before = heapBytes();
  const kept = Array.from({ length: LISTINGS }, (_, i) => parser.parse(received(parser, i))[OBJECTS / 2]!);
  const bytes = heapBytes() - before;
  if (kept.flat().some((text) => text.length < 37)) throw new Error(`${name}: ${kept[0]}, expected keys`);
  return [name, { bytes, documentBytes: received(parser, 0).length, listings: LISTINGS }];
});
console.log(JSON.stringify(Object.fromEntries(grown)));
