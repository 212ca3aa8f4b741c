/**
 * Pages in which web servers list folders: JSON of nginx and Caddy, HTML of any.
 *
 * @module
 */

/** What a page says of something in a folder. */
export interface PageEntry {
  /** Decoded, without a slash. */
  readonly name: string;
  readonly isFolder: boolean;
  /** What the page tells of size and time; undefined in HTML, where the forms differ. */
  readonly facts: { readonly size: number; readonly modifiedMs: number } | undefined;
  /** Changes with the file where the page tells its size or time at all. */
  readonly row: string;
}

/** None of these looks beyond the next angle bracket: a page of any form takes a time that grows with its size alone. */
const ANCHOR = /<a\s([^<>]*)>/gi;
const HREF = /(?:^|\s)href\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"']+))/i;
const TAG = /<[^<>]*>/g;
const ENTITIES: Readonly<Record<string, string>> = { amp: "&", quot: '"', apos: "'", lt: "<", gt: ">" };

/**
 * Parses a page about the folder at `url`; undefined where it is about no folder, as a page that a server
 * gives for whatever is asked.
 */
export function parseFolderPage(text: string, url: string): PageEntry[] | undefined {
  return /^\s*(\[|null\s*$)/.test(text) ? parseJsonPage(text) : parseHtmlPage(text, url);
}

interface JsonEntry {
  readonly name?: unknown;
  readonly size?: unknown;
  readonly type?: unknown;
  readonly is_dir?: unknown;
  readonly mtime?: unknown;
  readonly mod_time?: unknown;
}

function parseJsonPage(text: string): PageEntry[] | undefined {
  let rows: unknown;
  try {
    rows = JSON.parse(text) ?? []; // Caddy's of an empty folder
  } catch {
    return undefined;
  }
  if (!Array.isArray(rows)) return undefined;
  return (rows as JsonEntry[]).flatMap((row) => {
    const { name, size, type, is_dir, mtime, mod_time } = row ?? {};
    if (typeof name !== "string" || /^\.{0,2}\/?$|.\/./.test(name)) return [];
    const isFolder = type === "directory" || is_dir === true;
    const modifiedMs = Date.parse(String(mtime ?? mod_time));
    const facts = typeof size === "number" && !Number.isNaN(modifiedMs) ? { size, modifiedMs } : undefined;
    return [{ name: name.replace(/\/$/, ""), isFolder, facts, row: "" }];
  });
}

function parseHtmlPage(text: string, url: string): PageEntry[] | undefined {
  const folder = new URL(url);
  const anchors = [...text.matchAll(ANCHOR)];
  const entries = new Map<string, PageEntry>();
  let isListing = /<title>\s*(Index of|Directory listing|Listing of)/i.test(text);
  for (const [i, anchor] of anchors.entries()) {
    const [, ...spelled] = HREF.exec(anchor[1]!) ?? [];
    const href = decodeEntities(spelled.find((value) => value !== undefined) ?? "");
    if (!URL.canParse(href, url)) continue;
    const target = new URL(href, url);
    if (target.origin !== folder.origin) continue;
    if (target.pathname === parentOf(folder.pathname)) isListing = true;
    const rest = restOf(target.pathname, folder.pathname);
    if (rest === undefined) continue;
    const row = text.slice(anchor.index + anchor[0].length, anchors[i + 1]?.index)
      .replace(TAG, " ").replace(/\s+/g, " ");
    entries.set(rest.name, { ...rest, facts: undefined, row });
  }
  return isListing || entries.size > 0 ? [...entries.values()] : undefined;
}

function parentOf(path: string): string {
  return path === "/" ? "" : path.replace(/[^/]+\/$/, "");
}

/** A path's one segment below a folder's. */
function restOf(path: string, folder: string): { name: string; isFolder: boolean } | undefined {
  if (!path.startsWith(folder)) return undefined;
  const rest = path.slice(folder.length);
  const isFolder = rest.endsWith("/");
  const segment = isFolder ? rest.slice(0, -1) : rest;
  if (segment === "" || segment.includes("/")) return undefined;
  try {
    const name = decodeURIComponent(segment);
    return name.includes("/") ? undefined : { name, isFolder };
  } catch {
    return undefined;
  }
}

function decodeEntities(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|(\w{1,8}));/gi, (whole, decimal, hex, name) => {
    if (name !== undefined) return ENTITIES[name] ?? whole;
    const code = decimal !== undefined ? Number(decimal) : parseInt(hex, 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
