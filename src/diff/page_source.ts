/** One state of a database, by page. */
export interface PageSource {
  /** Bytes of a page. */
  readonly pageSize: number;
  /** Size of the database, in pages. */
  readonly commit: number;
  /** Gives page `pgno`, from 1 to `commit`; it is read, never written to, and may be kept for a while. */
  page(pgno: number): Promise<Uint8Array>;
}
