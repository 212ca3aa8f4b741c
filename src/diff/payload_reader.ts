import type { Row } from "./btree_page.ts";
import type { DatabaseState } from "./database_state.ts";
import { databaseFault } from "./fault.ts";
import { type OverflowPage, overflowPages } from "./overflow_chain.ts";
import type { PageSet } from "./page_set.ts";

/** Reads parts of a row's record, forward; what lies between the parts is not kept, what follows them not read. */
export class PayloadReader {
  /** Bytes of the record. */
  readonly size: number;
  readonly #pages: AsyncGenerator<OverflowPage>;
  #part: Uint8Array;
  /** Where `#part` begins in the record. */
  #partStart = 0;

  /** `seen` is as for `overflowPages()`. */
  constructor(state: DatabaseState, row: Row, seen: PageSet) {
    this.size = row.payloadSize;
    this.#part = row.local;
    this.#pages = overflowPages(state, row, seen);
  }

  /**
   * Gives bytes `start` up to `end`; from one call to the next, `start` must not go back behind the last `start`'s page.
   *
   * @throws {ReplicaError} the record ends before, or its chain is broken
   */
  async bytes(start: number, end: number): Promise<Uint8Array> {
    if (end > this.size) {
      throw databaseFault("read a record", `a value ends at ${end}`, `up to ${this.size} bytes`);
    }
    const parts: Uint8Array[] = [];
    for (let offset = start; offset < end;) {
      if (offset >= this.#partStart + this.#part.length) {
        await this.#nextPart();
        continue;
      }
      const part = this.#part.subarray(offset - this.#partStart, end - this.#partStart);
      parts.push(part);
      offset += part.length;
    }
    return parts.length === 1 ? parts[0]! : concatenate(parts);
  }

  async #nextPart(): Promise<void> {
    this.#partStart += this.#part.length;
    const { done, value } = await this.#pages.next();
    if (done) {
      throw databaseFault("read a record", `its chain ends at ${this.#partStart}`, `${this.size} bytes`);
    }
    this.#part = value.content;
  }
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
