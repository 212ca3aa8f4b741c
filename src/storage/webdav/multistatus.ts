/**
 * The answer to PROPFIND.
 *
 * @see RFC 4918, sections 9.1 and 13
 * @module
 */

import { childText, parseXml, withOwnTexts, type XmlElement } from "../xml.ts";

/** What a server tells of a file or a folder. */
export interface DavEntry {
  /** Decoded, without a slash at the end. */
  readonly path: string;
  readonly isFolder: boolean;
  /** NaN where nothing is said. */
  readonly size: number;
  /** As the server spells it; empty for none. */
  readonly etag: string;
  /** In ms since the Unix epoch; NaN where nothing is said. */
  readonly modifiedMs: number;
}

/** Asks for what {@link DavEntry} has. */
export const PROPFIND_BODY: Uint8Array = new TextEncoder().encode(
  '<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>' +
    "<resourcetype/><getcontentlength/><getetag/><getlastmodified/></prop></propfind>",
);

/**
 * Parses a multistatus document.
 *
 * @throws {SyntaxError} it is none
 */
export function parseMultistatus(document: string): DavEntry[] {
  const root = parseXml(document);
  if (root.name !== "multistatus") {
    throw new SyntaxError(`Cannot parse multistatus: element <${root.name}>, expected <multistatus>`);
  }
  const entries = root.children.filter(({ name }) => name === "response").map(entryOf);
  const texts = withOwnTexts(entries.map(({ path, etag }) => ({ path, etag })));
  return entries.map((entry, i) => ({ ...entry, ...texts[i] }));
}

function entryOf(response: XmlElement): DavEntry {
  const properties = response.children
    .filter((child) => child.name === "propstat" && / 200( |$)/.test(childText(child, "status") ?? ""))
    .flatMap((propstat) => propstat.children.filter(({ name }) => name === "prop"))
    .flatMap(({ children }) => children);
  const textOf = (wanted: string) => properties.find(({ name }) => name === wanted)?.text.trim() ?? "";
  const type = properties.find(({ name }) => name === "resourcetype");
  const size = textOf("getcontentlength");
  return {
    path: pathOf(childText(response, "href")?.trim() ?? ""),
    isFolder: type?.children.some(({ name }) => name === "collection") ?? false,
    size: /^\d+$/.test(size) ? Number(size) : NaN,
    etag: textOf("getetag"),
    modifiedMs: Date.parse(textOf("getlastmodified")),
  };
}

function pathOf(href: string): string {
  const path = href.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*/i, "").replace(/[?#].*$/s, "").replace(/\/+$/, "");
  try {
    return decodeURIComponent(path);
  } catch (cause) {
    throw new SyntaxError(`Cannot parse multistatus: href "${href}", expected a percent-encoded one`, {
      cause,
    });
  }
}
