/**
 * One page of a List Blobs answer.
 *
 * @see https://learn.microsoft.com/rest/api/storageservices/list-blobs
 * @module
 */

import { bareEtag } from "../etag.ts";
import type { StoredObject } from "../storage.ts";
import { childText, parseXml, withOwnTexts, type XmlElement } from "../xml.ts";

/** Where Litestream keeps an object's time: names of metadata have no hyphen here. */
export const TIMESTAMP_NAME = "litestreamtimestamp";

/** What one answer holds; keys are the container's own. */
export interface AbsListing {
  readonly objects: StoredObject[];
  /** Whether folders are listed, too, as accounts with a hierarchical namespace do. */
  readonly hasFolders: boolean;
  /** Empty on the last page. */
  readonly nextMarker: string;
}

/**
 * Parses a listing with metadata; folders are left out.
 *
 * @throws {SyntaxError} not XML, not a listing, or an element missing or malformed
 */
export function parseListing(document: string): AbsListing {
  const root = parseXml(document);
  const blobs = childOf(root, "Blobs");
  if (root.name !== "EnumerationResults" || blobs === undefined) {
    throw new SyntaxError(
      `Cannot parse listing: element ${root.name}, expected EnumerationResults with Blobs`,
    );
  }
  const entries = blobs.children.filter(({ name }) => name === "Blob").map(parseBlob);
  const objects = entries.filter((entry) => entry !== undefined);
  const hasFolders = objects.length < entries.length;
  return { objects: withOwnTexts(objects), hasFolders, nextMarker: childText(root, "NextMarker") ?? "" };
}

/** A time of metadata in ms; undefined where it is none. */
export function parseTimestamp(text: string | undefined): number | undefined {
  const ms = Date.parse(text?.trim() ?? "");
  return Number.isNaN(ms) ? undefined : ms;
}

/** Undefined for a folder. */
function parseBlob(blob: XmlElement): StoredObject | undefined {
  const key = childText(blob, "Name") ?? "";
  const properties = childOf(blob, "Properties");
  const textOf = (name: string) => properties === undefined ? "" : childText(properties, name)?.trim() ?? "";
  const metadata = new Map(
    childOf(blob, "Metadata")?.children.map(({ name, text }) => [name.toLowerCase(), text]),
  );
  if (textOf("ResourceType") === "directory" || metadata.get("hdi_isfolder") === "true") return undefined;
  const size = /^\d+$/.test(textOf("Content-Length")) ? Number(textOf("Content-Length")) : NaN;
  const madeMs = Date.parse(textOf("Creation-Time") || textOf("Last-Modified"));
  const etag = bareEtag(textOf("Etag"));
  if (key === "" || etag === "" || !Number.isSafeInteger(size) || Number.isNaN(madeMs)) {
    throw new SyntaxError(`Cannot parse listing: blob "${key}" lacks a name, an ETag, a size or a time`);
  }
  return { key, size, etag, modifiedMs: parseTimestamp(metadata.get(TIMESTAMP_NAME)) ?? madeMs };
}

function childOf(element: XmlElement, name: string): XmlElement | undefined {
  return element.children.find((child) => child.name === name);
}
