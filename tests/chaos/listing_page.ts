/**
 * Listings of a bucket as XML: what a proxy leaves out of them, and what they were before.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Random } from "../support/random.ts";

const CONTENTS = /<Contents>[\s\S]*?<\/Contents>/g;
/** Between two listings that are remembered, in ms. */
const REMEMBERED_EVERY_MS = 100;
/** Of each prefix. */
const REMEMBERED_MAX = 30;

/** One answer to a ListObjectsV2 request. */
export class ListingPage {
  readonly #document: string;
  /** Each object's element by its key, in their order. */
  readonly objects: ReadonlyMap<string, string>;

  constructor(document: string) {
    this.#document = document;
    this.objects = new Map((document.match(CONTENTS) ?? []).map((element) => [keyOf(element), element]));
  }

  /** Whether it is one of several pages. */
  get isTruncated(): boolean {
    return this.#document.includes("<IsTruncated>true<");
  }

  /** The same page with other objects; there are no further pages. */
  with(objects: Iterable<string>): Buffer {
    const rest = this.#document.replace(CONTENTS, "").replace(/<KeyCount>\d+</, "<KeyCount>0<");
    const elements = [...objects];
    const counted = rest.replace("<KeyCount>0<", `<KeyCount>${elements.length}<`);
    return Buffer.from(
      counted.replace(/<\/ListBucketResult>/, () => `${elements.join("")}</ListBucketResult>`),
    );
  }

  /** The same page without the objects of these keys. */
  without(isHidden: (key: string) => boolean): Buffer {
    return this.with([...this.objects].filter(([key]) => !isHidden(key)).map(([, element]) => element));
  }
}

/** What a request lists. */
export interface Listed {
  readonly prefix: string;
  /** Only keys after this one; empty: all. */
  readonly after: string;
}

/** A listing, and when it was true. */
interface Remembered {
  readonly atMs: number;
  readonly page: ListingPage;
}

/** Listings of whole prefixes as they were a while ago. */
export class ListingHistory {
  readonly #pages = new Map<string, Remembered[]>();

  /** Remembers a true listing. */
  learn({ prefix, after }: Listed, page: ListingPage, nowMs: number): void {
    if (after !== "" || page.isTruncated) return;
    const pages = this.#pages.get(prefix) ?? [];
    if (nowMs - (pages.at(-1)?.atMs ?? -Infinity) < REMEMBERED_EVERY_MS) return;
    pages.push({ atMs: nowMs, page });
    if (pages.length > REMEMBERED_MAX) pages.shift();
    this.#pages.set(prefix, pages);
  }

  /** What a request would have been answered once, where that differs from what it is answered now. */
  older({ prefix, after }: Listed, now: ListingPage, dice: Random): Buffer | undefined {
    const known = [...this.#pages].filter(([each]) => prefix.startsWith(each)).flatMap(([, pages]) => pages);
    if (known.length === 0) return undefined;
    const { page } = known[dice.next(known.length)]!;
    const old = [...page.objects].filter(([key]) => key.startsWith(prefix) && key > after);
    const isSame = old.length === now.objects.size &&
      old.every(([key, element]) => now.objects.get(key) === element);
    return isSame ? undefined : now.with(old.map(([, element]) => element));
  }
}

function keyOf(element: string): string {
  const text = /<Key>([\s\S]*?)<\/Key>/.exec(element)?.[1] ?? "";
  return decodeURIComponent(text.replaceAll("+", " "));
}
