/**
 * IndexListing: files as `index.json` lists them, and those that were met by name since it was written.
 *
 * @module
 */

import { mapAtOnce } from "../at_once.ts";
import { bareEtag } from "../etag.ts";
import { type FileFacts, isTimeTag, tagOf, timeTagOf } from "../file_tag.ts";
import { wrongAnswer } from "../http_fault.ts";
import { compareKeys } from "../key_order.ts";
import type { StorageRequest, StoredObject } from "../storage.ts";
import type { HttpListing } from "./listing.ts";
import type { Site, SiteText } from "./site.ts";
import { INDEX_NAME, type IndexEntry, parseIndex } from "./static_index.ts";

const AT_ONCE = 16;
/** Files met by name that are kept in mind. */
const MET_MAX = 1000;
/** An index this young may be written again without a change of its time, which is in seconds. */
const SETTLED_MS = 2_000;

/** A file of the index. */
interface Indexed {
  readonly object: StoredObject;
  /** What the index says of it, in short. */
  readonly told: string;
  /**
   * As the server tags it, once it was read: uploading changes times, so it need not be what the index says.
   */
  served?: string;
}

/** An index that was read. */
interface Loaded {
  /** ETag for asking whether it has changed; empty where it cannot be asked yet. */
  readonly validator: string;
  /** When it was written by the server's clock, in ms since the Unix epoch; NaN where nothing is said. */
  readonly modifiedMs: number;
  readonly files: ReadonlyMap<string, Indexed>;
}

/**
 * An index older than the newest file must not make a replica seem to go back: files that were read by name
 * are listed too, while the newest of them is there as it was.
 */
export class IndexListing implements HttpListing {
  readonly #site: Site;
  /** Files that were read by name and are not in the index, in the order they were met. */
  readonly #met = new Map<string, StoredObject>();
  #loaded: Loaded | undefined;
  #loading: Promise<Loaded | undefined> | undefined;

  constructor(site: Site) {
    this.#site = site;
  }

  async list(prefix: string, request: StorageRequest): Promise<StoredObject[] | undefined> {
    const loaded = await this.#load(request);
    if (loaded === undefined) return undefined;
    const objects = [...loaded.files.values()].map(({ object }) => object);
    return [...objects, ...this.#met.values()].filter(({ key }) => key.startsWith(prefix));
  }

  tagOf(key: string, facts: FileFacts, wanted: string | undefined): string | undefined {
    const indexed = this.#loaded?.files.get(key);
    const served = servedTag(facts, wanted ?? indexed?.object.etag);
    if (wanted !== undefined && wanted === served) return served;
    if (indexed !== undefined && (wanted ?? indexed.object.etag) === indexed.object.etag) {
      if (this.#isOf(indexed, facts, served)) return indexed.object.etag;
    }
    if (wanted !== undefined) return undefined;
    if (indexed === undefined) this.#meet(key, served, facts);
    return served;
  }

  /** Whether the index has a file of that key. */
  has(key: string): boolean {
    return this.#loaded?.files.has(key) ?? false;
  }

  forget(key: string): void {
    this.#met.delete(key);
  }

  /** Whether a file is the one of the index: one that was written after it is not. */
  #isOf(indexed: Indexed, facts: FileFacts, served: string): boolean {
    if (indexed.object.size !== facts.size) return false;
    if (!isTimeTag(indexed.told)) return indexed.told === served;
    const isOlder = !(facts.modifiedMs > this.#loaded!.modifiedMs);
    if (indexed.served === undefined && (isOlder || indexed.told === served)) indexed.served = served;
    return indexed.served === served;
  }

  #meet(key: string, etag: string, { size, modifiedMs }: FileFacts): void {
    this.#met.delete(key);
    this.#met.set(key, { key, size, etag, modifiedMs: Number.isNaN(modifiedMs) ? Date.now() : modifiedMs });
    const [first] = this.#met.keys();
    if (this.#met.size > MET_MAX) this.#met.delete(first!);
  }

  /** The index as it is now; who asks while it is being read shares that. */
  async #load(request: StorageRequest): Promise<Loaded | undefined> {
    while (this.#loading !== undefined) {
      try {
        return await this.#loading;
      } catch {
        request.signal.throwIfAborted(); // whose request it was need not concern us
      }
    }
    this.#loading = this.#read(request).finally(() => this.#loading = undefined);
    return await this.#loading;
  }

  async #read(request: StorageRequest): Promise<Loaded | undefined> {
    const validator = this.#loaded?.validator ?? "";
    const found = await this.#site.text(INDEX_NAME, { accept: "application/json", validator }, request);
    if (found === undefined) return undefined;
    if (found !== "same" && /^\s*</.test(found.text)) return undefined; // a page for browsers
    if (found !== "same") this.#loaded = await this.#take(found, request);
    await this.#checkMet(request);
    return this.#loaded;
  }

  async #take({ text, headers }: SiteText, request: StorageRequest): Promise<Loaded> {
    const { modifiedMs, etag } = factsOfIndex(headers);
    const entries = this.#parse(text);
    const files = new Map<string, Indexed>();
    const all = await mapAtOnce(entries, AT_ONCE, (entry) => this.#indexed(entry, request));
    for (const indexed of all) files.set(indexed.object.key, indexed);
    for (const key of files.keys()) this.#met.delete(key);
    this.#dropOlder([...files.keys()]);
    const ageMs = Date.parse(headers.get("date") ?? "") - modifiedMs;
    return { validator: ageMs > SETTLED_MS ? etag : "", modifiedMs, files };
  }

  #parse(text: string): IndexEntry[] {
    try {
      return parseIndex(text);
    } catch (cause) {
      const { message } = cause as Error;
      const retryable = cause instanceof SyntaxError; // half of it, while it is being uploaded
      const [, found = message, wanted = "one whole index"] = /^(.*), expected (.*)$/.exec(message) ?? [];
      throw wrongAnswer(this.#site.asked(INDEX_NAME), found, wanted, { retryable, cause });
    }
  }

  /** A file keeps the tag that was told of it before, while it is the same one. */
  async #indexed(entry: IndexEntry, request: StorageRequest): Promise<Indexed> {
    const { key, size, modifiedMs, etag } = entry;
    const told = etag === "" ? timeTagOf(entry) : bareEtag(etag);
    const known = this.#loaded?.files.get(key);
    if (known?.told === told) return known;
    const met = this.#met.get(key);
    const isMet = met?.size === size &&
      (met.etag === told || await this.#servedNow(key, met.etag, request) === met.etag);
    return isMet
      ? { object: { key, size, modifiedMs, etag: met.etag }, told, served: met.etag }
      : { object: { key, size, modifiedMs, etag: told }, told };
  }

  async #servedNow(key: string, wanted: string, request: StorageRequest): Promise<string | undefined> {
    const facts = await this.#site.facts(key, request);
    return facts && servedTag(facts, wanted);
  }

  /** An index that has a later file of the folder is newer than a file that it has not: that one is gone. */
  #dropOlder(keys: readonly string[]): void {
    const last = new Map<string, string>();
    for (const key of keys) {
      const folder = folderOf(key);
      if (compareKeys(key, last.get(folder) ?? "") > 0) last.set(folder, key);
    }
    for (const key of [...this.#met.keys()]) {
      if (compareKeys(key, last.get(folderOf(key)) ?? "") < 0) this.#met.delete(key);
    }
  }

  /** Where the newest file met by name is gone or another one, so may the others be. */
  async #checkMet(request: StorageRequest): Promise<void> {
    const newest = [...this.#met.values()].at(-1);
    if (newest === undefined) return;
    if (await this.#servedNow(newest.key, newest.etag, request) !== newest.etag) this.#met.clear();
  }
}

function factsOfIndex(headers: Headers): { modifiedMs: number; etag: string } {
  return { modifiedMs: Date.parse(headers.get("last-modified") ?? ""), etag: headers.get("etag") ?? "" };
}

/** In the form of the tag that is wanted: listings tell times, unless the index has ETags. */
function servedTag(facts: FileFacts, wanted: string | undefined): string {
  const isByTime = wanted === undefined || isTimeTag(wanted);
  return isByTime && !Number.isNaN(facts.modifiedMs) ? timeTagOf(facts) : tagOf(facts);
}

function folderOf(key: string): string {
  return key.slice(0, key.lastIndexOf("/") + 1);
}
