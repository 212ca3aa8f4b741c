/**
 * Random schedules for the model replica and its reader, and how a failing one is made small.
 *
 * Every event can be run in any state, so a schedule stays one when events are left out.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Random } from "../support/random.ts";
import { type Look, PARTS, type Parts, ReaderModel } from "./reader_model.ts";
import { PAGES_MAX, ReplicaModel, type Write } from "./replica_model.ts";

export type Event =
  | { readonly do: "write" } & Write
  | { readonly do: "compact"; readonly level: number; readonly count: number }
  | { readonly do: "snapshot"; readonly back: number }
  | { readonly do: "pruneRaw" | "pruneSnapshots"; readonly count: number }
  /** A file that Litestream's compactor would not write, over TXIDs that exist. */
  | { readonly do: "extra"; readonly level: number; readonly from: number; readonly span: number }
  | { readonly do: "lose"; readonly level: number; readonly pick: number }
  | { readonly do: "startOver"; readonly txids: number; readonly snapshot: number }
  | { readonly do: "look" } & Look
  | { readonly do: "poll" }
  | { readonly do: "rebase"; readonly ms: number };

type Kind = Event["do"];

const MAKERS: { readonly [K in Kind]: (random: Random) => Event } = {
  write: (random) => ({
    do: "write",
    pages: random.next(2 ** PAGES_MAX) & random.next(2 ** PAGES_MAX),
    commit: random.next(3) === 0 ? 1 + random.next(PAGES_MAX) : 0,
    txids: random.next(4) === 0 ? 1 + random.next(4) : 1,
    whole: random.next(10) === 0 ? 1 : 0,
  }),
  compact: (random) => ({ do: "compact", level: 1 + random.next(3), count: 1 + random.next(6) }),
  snapshot: (random) => ({ do: "snapshot", back: random.next(4) }),
  pruneRaw: (random) => ({ do: "pruneRaw", count: 1 + random.next(8) }),
  pruneSnapshots: (random) => ({ do: "pruneSnapshots", count: 1 + random.next(3) }),
  extra: (random) => ({ do: "extra", level: random.next(4), from: random.next(6), span: random.next(6) }),
  lose: (random) => ({ do: "lose", level: [0, 0, 1, 2, 9][random.next(5)]!, pick: random.next(10) }),
  startOver: (random) => ({ do: "startOver", txids: random.next(12), snapshot: random.next(2) }),
  look: (random) => ({
    do: "look",
    torn: random.next(2),
    lag: random.next(2) === 0 ? 0 : 1 + random.next(1000),
    marks: random.next(2),
  }),
  poll: () => ({ do: "poll" }),
  rebase: (random) => ({ do: "rebase", ms: random.next(3) * 60_000 }),
};

/** How often each kind comes; those with a chance below 1 are in that part of the schedules only. */
const KINDS: readonly (readonly [kind: Kind, weight: number, chance: number])[] = [
  ["write", 10, 1],
  ["compact", 5, 1],
  ["snapshot", 2, 0.8],
  ["pruneRaw", 3, 0.8],
  ["pruneSnapshots", 1, 0.7],
  ["extra", 1, 0.3],
  ["lose", 1, 0.2],
  ["startOver", 1, 0.2],
  ["look", 5, 1],
  ["poll", 3, 0.6],
  ["rebase", 2, 0.6],
];

/** A schedule of 5–64 events. */
export function randomSchedule(random: Random): Event[] {
  const kinds = KINDS.filter(([, , chance]) => random.next(100) < chance * 100)
    .flatMap(([kind, weight]) => new Array<Kind>(weight).fill(kind));
  return Array.from({ length: 5 + random.next(60) }, () => MAKERS[kinds[random.next(kinds.length)]!](random));
}

/** What a run needs besides its schedule. */
export interface RunOptions {
  readonly parts?: Partial<Parts>;
  /** Counts what happened. */
  readonly tally?: Map<string, number>;
}

/** Runs a schedule to its end and on until the reader must have reached the last TXID; throws on the first fault. */
export function runSchedule(
  events: readonly Event[],
  { parts = {}, tally = new Map() }: RunOptions = {},
): void {
  const replica = new ReplicaModel();
  const reader = new ReaderModel(replica, { ...PARTS, ...parts }, tally);
  const isTame = events.every((event) => !["extra", "lose", "startOver"].includes(event.do));
  for (const event of events) runEvent(event, { replica, reader, isTame });
  finish(replica, reader, isTame);
}

interface Scene {
  readonly replica: ReplicaModel;
  readonly reader: ReaderModel;
  readonly isTame: boolean;
}

function runEvent(event: Event, { replica, reader, isTame }: Scene): void {
  switch (event.do) {
    case "write":
      return replica.write(event);
    case "compact":
      return replica.compact(event.level, event.count);
    case "snapshot":
      return replica.snapshot(event.back);
    case "pruneRaw":
      return replica.pruneRaw(event.count);
    case "pruneSnapshots":
      return replica.pruneSnapshots(event.count);
    case "extra":
      return putExtra(replica, event);
    case "lose":
      return replica.lose(event.level, event.pick);
    case "startOver":
      replica.startOver();
      for (let i = 0; i < event.txids; i++) {
        replica.write({ pages: 1 << i, commit: 3 + i, txids: 1, whole: 0 });
      }
      return event.snapshot === 1 ? replica.snapshot(0) : undefined;
    case "look":
      return reader.look(event, isTame);
    case "poll":
      return reader.poll();
    case "rebase":
      return reader.rebase(event.ms);
  }
}

function putExtra(replica: ReplicaModel, { level, from, span }: Event & { do: "extra" }): void {
  const max = replica.last - BigInt(from);
  const min = max - BigInt(span);
  if (max >= 1n) replica.put(level, min >= 1n ? min : 1n, max);
}

/** The writer stops, compaction finishes: no file is missing, so the reader comes to the end. */
function finish(replica: ReplicaModel, reader: ReaderModel, isTame: boolean): void {
  if (isTame) reader.look({ torn: 0, lag: 0, marks: 1 }, isTame);
  if (isTame) assert.equal(reader.position, replica.last, "marks: the reader stays behind");
  reader.look({ torn: 0, lag: 0, marks: 0 }, isTame);
  if (!replica.damaged) assert.equal(reader.position, replica.last, "the reader stays behind");
  for (const level of [1, 2, 3]) replica.compact(level, Infinity);
  replica.snapshot(0);
  replica.pruneRaw(Infinity);
  replica.pruneSnapshots(Infinity);
  reader.look({ torn: 0, lag: 0, marks: 0 }, isTame);
  reader.rebase(0);
  // Without a snapshot of it a lost last TXID stays lost.
  if (!replica.damaged || replica.now.levels[9]!.at(-1)?.maxTxid === replica.last) {
    assert.equal(reader.position, replica.last, "the reader stays behind for good");
  }
}

/** The error of a run, if any. */
export function faultOf(events: readonly Event[], options: RunOptions = {}): Error | undefined {
  try {
    runSchedule(events, options);
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

/** Leaves out events, then makes numbers small, as long as `fails` says that the rest fails too. */
export function shrink(events: readonly Event[], fails: (events: readonly Event[]) => boolean): Event[] {
  let smallest = [...events];
  for (;;) {
    const smaller = smallerNumbers(fewerEvents(smallest, fails), fails);
    if (JSON.stringify(smaller) === JSON.stringify(smallest)) return smallest;
    smallest = smaller;
  }
}

function fewerEvents(events: Event[], fails: (events: readonly Event[]) => boolean): Event[] {
  let kept = events;
  for (let size = Math.ceil(events.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = kept.length - size; at > -size; at -= size) {
      const fewer = kept.filter((_, i) => i < at || i >= at + size);
      if (fails(fewer)) kept = fewer;
    }
  }
  return kept;
}

function smallerNumbers(events: Event[], fails: (events: readonly Event[]) => boolean): Event[] {
  let kept = events;
  for (let at = 0; at < events.length; at++) {
    for (const [name, value] of Object.entries(events[at]!)) {
      if (typeof value !== "number") continue;
      const floor = MINIMA[`${events[at]!.do} ${name}`] ?? 0;
      for (const number of [floor, floor + 1, value >> 1, value - 1]) {
        if (number < floor || number >= value) continue;
        const smaller = kept.with(at, { ...kept[at]!, [name]: number } as Event);
        if (!fails(smaller)) continue;
        kept = smaller;
        break;
      }
    }
  }
  return kept;
}

/** The least a number can be, where that is not 0. */
const MINIMA: { readonly [eventAndName: string]: number } = { "write txids": 1, "compact level": 1 };

/** A schedule as one may paste it into a test. */
export function scriptOf(events: readonly Event[]): string {
  return events.map((event) => `  ${JSON.stringify(event)},`).join("\n");
}
