/**
 * The shim's side of a writer: where commits go, and what of them waits to be stored.
 *
 * @see ffi/writer.c
 * @module
 */
import { cString, type Native } from "../../ffi/native.ts";
import { LS } from "../../ffi/symbols.ts";
import { ReplicaError, WriteLogError } from "../errors.ts";
import { shimFault } from "../view/plan_file.ts";

/** Words that the shim tells of its writer. */
const STATE_WORDS = 9;

/** Pause before asking again while a commit is under way, in ms. */
const RETRY_MS = 2;

/**
 * A commit is given so long to come to its end, in ms: a disk may stall. One over several databases that failed in another one
 * is under way until its connection rolls back, which may be never.
 */
const COMMIT_MAX_MS = 60_000;

/** A TXID that was ended: what of the log has it. */
export interface Sealed {
  readonly txid: bigint;
  /** Number of the log's file. */
  readonly log: number;
  /** Bytes of that file up to its end. */
  readonly end: number;
  /** The last frame. */
  readonly frame: number;
  /** What its state is known by to SQLite. */
  readonly stamp: number;
}

/** What is known of a log that is being written. */
export interface LogState extends Sealed {
  /** Frames, and their bytes, that are committed and that no view has. */
  readonly pending: number;
  readonly pendingBytes: number;
  /** Whether frames may yet go to the newest file. */
  readonly isOpen: boolean;
  readonly isCommitting: boolean;
}

/** Calls of the shim for one replica. */
export class ShimWriter {
  readonly #native: Native;
  readonly #replicaId: number;
  readonly #name: string;

  /** `name` is the replica's, for messages. */
  constructor(native: Native, replicaId: number, name: string) {
    this.#native = native;
    this.#replicaId = replicaId;
    this.#name = name;
  }

  /**
   * Takes the log's lock. The first transaction has TXID `txid`; each file of the log has `base`.
   *
   * @throws {WriteLogError} another writer has it, or it cannot be made
   */
  open(
    path: string,
    { txid, base, bytesMax }: { txid: bigint; base: Uint8Array<ArrayBuffer>; bytesMax: number },
  ) {
    const { calls } = this.#native;
    const found = calls.ls_writer_open(this.#replicaId, cString(path), txid, base, BigInt(bytesMax));
    if (found === 0) return;
    const why = found === LS.BUSY ? "another writer of this machine has it" : shimFault(this.#native);
    throw new WriteLogError(`Cannot open write log "${path}": ${why}`);
  }

  /** Undefined where it went with the last connection: whoever closes by force does not wait for the core. */
  state(): LogState | undefined {
    const words = new BigUint64Array(STATE_WORDS);
    const found = this.#native.calls.ls_writer_state(this.#replicaId, new Uint8Array(words.buffer));
    return found < 0 ? undefined : decode(words);
  }

  /**
   * Ends a TXID, with the commit that is under way; undefined where nothing is committed.
   *
   * @throws {ReplicaError} the replica was closed, or the commit does not come to its end
   */
  async seal(): Promise<Sealed | undefined> {
    const words = new BigUint64Array(STATE_WORDS);
    const turn = this.#turns();
    for (;;) {
      const found = this.#native.calls.ls_writer_seal(this.#replicaId, new Uint8Array(words.buffer));
      if (found === 0) return undefined;
      if (found > 0) return decode(words);
      if (found !== LS.BUSY) {
        throw new ReplicaError(`Cannot end a TXID of ${this.#name}: the shim answers ${found}`);
      }
      await turn();
    }
  }

  /** What others made, with `txid` the next, may be written on top of. */
  settle(txid: bigint): void {
    this.#native.calls.ls_writer_settle(this.#replicaId, txid);
  }

  /** From now on nothing is committed; `error` has the reason. */
  end(error: Error): void {
    this.#native.calls.ls_writer_fault(this.#replicaId, cString(`${error.name}: ${error.message}`));
  }

  /**
   * Waits for the commit that is under way.
   *
   * @throws {ReplicaError} it does not come to its end
   */
  async idle(): Promise<void> {
    const turn = this.#turns();
    while (this.state()?.isCommitting) await turn();
  }

  /**
   * Gives the log's lock up.
   *
   * @throws {ReplicaError} a commit does not come to its end; the lock goes with its connection then
   */
  async close(): Promise<void> {
    const turn = this.#turns();
    while (this.#native.calls.ls_writer_close(this.#replicaId) === LS.BUSY) await turn();
  }

  /** Pauses, so often that a commit can have come to its end. */
  #turns(): () => Promise<void> {
    const until = performance.now() + COMMIT_MAX_MS;
    return async () => {
      if (performance.now() > until) {
        throw new ReplicaError(
          `Cannot go on writing to ${this.#name}: a commit has been under way for ${
            COMMIT_MAX_MS / 1000
          } s, ` +
            "expected its end; roll it back, or close its connection",
        );
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    };
  }
}

function decode(words: BigUint64Array): LogState {
  const number = (at: number) => Number(words[at]);
  return {
    txid: words[0]!,
    pending: number(2),
    pendingBytes: number(3),
    log: number(4),
    frame: number(5),
    stamp: number(6),
    isOpen: (words[7]! & 2n) !== 0n,
    isCommitting: (words[7]! & 4n) !== 0n,
    end: number(8),
  };
}
