/**
 * PageListing: files as a web server's own pages list them, folder by folder.
 *
 * @module
 */

import { mapAtOnce } from "../at_once.ts";
import { type FileFacts, isTimeTag, tagOf, timeTagOf } from "../file_tag.ts";
import { wrongAnswer } from "../http_fault.ts";
import { ownText } from "../../own_text.ts";
import { compareKeys } from "../key_order.ts";
import type { StorageList, StorageRequest, StoredObject } from "../storage.ts";
import { type PageEntry, parseFolderPage } from "./folder_page.ts";
import type { HttpListing } from "./listing.ts";
import { LISTING_WANTED, type Site } from "./site.ts";

const AT_ONCE = 16;
const DEPTH_MAX = 16;
/** Files of one answer to whoever lists. */
const PAGE_FILES = 256;
const ACCEPT = "application/json, text/html;q=0.9, */*;q=0.1";

/** A file whose page told nothing but its name, as it was last asked for. */
interface Described {
  readonly row: string;
  readonly facts: FileFacts;
}

/** A file that a page names. */
interface FoundFile {
  readonly key: string;
  readonly entry: PageEntry;
}

/** Where pages tell sizes and times (JSON of nginx and Caddy), no more is asked for; else each file once. */
export class PageListing implements HttpListing {
  readonly #site: Site;
  readonly #described = new Map<string, Described>();
  /** Pages tell times and no ETags, so that files are told apart by these. */
  #tellsTimes = false;
  #hasListed = false;

  constructor(site: Site) {
    this.#site = site;
  }

  /** Whether there was a page of any folder yet. */
  get hasListed(): boolean {
    return this.#hasListed;
  }

  /** Names first, which cost little; then what else is to be known of each, some at a time. */
  async *list(prefix: string, request: StorageList): AsyncGenerator<StoredObject[]> {
    const { after } = request;
    const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
    const found = await this.#find(folder, { prefix, request, depth: 0 });
    if (after === undefined) this.#dropOthers(prefix, found);
    const wanted = found.filter(({ key }) => after === undefined || compareKeys(key, after) > 0)
      .sort((a, b) => compareKeys(a.key, b.key));
    for (let first = 0; first < wanted.length; first += PAGE_FILES) {
      const some = wanted.slice(first, first + PAGE_FILES);
      const files = await mapAtOnce(some, AT_ONCE, (file) => this.#describe(file, request));
      const there = files.filter((file) => file !== undefined);
      if (there.length > 0) yield there;
    }
  }

  tagOf(_key: string, facts: FileFacts, wanted: string | undefined): string {
    return wanted === undefined ? this.#tag(facts) : isTimeTag(wanted) ? timeTagOf(facts) : tagOf(facts);
  }

  forget(key: string): void {
    this.#described.delete(key);
  }

  /** The files below a folder. */
  async #find(
    folder: string,
    { prefix, request, depth }: { prefix: string; request: StorageRequest; depth: number },
  ): Promise<FoundFile[]> {
    const children = (await this.#pageOf(folder, request))
      .map((entry) => ({ key: folder + entry.name + (entry.isFolder ? "/" : ""), entry }))
      .filter(({ key }) => key.startsWith(prefix) && !key.endsWith(".tmp"));
    const folders = depth === DEPTH_MAX ? [] : children.filter(({ entry }) => entry.isFolder);
    const inner = await mapAtOnce(
      folders,
      AT_ONCE,
      ({ key }) => this.#find(key, { prefix, request, depth: depth + 1 }),
    );
    return [...children.filter(({ entry }) => !entry.isFolder), ...inner.flat()];
  }

  /** Forgets files that are there no more. */
  #dropOthers(prefix: string, found: readonly FoundFile[]): void {
    const keys = new Set(found.map(({ key }) => key));
    for (const key of [...this.#described.keys()]) {
      if (key.startsWith(prefix) && !keys.has(key)) this.#described.delete(key);
    }
  }

  async #pageOf(folder: string, request: StorageRequest): Promise<PageEntry[]> {
    const page = await this.#site.text(folder, { accept: ACCEPT }, request);
    if (page === undefined || page === "same") return [];
    const entries = parseFolderPage(page.text, page.url);
    if (entries === undefined) {
      throw wrongAnswer(this.#site.asked(folder), "a page that lists no folder", LISTING_WANTED);
    }
    this.#hasListed = true;
    return entries;
  }

  async #describe(
    { key, entry: { facts, row } }: FoundFile,
    request: StorageRequest,
  ): Promise<StoredObject | undefined> {
    if (facts !== undefined) this.#tellsTimes = true;
    const known = this.#described.get(key);
    const found = facts !== undefined
      ? { ...facts, etag: "" }
      : known?.row === row
      ? known.facts
      : await this.#site.facts(key, request);
    if (found === undefined) return undefined; // it went meanwhile
    if (facts === undefined) this.#described.set(ownText(key), { row: ownText(row), facts: found });
    const { size, modifiedMs } = found;
    return { key, size, etag: this.#tag(found), modifiedMs: Number.isNaN(modifiedMs) ? 0 : modifiedMs };
  }

  #tag(facts: FileFacts): string {
    return this.#tellsTimes ? timeTagOf(facts) : tagOf(facts);
  }
}
