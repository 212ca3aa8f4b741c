/**
 * The replica of a {@link HugeDatabase}: one snapshot whose bytes are made when somebody asks for them.
 *
 * Header, frames, page index and trailer are as the format wants them; the file's checksum, for which all pages would have
 * to be made, is not that of its content.
 *
 * @module
 */
import { CHECKSUM_FLAG } from "../../src/ltx/checksum.ts";
import { completeHeader, encodeHeader, HEADER_SIZE } from "../../src/ltx/header.ts";
import { encodePageIndex } from "../../src/ltx/page_index.ts";
import { encodeTrailer } from "../../src/ltx/trailer.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { HugeDatabase } from "./huge_database.ts";
import { snapshotPgnos } from "./ltx_files.ts";

const TXIDS = { minTxid: 1n, maxTxid: 1n };
const TIMESTAMP_MS = 1_700_000_000_000;

/** Header of a frame with its size, and what an LZ4 block of one page has before its literals. */
const FRAME_HEADER = 10;

/** The only object of a huge replica. */
export class HugeReplica {
  readonly database: HugeDatabase;
  /** File name of the snapshot. */
  readonly name: string = formatLtxFileName(TXIDS);
  /** Bytes of the snapshot. */
  readonly size: number;
  readonly #header: Uint8Array;
  readonly #tail: Uint8Array;
  readonly #tailOffset: number;
  readonly #pgnos: Uint32Array;
  readonly #blockHead: Uint8Array;
  readonly #frameSize: number;

  constructor(database: HugeDatabase) {
    const { pageSize, commit } = database;
    this.database = database;
    this.#blockHead = literalsHead(pageSize);
    this.#frameSize = FRAME_HEADER + this.#blockHead.length + pageSize;
    this.#pgnos = snapshotPgnos(commit, pageSize);
    const count = this.#pgnos.length;
    const index = encodePageIndex({
      pgnos: this.#pgnos,
      offsets: Float64Array.from({ length: count }, (_, i) => HEADER_SIZE + i * this.#frameSize),
      sizes: new Uint32Array(count).fill(this.#frameSize),
    });
    this.#header = encodeHeader(completeHeader({ pageSize, commit, ...TXIDS, timestampMs: TIMESTAMP_MS }));
    this.#tailOffset = HEADER_SIZE + count * this.#frameSize;
    const checksums = { postApplyChecksum: 0n, fileChecksum: CHECKSUM_FLAG };
    this.size = this.#tailOffset + 6 + index.length + 16;
    const trailer = encodeTrailer(checksums, { noChecksum: true, fileSize: this.size, key: this.name });
    this.#tail = new Uint8Array(this.size - this.#tailOffset);
    this.#tail.set(index, 6); // behind the empty header that ends the frames
    this.#tail.set(trailer, 6 + index.length);
  }

  /** Bytes of the snapshot from `offset` on: `size` of them, or as many as there are. */
  read(offset: number, size: number): Uint8Array<ArrayBuffer> {
    const end = Math.min(offset + size, this.size);
    const bytes = new Uint8Array(Math.max(0, end - offset));
    const put = (part: Uint8Array, partOffset: number) => {
      const from = Math.max(offset, partOffset);
      const to = Math.min(end, partOffset + part.length);
      if (from < to) bytes.set(part.subarray(from - partOffset, to - partOffset), from - offset);
    };
    put(this.#header, 0);
    put(this.#tail, this.#tailOffset);
    const first = Math.max(0, Math.floor((offset - HEADER_SIZE) / this.#frameSize));
    for (let i = first; i < this.#pgnos.length; i++) {
      const frameOffset = HEADER_SIZE + i * this.#frameSize;
      if (frameOffset >= end) break;
      put(this.#frame(this.#pgnos[i]!), frameOffset);
    }
    return bytes;
  }

  /** A page as one LZ4 block without a match, so that all frames are of one size. */
  #frame(pgno: number): Uint8Array {
    const frame = new Uint8Array(this.#frameSize);
    const view = new DataView(frame.buffer);
    view.setUint32(0, pgno);
    view.setUint16(4, 1);
    view.setUint32(6, this.#frameSize - FRAME_HEADER);
    frame.set(this.#blockHead, FRAME_HEADER);
    frame.set(this.database.page(pgno), FRAME_HEADER + this.#blockHead.length);
    return frame;
  }
}

/** What says in LZ4 that `size` literals follow, and nothing else. */
function literalsHead(size: number): Uint8Array {
  const rest = size - 15;
  const full = Math.floor(rest / 255);
  return Uint8Array.of(0xf0, ...new Array<number>(full).fill(255), rest % 255);
}

/** One of about so many pages. */
export function hugeReplica(pages: number): HugeReplica {
  return new HugeReplica(new HugeDatabase(pages));
}
