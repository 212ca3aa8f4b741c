/**
 * PageListing: files as a web server's own pages list them, folder by folder.
 *
 * @module
 */

import { mapAtOnce } from "../at_once.ts";
import { type FileFacts, isTimeTag, tagOf, timeTagOf } from "../file_tag.ts";
import { wrongAnswer } from "../http_fault.ts";
import type { StorageRequest, StoredObject } from "../storage.ts";
import { type PageEntry, parseFolderPage } from "./folder_page.ts";
import type { HttpListing } from "./listing.ts";
import { LISTING_WANTED, type Site } from "./site.ts";

const AT_ONCE = 16;
const DEPTH_MAX = 16;
const ACCEPT = "application/json, text/html;q=0.9, */*;q=0.1";

/** A file whose page told nothing but its name, as it was last asked for. */
interface Described {
  readonly row: string;
  readonly facts: FileFacts;
}

/** Where pages tell sizes and times (JSON of nginx and Caddy), these are all that is asked for; else each file once. */
export class PageListing implements HttpListing {
  readonly #site: Site;
  readonly #described = new Map<string, Described>();
  /** Pages tell times and no ETags, so that files are told apart by these. */
  #tellsTimes = false;

  constructor(site: Site) {
    this.#site = site;
  }

  async list(prefix: string, request: StorageRequest): Promise<StoredObject[]> {
    const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
    return await this.#collect(folder, prefix, request, 0);
  }

  tagOf(_key: string, facts: FileFacts, wanted: string | undefined): string {
    return wanted === undefined ? this.#tag(facts) : isTimeTag(wanted) ? timeTagOf(facts) : tagOf(facts);
  }

  forget(key: string): void {
    this.#described.delete(key);
  }

  async #collect(
    folder: string,
    prefix: string,
    request: StorageRequest,
    depth: number,
  ): Promise<StoredObject[]> {
    const children = (await this.#pageOf(folder, request))
      .map((entry) => ({ key: folder + entry.name + (entry.isFolder ? "/" : ""), entry }))
      .filter(({ key }) => key.startsWith(prefix) && !key.endsWith(".tmp"));
    const files = await mapAtOnce(
      children.filter(({ entry }) => !entry.isFolder),
      AT_ONCE,
      ({ key, entry }) => this.#describe(key, entry, request),
    );
    const folders = depth === DEPTH_MAX ? [] : children.filter(({ entry }) => entry.isFolder);
    const inner = await mapAtOnce(
      folders,
      AT_ONCE,
      ({ key }) => this.#collect(key, prefix, request, depth + 1),
    );
    return [...files.filter((file) => file !== undefined), ...inner.flat()];
  }

  async #pageOf(folder: string, request: StorageRequest): Promise<PageEntry[]> {
    const page = await this.#site.text(folder, { accept: ACCEPT }, request);
    if (page === undefined || page === "same") return [];
    const entries = parseFolderPage(page.text, page.url);
    if (entries !== undefined) return entries;
    throw wrongAnswer(this.#site.asked(folder), "a page that lists no folder", LISTING_WANTED);
  }

  async #describe(
    key: string,
    { facts, row }: PageEntry,
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
    if (facts === undefined) this.#described.set(key, { row, facts: found });
    const { size, modifiedMs } = found;
    return { key, size, etag: this.#tag(found), modifiedMs: Number.isNaN(modifiedMs) ? 0 : modifiedMs };
  }

  #tag(facts: FileFacts): string {
    return this.#tellsTimes ? timeTagOf(facts) : tagOf(facts);
  }
}
