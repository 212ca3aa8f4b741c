/**
 * One LTX file in a store, which tells what of it is read.
 *
 * @module
 */
import { encodeFile } from "../../src/ltx/encoder.ts";
import type { LtxHeaderFields } from "../../src/ltx/header.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import type { ByteRange, ObjectStore } from "../../src/storage/object_store.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";
import { samplePages, snapshotFields } from "../support/ltx_files.ts";
import { lz4 } from "../support/lz4.ts";

/** A file and its store. */
export class ServedFile {
  readonly file: ReplicaFile;
  /** What was read, in order. */
  readonly reads: ByteRange[] = [];

  /** `bytes`: all of it; its name says what `fields` say, and more where `named` does. */
  constructor(readonly bytes: Uint8Array, fields: LtxHeaderFields, named: Partial<ReplicaFile> = {}) {
    const { minTxid, maxTxid } = fields;
    const key = `0000/${formatLtxFileName({ minTxid, maxTxid })}`;
    this.file = { key, etag: "e", size: bytes.length, modifiedMs: 0, level: 0, minTxid, maxTxid, ...named };
  }

  /** A made-up file of these pages: a snapshot of pages of 512 bytes, unless `fields` say otherwise. */
  static of(pgnos: readonly number[], fields: Partial<LtxHeaderFields> = {}): ServedFile {
    const all = { ...snapshotFields(512, pgnos.length), ...fields };
    return new ServedFile(encodeFile(all, samplePages(all.pageSize, pgnos), { lz4 }), all);
  }

  get store(): ObjectStore {
    const read = async (_: unknown, range: ByteRange) => {
      await Promise.resolve();
      this.reads.push(range);
      const { offset, size } = range;
      if (offset < 0 || offset + size > this.bytes.length) {
        throw new Error(`${offset} and ${size} bytes are not there`);
      }
      return { bytes: this.bytes.slice(offset, offset + size), etag: "e", objectSize: this.bytes.length };
    };
    return { read } as unknown as ObjectStore;
  }
}
