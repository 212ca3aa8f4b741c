/**
 * One page of a ListObjectsV2 answer.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
 * @module
 */

import type { StorageError } from "../errors.ts";
import { bareEtag } from "./etag.ts";
import { type Asked, wrongAnswer } from "./http_fault.ts";
import type { ListedObject } from "./object_store.ts";
import type { OddAnswers } from "./odd_answers.ts";
import { childText, parseXml, withOwnTexts, type XmlElement } from "./xml.ts";

/** What one answer holds; keys are the bucket's own. */
export interface S3Listing {
  readonly objects: ListedObject[];
  /** Undefined on the last page. */
  readonly continuationToken: string | undefined;
}

/** What is thrown where an answer does not parse: one that begins as a listing may have been damaged on its way. */
export function wrongListing(answer: string, asked: Asked, odd: OddAnswers, cause: unknown): StorageError {
  const isListing = /^\s*(<\?xml[^>]*>\s*)?<(\w+:)?ListBucketResult[\s>]/.test(answer);
  const retryable = isListing && odd.isNew(answer);
  return wrongAnswer(asked, "an answer that is no listing", "a ListBucketResult document", {
    retryable,
    cause,
  });
}

/**
 * Parses a listing.
 *
 * @throws {SyntaxError} not XML, not a listing, or an element missing or malformed
 */
export function parseListing(document: string): S3Listing {
  const root = parseXml(document);
  if (root.name !== "ListBucketResult") {
    throw new SyntaxError(`Cannot parse listing: element ${root.name}, expected ListBucketResult`);
  }
  const urlEncoded = childText(root, "EncodingType") === "url";
  const objects = root.children.filter((child) => child.name === "Contents")
    .map((contents) => parseObject(contents, urlEncoded));
  const truncated = needed(root, "IsTruncated").trim();
  if (truncated !== "true" && truncated !== "false") {
    throw new SyntaxError(`Cannot parse listing: IsTruncated is "${truncated}", expected true or false`);
  }
  return {
    objects: withOwnTexts(objects),
    continuationToken: truncated === "true" ? needed(root, "NextContinuationToken") : undefined,
  };
}

function parseObject(contents: XmlElement, urlEncoded: boolean): ListedObject {
  const key = needed(contents, "Key");
  const sizeText = needed(contents, "Size").trim();
  const size = /^\d+$/.test(sizeText) ? Number(sizeText) : NaN;
  const modifiedMs = Date.parse(needed(contents, "LastModified"));
  if (!Number.isSafeInteger(size) || Number.isNaN(modifiedMs)) {
    throw new SyntaxError(`Cannot parse listing: object "${key}" has no valid Size and LastModified`);
  }
  return {
    key: urlEncoded ? decodeKey(key) : key,
    etag: bareEtag(childText(contents, "ETag") ?? ""),
    size,
    modifiedMs,
  };
}

/** Keys are encoded as form values: a plus sign is a space. */
export function decodeKey(key: string): string {
  if (!/[%+]/.test(key)) return key;
  try {
    return decodeURIComponent(key.replaceAll("+", " "));
  } catch (cause) {
    throw new SyntaxError(`Cannot parse listing: key "${key}", expected it percent-encoded`, { cause });
  }
}

function needed(element: XmlElement, name: string): string {
  const text = childText(element, name);
  if (text === undefined) throw new SyntaxError(`Cannot parse listing: no ${name} in ${element.name}`);
  return text;
}
