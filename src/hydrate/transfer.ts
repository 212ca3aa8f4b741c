/**
 * What of a view's files a local file lacks → there: from the pool where it is there, else in pieces, several on their way at
 * once.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { LtxFormatError } from "../errors.ts";
import type { Pace } from "../pace.ts";
import { frameOffset, type FrameRange } from "../pages/frames.ts";
import type { ByteRange, ObjectIdentity } from "../storage/object_store.ts";
import { type PlanFile, verifyWhole, WHOLE_FILE_SIZE_MAX } from "../view/plan_file.ts";
import { inOrder } from "./in_order.ts";
import type { Lacking, LocalFile } from "./local_file.ts";
import { frameCount, join, type Piece, PIECE_BYTES, piecesOf } from "./pieces.ts";

/** Requests under way at once unless said otherwise; readers need places, too. */
const REQUESTS_AT_ONCE = 10;

/** Bytes of a piece that are put before the loop may turn: about 1 ms. */
const PUT_BYTES = 128 * 1024;

/** Frames looked up before the loop may turn: about 1 ms. */
const FRAMES_A_SLICE = 50_000;

/** Bytes without a page that is lacking that are worth a request of their own behind them. */
const PART_BYTES = 64 * 1024;

/** Share of a file's pages from which on it is read as a whole, so that its checksum can be looked at. */
const WHOLE_SHARE = 1 / 2;

/** The last field of a file, and not of what it covers. */
const CHECKSUM_SIZE = 8;

/** What a checksum over nothing is. */
const CRC_BEGIN = 0xffff_ffff_ffff_ffffn;

/** A file that is read as a whole, as far as that has come. */
export interface CheckedPart {
  readonly file: ObjectIdentity;
  /** Its frames, and those of them that were put. */
  readonly count: number;
  readonly frames: number;
  /** Over its bytes up to there. */
  readonly crc: bigint;
}

/** What is going to be asked for. */
export interface Amount {
  readonly bytes: number;
  /** Pages that are lacking. */
  readonly pages: number;
}

/** What a transfer works with. */
export interface TransferOptions {
  readonly native: Native;
  readonly file: LocalFile;
  /** The view whose pages are wanted, held meanwhile. */
  readonly viewId: number;
  readonly read: (of: ObjectIdentity, range: ByteRange) => Promise<Uint8Array>;
  readonly pace: Pace;
  /** Called before the first page is put. */
  readonly before: () => Promise<void>;
  /** Called with the number of pages, and of bytes, that were asked for and have come. */
  readonly after: (pages: number, bytes: number) => Promise<void>;
  /** Nobody wants the rest any more. */
  readonly isVain: () => boolean;
  /** Requests under way at once. */
  readonly atOnce?: number;
  /** Bytes of a request at most, where that is more than one frame. */
  readonly pieceBytes?: number;
  /** A file that was left in the middle: it is gone on with there. Nothing of it is here that was not checked until there. */
  readonly checked?: CheckedPart | undefined;
  /** Called before the first page of a file that is read as a whole is put, and with what has come of it. */
  readonly onChecked?: (part: CheckedPart) => Promise<void>;
  /** Called once with what is going to be asked for. */
  readonly onPlan?: (wanted: Amount) => void;
}

/** A piece, what is asked for with it, and what it is checked by. */
interface Wanted {
  readonly piece: Piece;
  /** The piece, or more: what lies before and behind all frames is covered by the file's checksum. */
  readonly range: ByteRange;
  /** Pages that are lacking. */
  readonly lacking: number;
  /** What the file's checksum is computed by as its pieces come; `"first"`: all of it is here, and is held against that first. */
  readonly check: FileCheck | "first" | undefined;
}

/** Brings pages of one view into a local file. */
export class Transfer {
  readonly #options: TransferOptions;
  #blocked = 0;
  #hasBegun = false;

  constructor(options: TransferOptions) {
    this.#options = options;
  }

  /**
   * Brings all that is lacking of some files; gives how many pages were left because other views are in the way.
   *
   * @throws {LtxFormatError} a file breaks the format, or does not fit to its checksum
   * @throws {ObjectGoneError} a file is not there any more
   * @throws {LocalFileError} the local file cannot be written
   */
  async run(files: readonly PlanFile[]): Promise<number> {
    const { read, after, isVain, onPlan, atOnce = REQUESTS_AT_ONCE } = this.#options;
    let [pages, bytes] = [0, 0];
    onPlan?.(await this.#amount(files));
    this.#blocked = 0;
    const asked = inOrder(
      this.#wanted(files),
      ({ piece, range }) => read(piece.file.file, range),
      atOnce,
    );
    for await (const { item, result } of asked) {
      if (isVain()) break;
      await this.#begin();
      await this.#put(item, result);
      pages += item.lacking;
      bytes += item.range.size;
      await after(pages, bytes);
    }
    return this.#blocked;
  }

  async #amount(files: readonly PlanFile[]): Promise<Amount> {
    const all = { bytes: 0, pages: 0 };
    for await (const { range, lacking } of this.#wanted(files)) {
      all.bytes += range.size;
      all.pages += lacking;
      await this.#options.pace.turn();
    }
    return all;
  }

  async #begin(): Promise<void> {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    await this.#options.before();
  }

  /** What came with a file's index, or was read, need not come again. */
  async #takeHeld(file: PlanFile): Promise<void> {
    const { native, file: local, viewId, pace } = this.#options;
    if (file.file.size > WHOLE_FILE_SIZE_MAX) return;
    const range = { first: 0, count: frameCount(native, file) };
    if (range.count === 0 || this.#lacking(file, range) === 0) return;
    await this.#begin();
    const bytes = this.#fetched(file, range);
    if (bytes) return await this.#putParts(file, range, bytes, new BigUint64Array(1));
    local.take(file, range, viewId);
    await pace.turn();
  }

  /** Frames of a file that came with its index; undefined where not all of them are held. */
  #fetched(file: PlanFile, { first, count }: FrameRange): Uint8Array | undefined {
    const { native } = this.#options;
    const { offset, bytes } = file.fetched;
    const [start, end] = [frameOffset(native, file, first), frameOffset(native, file, first + count)];
    if (offset > start || offset + bytes.length < end) return undefined;
    return bytes.subarray(start - offset, end - offset);
  }

  async #lackingOf(file: PlanFile, count: number): Promise<Lacking> {
    const { file: local, viewId, pace } = this.#options;
    const all = { count: 0, blocked: 0 };
    for (let first = 0; first < count; first += FRAMES_A_SLICE) {
      const part = local.lacking(file, { first, count: Math.min(FRAMES_A_SLICE, count - first) }, viewId);
      all.count += part.count;
      all.blocked += part.blocked;
      await pace.turn();
    }
    return all;
  }

  #lacking(file: PlanFile, range: Pick<Piece, "first" | "count">): number {
    const { count, blocked } = this.#options.file.lacking(file, range, this.#options.viewId);
    return count - blocked;
  }

  async *#wanted(files: readonly PlanFile[]): AsyncGenerator<Wanted> {
    for (const file of files) {
      if (file.closed) continue;
      await this.#takeHeld(file); // right before it is looked what is lacking: what was published is in the way
      yield* this.#wantedOf(file);
    }
  }

  async *#wantedOf(file: PlanFile): AsyncGenerator<Wanted> {
    const { native } = this.#options;
    const count = frameCount(native, file);
    const all = await this.#lackingOf(file, count);
    this.#blocked += all.blocked;
    const left = this.#leftOf(file);
    if (left) {
      yield* this.#lackingPieces(file, { first: 0, count: left.frames }); // what was in somebody's way until now
      return yield* this.#checkedPieces(file, left);
    }
    if (all.count === all.blocked) return;
    if (all.count < count * WHOLE_SHARE) yield* this.#lackingPieces(file, { first: 0, count });
    else if (file.file.size > WHOLE_FILE_SIZE_MAX) {
      yield* this.#checkedPieces(file, { count, frames: 0, crc: CRC_BEGIN });
    } else yield this.#whole(file, { first: 0, count });
  }

  /** All of a small file. */
  #whole(file: PlanFile, range: FrameRange): Wanted {
    const { native } = this.#options;
    const [offset, end] = [0, range.count].map((frame) => frameOffset(native, file, frame)) as [
      number,
      number,
    ];
    const piece = { file, ...range, offset, size: end - offset };
    const { size } = file.file;
    return { piece, range: { offset: 0, size }, lacking: this.#lacking(file, piece), check: "first" };
  }

  /** What follows of a file that is read as a whole. */
  *#checkedPieces(
    file: PlanFile,
    { count, frames, crc }: Pick<CheckedPart, "count" | "frames" | "crc">,
  ): Generator<Wanted> {
    const { native, pieceBytes = PIECE_BYTES } = this.#options;
    const check = new FileCheck(native, file, count, crc);
    for (const piece of piecesOf(native, file, pieceBytes, { first: frames, count: count - frames })) {
      yield { piece, range: check.rangeOf(piece), lacking: this.#lacking(file, piece), check };
    }
  }

  /** Parts of a file, within some of its frames, of which something is lacking; neighbours together, up to a piece. */
  *#lackingPieces(file: PlanFile, within: FrameRange): Generator<Wanted> {
    const { native, pieceBytes = PIECE_BYTES } = this.#options;
    let joined: Piece | undefined;
    let count = 0;
    const taken = function* (): Generator<Wanted> {
      if (joined) yield { piece: joined, range: joined, lacking: count, check: undefined };
      [joined, count] = [undefined, 0];
    };
    for (const part of piecesOf(native, file, PART_BYTES, within)) {
      const lacking = this.#lacking(file, part);
      if (lacking === 0 || (joined && joined.size + part.size > pieceBytes)) yield* taken();
      if (lacking > 0) joined = joined ? join(joined, part) : part;
      count += lacking;
    }
    yield* taken();
  }

  /** Where a file is to be gone on with that was left in the middle. */
  #leftOf({ file }: PlanFile): CheckedPart | undefined {
    const { checked } = this.#options;
    return checked && checked.frames < checked.count && isSameFile(checked.file, file) ? checked : undefined;
  }

  async #put(wanted: Wanted, bytes: Uint8Array): Promise<void> {
    const { check, piece, range } = wanted;
    if (check === "first") verifyWhole(this.#options.native, piece.file.file, bytes);
    else if (check) return await this.#putChecked(wanted, check, bytes);
    const stored = bytes.subarray(piece.offset - range.offset);
    await this.#putParts(piece.file, piece, stored, new BigUint64Array(1));
  }

  async #putChecked({ piece, range }: Wanted, check: FileCheck, bytes: Uint8Array): Promise<void> {
    const { isVain, onChecked } = this.#options;
    const { file } = piece;
    if (piece.first === 0) await onChecked?.(check.partUpTo(0));
    check.add(bytes.subarray(0, piece.offset - range.offset));
    await this.#putParts(file, piece, bytes.subarray(piece.offset - range.offset), check.crc);
    if (file.closed || isVain()) return;
    check.add(bytes.subarray(piece.offset + piece.size - range.offset));
    if (check.isLast(piece)) check.end();
    await onChecked?.(check.partUpTo(piece.first + piece.count));
  }

  /** Puts frames whose stored bytes are the first ones of `stored`. */
  async #putParts(file: PlanFile, range: FrameRange, stored: Uint8Array, crc: BigUint64Array): Promise<void> {
    const { native, file: local, viewId, pace, isVain } = this.#options;
    let at = 0;
    for (const part of piecesOf(native, file, PUT_BYTES, range)) {
      if (file.closed || isVain()) return;
      local.put(file, part, viewId, stored.subarray(at, at + part.size), crc);
      at += part.size;
      await pace.turn();
    }
  }
}

/** Whether two descriptions are of the same content. */
export function isSameFile(a: ObjectIdentity, b: ObjectIdentity): boolean {
  return a.key === b.key && a.etag === b.etag && a.size === b.size;
}

/** A file's checksum, computed over its pieces as they come. */
class FileCheck {
  readonly crc: BigUint64Array;
  readonly #native: Native;
  readonly #file: PlanFile;
  readonly #count: number;

  constructor(native: Native, file: PlanFile, count: number, crc: bigint = CRC_BEGIN) {
    this.crc = BigUint64Array.of(crc);
    this.#native = native;
    this.#file = file;
    this.#count = count;
  }

  /** How far it has come, the frames before `frames` put. */
  partUpTo(frames: number): CheckedPart {
    const { key, etag, size } = this.#file.file;
    return { file: { key, etag, size }, count: this.#count, frames, crc: this.crc[0]! };
  }

  isLast({ first, count }: Piece): boolean {
    return first + count === this.#count;
  }

  /** With the first piece comes the header, with the last what is behind the frames, less the checksum itself. */
  rangeOf(piece: Piece): ByteRange {
    const start = piece.first === 0 ? 0 : piece.offset;
    const end = this.isLast(piece) ? this.#file.file.size - CHECKSUM_SIZE : piece.offset + piece.size;
    return { offset: start, size: end - start };
  }

  add(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const words = new Uint8Array(this.crc.buffer as ArrayBuffer);
    this.#native.calls.ls_crc_add(bytes as Uint8Array<ArrayBuffer>, bytes.length, words);
  }

  end(): void {
    const found = ~this.crc[0]! & CRC_BEGIN | 1n << 63n;
    const { file, checksum } = this.#file;
    if (found === checksum) return;
    throw new LtxFormatError(
      `Cannot take over "${file.key}": its checksum is ${hex(found)}, expected ${
        hex(checksum)
      } as its trailer says`,
      { key: file.key, offset: file.size - CHECKSUM_SIZE },
    );
  }
}

function hex(checksum: bigint): string {
  return checksum.toString(16).padStart(16, "0");
}
