import { lockPgno } from "../ltx/txid.ts";
import { ByteReader } from "./byte_reader.ts";
import { databaseFault } from "./fault.ts";
import type { Pace } from "../pace.ts";
import { PageSet } from "./page_set.ts";
import type { PageSource } from "./page_source.ts";
import type { TextEncoding } from "./sql_value.ts";

const MAGIC = "SQLite format 3\0";
const ENCODINGS: readonly TextEncoding[] = ["utf-8", "utf-8", "utf-16le", "utf-16be"];

/** Unchanged pages kept because the other state will ask for them next. */
const KEPT_PAGES_MAX = 32;

/** Pages that are the same in both states, the latest few read. */
export class KeptPages {
  readonly #pages = new Map<number, Uint8Array>();

  /** Gives a page that was kept. */
  get(pgno: number): Uint8Array | undefined {
    return this.#pages.get(pgno);
  }

  /** Keeps a page; the one kept longest goes. */
  keep(pgno: number, page: Uint8Array): void {
    this.#pages.set(pgno, page);
    if (this.#pages.size <= KEPT_PAGES_MAX) return;
    for (const oldest of this.#pages.keys()) return void this.#pages.delete(oldest);
  }
}

/** What page 1 says of a database; an empty database has the first values. */
interface DatabaseHeader {
  usableSize: number;
  encoding: TextEncoding;
  autoVacuum: boolean;
  freelistPgno: number;
}

/**
 * One state of a database: its header, and its pages checked on the way in.
 *
 * @see SQLite's file format, "The Database Header"
 */
export class DatabaseState {
  /** Bytes of a page. */
  readonly pageSize: number;
  /** Size of the database, in pages. */
  readonly commit: number;
  /** Bytes of a page without those reserved at its end. */
  readonly usableSize: number;
  /** How text is stored. */
  readonly encoding: TextEncoding;
  /** First trunk page of the freelist, or 0. */
  readonly freelistPgno: number;
  /** Pages met as parts of tables' trees. */
  readonly treePages: PageSet = new PageSet();
  /** Overflow pages read for keys, and for comparing: a page met twice is a loop, or in two chains. */
  readonly chainPages: { readonly keys: PageSet; readonly records: PageSet } = {
    keys: new PageSet(),
    records: new PageSet(),
  };
  /** Gives way between pages. */
  readonly pace: Pace;
  readonly #source: PageSource;
  readonly #first: Uint8Array | undefined;
  readonly #autoVacuum: boolean;
  #kept: KeptPages | undefined;
  #isChanged: (pgno: number) => boolean = () => true;

  /**
   * Reads page 1.
   *
   * @throws {ReplicaError} it is no database's first page, or of another page size
   */
  static async open(source: PageSource, pace: Pace): Promise<DatabaseState> {
    await pace.turn();
    const first = source.commit > 0 ? await source.page(1) : undefined;
    return new DatabaseState(source, pace, first);
  }

  private constructor(source: PageSource, pace: Pace, first: Uint8Array | undefined) {
    this.#source = source;
    this.#first = first;
    this.pace = pace;
    this.pageSize = source.pageSize;
    this.commit = source.commit;
    if (first) checkSize(first, 1, source.pageSize);
    const header = first ? decodeHeader(first, source.pageSize) : emptyHeader(source.pageSize);
    this.usableSize = header.usableSize;
    this.encoding = header.encoding;
    this.freelistPgno = header.freelistPgno;
    this.#autoVacuum = header.autoVacuum;
  }

  /** Lets pages that `isChanged` does not tell apart be read once for both states. */
  share(kept: KeptPages, isChanged: (pgno: number) => boolean): void {
    this.#kept = kept;
    this.#isChanged = isChanged;
  }

  /**
   * Reads a page.
   *
   * @throws {ReplicaError} the database has no such page, or the source gave another number of bytes
   */
  async page(pgno: number): Promise<Uint8Array> {
    if (pgno === 1 && this.#first) return this.#first;
    if (pgno < 1 || pgno > this.commit || pgno === lockPgno(this.pageSize)) {
      throw databaseFault(`read page ${pgno}`, "no page of the database", `1 to ${this.commit}`);
    }
    await this.pace.turn();
    const kept = this.#kept?.get(pgno);
    if (kept) return kept;
    const page = await this.#source.page(pgno);
    checkSize(page, pgno, this.pageSize);
    if (!this.#isChanged(pgno)) this.#kept?.keep(pgno, page);
    return page;
  }

  /** Tells whether a page can be no part of a tree or chain: the lock page, or a page of the pointer map. */
  isApart(pgno: number): boolean {
    const lock = lockPgno(this.pageSize);
    if (pgno === lock) return true;
    if (!this.#autoVacuum || pgno < 2) return false;
    const pagesPerMap = Math.floor(this.usableSize / 5) + 1;
    const map = Math.floor((pgno - 2) / pagesPerMap) * pagesPerMap + 2;
    return (map === lock ? map + 1 : map) === pgno;
  }
}

function emptyHeader(pageSize: number): DatabaseHeader {
  return { usableSize: pageSize, encoding: "utf-8", autoVacuum: false, freelistPgno: 0 };
}

function decodeHeader(page: Uint8Array, pageSize: number): DatabaseHeader {
  const check = (holds: boolean, found: string, expected: string): void => {
    if (!holds) throw databaseFault("read database header", found, expected);
  };
  const magic = String.fromCharCode(...page.subarray(0, MAGIC.length));
  check(magic === MAGIC, "other bytes at 0", "SQLite's magic");
  const field = page[16]! * 256 + page[17]!;
  const written = field === 1 ? 65536 : field;
  check(written === pageSize, `pages of ${written} bytes`, `${pageSize}`);
  const usableSize = pageSize - page[20]!;
  check(usableSize >= 480, `${usableSize} usable bytes a page`, "480 or more");
  const reader = new ByteReader(page, 100, "database header");
  const uint32At = (offset: number): number => {
    reader.offset = offset;
    return reader.uint32();
  };
  const encoding = ENCODINGS[uint32At(56)];
  check(encoding !== undefined, `text encoding ${uint32At(56)}`, "0 to 3");
  return { usableSize, encoding: encoding!, autoVacuum: uint32At(52) !== 0, freelistPgno: uint32At(32) };
}

function checkSize(page: Uint8Array, pgno: number, pageSize: number): void {
  if (page.length === pageSize) return;
  throw databaseFault(`read page ${pgno}`, `${page.length} bytes`, `${pageSize}`);
}
