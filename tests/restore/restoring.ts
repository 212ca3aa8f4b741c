/**
 * Replicas that are restored: in a folder, or behind an S3 stand-in that is told when to misbehave.
 *
 * @module
 */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import { noiseSql } from "../replica/drivers.ts";
import { FakeS3, type FakeS3Options, type LoggedRequest } from "../support/fake_s3.ts";
import { type Fault, FaultSchedule, type FaultSubject } from "../support/faults.ts";
import { ReplicaFolder } from "../support/replica_folder.ts";

/** Rows that make a snapshot of several requests. */
export const LARGE_ROWS = 20_000;

/** Where a test restores to, all that is there, and what is expected. */
export class Target {
  readonly folder: string;
  readonly path: string;
  readonly #replica: ReplicaFolder;

  constructor(replica: ReplicaFolder) {
    this.#replica = replica;
    this.folder = join(replica.home, "restored");
    this.path = join(this.folder, "out.db");
    mkdirSync(this.folder, { recursive: true });
  }

  /** Names of the files there. */
  names(): string[] {
    return readdirSync(this.folder).sort();
  }

  /** Asserts that it is the database after a transaction, and alone. */
  assertIs(txid: number): void {
    assert.deepEqual(this.names(), ["out.db"]);
    this.assertHas(txid);
  }

  /** Asserts that it is the database after a transaction. */
  assertHas(txid: number): void {
    const found = readFileSync(this.path);
    assert.equal(found.length, this.#replica.bytesAt(txid).length);
    assert.equal(Buffer.compare(found, this.#replica.bytesAt(txid)), 0, `not TXID ${txid}`);
  }
}

/** Gives a folder's replica and a place to restore to; deletes both. */
export async function withTarget(
  use: (folder: ReplicaFolder, target: Target) => Promise<void>,
  options: { pageSize?: number } = {},
): Promise<void> {
  const folder = await ReplicaFolder.make(options);
  try {
    await use(folder, new Target(folder));
  } finally {
    folder.close();
  }
}

/** Reads of this many bytes are of pages, not of what describes a file. */
const LARGE_READ = 1024 * 1024;

/** Calls `on` for each read of pages before it is answered. */
class Hook extends FaultSchedule {
  readonly #on: (offset: number) => Fault | undefined;

  constructor(on: (offset: number) => Fault | undefined) {
    super([]);
    this.#on = on;
  }

  override pick(subject: FaultSubject): Fault | undefined {
    const request = subject as LoggedRequest; // what the server asks with
    const [first = 0, last = 0] = request.range.match(/\d+/g)?.map(Number) ?? [];
    return request.method === "GET" && last - first >= LARGE_READ ? this.#on(first) : undefined;
  }
}

/** A replica of one large snapshot and a few transactions behind an S3 stand-in. */
export class Bucket {
  readonly folder: ReplicaFolder;
  readonly target: Target;
  readonly s3: FakeS3;

  static async make(options: Partial<FakeS3Options> = {}): Promise<Bucket> {
    const folder = await ReplicaFolder.make();
    const bucket = new Bucket(folder, await FakeS3.start({ verify: false, ...options }));
    folder.record(noiseSql(LARGE_ROWS));
    bucket.put(9, 1, 1);
    bucket.step("UPDATE n SET x = randomblob(900) WHERE id % 1000 = 0");
    bucket.step("DELETE FROM n WHERE id = 77");
    return bucket;
  }

  private constructor(folder: ReplicaFolder, s3: FakeS3) {
    this.folder = folder;
    this.s3 = s3;
    this.target = new Target(folder);
  }

  /** Key of a file. */
  key(level: number, minTxid: number, maxTxid: number): string {
    const name = formatLtxFileName({ minTxid: BigInt(minTxid), maxTxid: BigInt(maxTxid) });
    return `db/${ltxKey("s3", level, name)}`;
  }

  /** Stores the file that holds these transactions. */
  put(level: number, minTxid: number, maxTxid: number): void {
    this.s3.put(this.key(level, minTxid, maxTxid), this.folder.encode(minTxid, maxTxid));
  }

  /** Deletes a file. */
  remove(level: number, minTxid: number, maxTxid: number): void {
    this.s3.remove(this.key(level, minTxid, maxTxid));
  }

  /** Makes a transaction, and stores it. */
  step(sql: string): void {
    const txid = this.folder.record(sql);
    this.put(0, txid, txid);
  }

  /** Has `act` called before the n-th read of pages is answered; what it gives goes wrong with that read. */
  onRead(nth: number, act: () => Fault | undefined | void): void {
    let count = 0;
    this.s3.options.faults = new Hook(() => ++count === nth ? act() || undefined : undefined);
  }

  /** Has reads of pages that begin behind a share of the snapshot go wrong; resolves once there was one. */
  holdReads(share: number, fault: Fault = { kind: "silence" }): Promise<void> {
    const from = share * this.s3.get(this.key(9, 1, 1))!.length;
    return new Promise((resolve) => {
      this.s3.options.faults = new Hook((offset) => {
        if (offset <= from) return undefined;
        resolve();
        return fault;
      });
    });
  }

  /** Answers all from now on. */
  release(): void {
    this.s3.options.faults = new FaultSchedule([]);
  }

  /** Frames of the large snapshot that were put and checked, by the mark beside the file, as a share of all. */
  checkedShare(): number {
    try {
      const { frames, count } = JSON.parse(readFileSync(`${this.target.path}.partial-check`, "utf8"));
      return frames / count;
    } catch {
      return 0; // there is none
    }
  }

  /** Ends a restore when about a share of the large snapshot was put; it has the rest still to ask for. */
  async interrupt({ asOf = 3n, share = 0.5 }: { asOf?: bigint; share?: number } = {}): Promise<void> {
    const { path } = this.target;
    await using replica = await this.open();
    const held = this.holdReads(share);
    const abort = new AbortController();
    const reason = new Error("enough");
    const restoring = assert.rejects(replica.restore(path, { asOf, signal: abort.signal }), reason);
    await held;
    while (this.checkedShare() < share - 0.1) await new Promise((resolve) => setTimeout(resolve, 5));
    abort.abort(reason);
    await restoring;
    this.release();
    assert.ok(!existsSync(path));
  }

  /** Restores to the end; gives how many bytes of snapshots were read, as a share of the large one. */
  async resume(txid = 3): Promise<number> {
    const size = this.s3.get(this.key(9, 1, 1))!.length;
    await using replica = await this.open();
    const since = this.s3.log.length;
    assert.equal((await replica.restore(this.target.path, { asOf: BigInt(txid) })).txid, BigInt(txid));
    this.target.assertIs(txid);
    return this.snapshotBytes(since) / size;
  }

  /** Bytes of snapshots that were sent since so many requests. */
  snapshotBytes(since: number): number {
    return this.s3.log.slice(since).filter(({ key }) => key.includes("/0009/"))
      .reduce((sum, { bytes }) => sum + bytes, 0);
  }

  open(options: OpenOptions = {}): Promise<Replica> {
    return openReplica(`s3://${this.s3.options.bucket}/db`, {
      endpoint: this.s3.endpoint,
      credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "any" },
      pollIntervalMs: 0,
      ...options,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.folder.close();
    await this.s3.close();
  }
}
