/**
 * A range of a file's frames that is being fetched, or waits to be: its pages land in groups, in their order.
 *
 * @module
 */
import type { PlanFile } from "../view/plan_file.ts";
import type { FrameRange, FrameState } from "./frames.ts";

/** A group ends with the frame that makes it as large as this: one run of the pool, which goes or stays as a whole. */
export const GROUP_FRAMES = 16;
const GROUP_BYTES = 64 * 1024;

/** Frames that land together. */
export interface FlightGroup extends FrameRange {
  /** Bytes of the range before the group, and through its end. */
  readonly start: number;
  readonly end: number;
}

/** What a flight is made of. */
export interface FlightOptions {
  readonly file: PlanFile;
  /** Its first frame. */
  readonly first: number;
  /** Its frames. */
  readonly frames: readonly FrameState[];
  /** The view it is fetched for. */
  readonly viewId: number;
  /** The connection it is fetched for; 0 for none. */
  readonly connection: number;
  /** Its place in the chain of requests that waited for one another. */
  readonly depth: number;
  /** The frame that a reader waits for; none where it is fetched ahead. */
  readonly wanted?: number;
  /** It comes from this machine's disk: no request is made for it. */
  readonly isLocal?: boolean;
  /** It comes from the store itself: what came before made no sense. */
  readonly isFresh?: boolean;
  /** Frames of a group at most; {@link GROUP_FRAMES} unless given. */
  readonly groupMax?: number;
}

interface Waiter {
  readonly frame: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** One range under way. */
export class Flight implements FrameRange {
  readonly file: PlanFile;
  readonly first: number;
  readonly count: number;
  readonly viewId: number;
  /** Whoever waits first for one that has not started pays for it. */
  connection: number;
  readonly depth: number;
  readonly wanted: number | undefined;
  readonly isLocal: boolean;
  readonly isFresh: boolean;
  readonly groups: readonly FlightGroup[];
  isStarted = false;
  /** It was to come from disk, and is not there any more: whoever waits has to ask again. */
  isVain = false;
  #landed = 0;
  #waiters: Waiter[] = [];

  constructor(options: FlightOptions) {
    const { file, first, frames, viewId, connection, depth, wanted, isLocal, isFresh, groupMax } = options;
    this.file = file;
    this.first = first;
    this.count = frames.length;
    this.viewId = viewId;
    this.connection = connection;
    this.depth = depth;
    this.wanted = wanted;
    this.isLocal = isLocal ?? false;
    this.isFresh = isFresh ?? false;
    this.groups = groupsOf(first, frames, groupMax ?? GROUP_FRAMES);
  }

  /** Bytes of the range. */
  get size(): number {
    return this.groups.at(-1)!.end;
  }

  /** Resolves when a frame's page is in the pool; rejects when it cannot be had. */
  wait(frame: number): Promise<void> {
    return new Promise((resolve, reject) => this.#waiters.push({ frame, resolve, reject }));
  }

  /** Has `enter` take what has come whole of the bytes received so far; what it throws goes to those who wait for it. */
  land(received: Uint8Array, enter: (group: FlightGroup, bytes: Uint8Array) => void): void {
    for (let group = this.groups[this.#landed]; group && group.end <= received.length;) {
      this.#landed++;
      try {
        enter(group, received.subarray(group.start, group.end));
        this.#settle(group, undefined);
      } catch (error) {
        this.#settle(group, { error });
      }
      group = this.groups[this.#landed];
    }
  }

  #settle({ first, count }: FrameRange, fault: { error: unknown } | undefined): void {
    const isIn = ({ frame }: Waiter) => frame >= first && frame < first + count;
    const waiters = this.#waiters.filter(isIn);
    this.#waiters = this.#waiters.filter((waiter) => !isIn(waiter));
    for (const { resolve, reject } of waiters) {
      if (fault) reject(fault.error);
      else resolve();
    }
  }

  /** Ends it: with an error for those who still wait, or without, so that they look again. */
  end(fault?: { readonly error: unknown }): void {
    this.#settle(this, fault);
  }
}

function groupsOf(first: number, frames: readonly FrameState[], countMax: number): FlightGroup[] {
  const groups: FlightGroup[] = [];
  let [from, start, end] = [0, 0, 0];
  for (const [i, { size }] of frames.entries()) {
    end += size;
    const count = i + 1 - from;
    if (i < frames.length - 1 && count < countMax && end - start < GROUP_BYTES) continue;
    groups.push({ first: first + from, count, start, end });
    [from, start] = [i + 1, end];
  }
  return groups;
}
