/**
 * How far a file that is read as a whole has been checked, beside what it is read into: a later process goes on there.
 *
 * @module
 */
import { type FileHandle, open, readFile } from "node:fs/promises";
import { writeAll } from "../disk_write.ts";
import { removeFile } from "./hydration_record.ts";
import type { CheckedPart } from "./transfer.ts";

/** Bytes of the mark: one write, which is there or is not when the process is killed. */
const MARK_SIZE = 4096;

/** Path of the mark beside a local file. */
export function markPath(path: string): string {
  return `${path}-check`;
}

/** Keeps the mark of one file; nothing is known of a file whose mark is not whole. */
export class CheckedMark {
  readonly #file: FileHandle;
  #part: CheckedPart | undefined;

  /** The mark that was left, or undefined where what it was beside cannot be trusted. */
  static async resume(path: string): Promise<CheckedMark | undefined> {
    try {
      const part = decode(await readFile(markPath(path), "utf8"));
      return new CheckedMark(await open(markPath(path), "r+"), part);
    } catch {
      return undefined; // what cannot be known is fetched anew
    }
  }

  /** Whether what is there is a mark. */
  static async isOne(path: string): Promise<boolean> {
    const mark = await CheckedMark.resume(path);
    await mark?.close();
    return mark !== undefined;
  }

  /** A mark that tells of no file. */
  static async begin(path: string): Promise<CheckedMark> {
    await removeFile(markPath(path)); // a link that somebody has put there is not followed
    const mark = new CheckedMark(await open(markPath(path), "wx", 0o600), undefined);
    try {
      await mark.#write();
    } catch (error) {
      await mark.close();
      throw error;
    }
    return mark;
  }

  private constructor(file: FileHandle, part: CheckedPart | undefined) {
    this.#file = file;
    this.#part = part;
  }

  /** The file that was put last, as far as it has come; undefined where none was read as a whole. */
  get part(): CheckedPart | undefined {
    return this.#part;
  }

  /**
   * Keeps it, or that nothing is there of a file that was not checked. A file that begins is kept for good: of what may come
   * after this a crash must leave no doubt.
   */
  async set(part: CheckedPart | undefined): Promise<void> {
    this.#part = part;
    await this.#write();
    if (part?.frames === 0) await this.#file.sync();
  }

  async #write(): Promise<void> {
    const bytes = new Uint8Array(MARK_SIZE).fill(0x20);
    const text = new TextEncoder().encode(encode(this.#part));
    if (text.length > MARK_SIZE) throw new RangeError(`Cannot keep mark: it has ${text.length} bytes`);
    bytes.set(text);
    await writeAll(this.#file, bytes, 0);
  }

  /** Closes its file. */
  async close(): Promise<void> {
    await this.#file.close();
  }
}

function encode(part: CheckedPart | undefined): string {
  return JSON.stringify(part ? { ...part, crc: String(part.crc) } : null);
}

function decode(text: string): CheckedPart | undefined {
  const part = JSON.parse(text);
  return part === null ? undefined : { ...part, crc: BigInt(part.crc) };
}
