import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { Catalog } from "../../src/follow/catalog.ts";
import { type FollowStep, followStep } from "../../src/follow/follow_step.ts";
import { formatTxid } from "../../src/ltx/txid.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";
import { Random } from "../support/random.ts";
import { PARTS, type Parts } from "./reader_model.ts";
import type { Image } from "./replica_model.ts";
import { type Event, faultOf, randomSchedule, runSchedule, scriptOf, shrink } from "./schedule.ts";

const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);
const ROUNDS = Number(process.env.FOLLOW_ROUNDS ?? (process.env.LONG ? 60_000 : 2000));

/** What the schedules must have met, each often. */
const MET = [
  "advance",
  "behind",
  "current",
  "gap",
  "gone",
  "marks",
  "open",
  "poll",
  "rebase",
  "replaced",
  "replaced by less",
  "replan",
  "shrink",
  "straddle",
  "whole look",
];

interface Failure {
  readonly round: number;
  readonly events: Event[];
  readonly error: Error;
}

/** The first schedule that fails, made small. */
function findFailure(
  seed: number,
  rounds: number,
  parts: Partial<Parts> = {},
  tally = new Map(),
): Failure | undefined {
  for (let round = 0; round < rounds; round++) {
    const events = randomSchedule(new Random(seed + round));
    if (faultOf(events, { parts, tally }) === undefined) continue;
    const small = shrink(events, (some) => faultOf(some, { parts }) !== undefined);
    return { round, events: small, error: faultOf(small, { parts })! };
  }
  return undefined;
}

test(`a reader equals the database at its position on random schedules (${ROUNDS} rounds, FUZZ_SEED=${SEED})`, () => {
  const tally = new Map<string, number>();
  const failure = findFailure(SEED, ROUNDS, {}, tally);
  if (failure) {
    const { round, events, error } = failure;
    throw new Error(`FUZZ_SEED=${SEED + round}: ${error.message}\n${scriptOf(events)}`, { cause: error });
  }
  if (ROUNDS < 1000) return;
  for (const kind of MET) assert.ok((tally.get(kind) ?? 0) > ROUNDS / 200, `${kind}: ${tally.get(kind)}`);
});

/** Appends files of higher levels that end at or below the position, as if a newer listing outweighed an older one. */
function overlaysOlder(position: bigint, files: readonly ReplicaFile[]): FollowStep {
  const step = followStep(position, files);
  const older = files.filter(({ level, maxTxid }) => level > 0 && level < 9 && maxTxid <= position);
  return step.kind === "advance" ? { kind: "advance", files: [...step.files, ...older] } : step;
}

/** Applies levels from 0 up, whatever their TXIDs. */
function goesByLevel(position: bigint, files: readonly ReplicaFile[]): FollowStep {
  const step = followStep(position, files);
  return step.kind === "advance"
    ? { kind: "advance", files: step.files.toSorted((a, b) => a.level - b.level) }
    : step;
}

function wantsExactlyTheNext(position: bigint, files: readonly ReplicaFile[]): FollowStep {
  return followStep(position, files.filter(({ level, minTxid }) => level === 9 || minTxid !== position));
}

function neverReplans(position: bigint, files: readonly ReplicaFile[]): FollowStep {
  return followStep(
    position,
    files.filter(({ level, maxTxid }) => level < 9 || maxTxid <= position || position === 0n),
  );
}

function dropsMapOnShrink(image: Image, file: Image): Image {
  return PARTS.fold(file.commit < image.commit ? { ...image, pages: new Map() } : image, file);
}

function keepsPagesPastCommit(image: Image, { commit, pages }: Image): Image {
  return { commit, pages: new Map([...image.pages, ...pages]) };
}

function neverShrinks(image: Image, { commit, pages }: Image): Image {
  return PARTS.fold(image, { commit: Math.max(commit, image.commit), pages });
}

class ForgetfulOfNothing extends Catalog {
  override forget(): void {}
}

class MarksPastTheEnd extends Catalog {
  override mark(level: number): string {
    return this.level(level).length === 0 ? "" : `000${level}/ffffffffffffffff`;
  }
}

class MarksPastThePosition extends Catalog {
  override markBelow(_level: number, txid: bigint): string {
    return `0000/${formatTxid(txid)}~`;
  }
}

class MarksPastTheNext extends Catalog {
  override markBelow(_level: number, txid: bigint): string {
    return `0000/${formatTxid(txid + 1n)}~`;
  }
}

/** Each mistake with what the shrunk schedule fails by and how many events it needs at most. */
const MUTANTS: readonly (readonly [name: string, parts: Partial<Parts>, fault: RegExp, events: number])[] = [
  ["R1: older files are overlaid", { step: overlaysOlder, checksSteps: false }, /pages at TXID/, 8],
  [
    "R1: files that end at or below the position are applied",
    { step: overlaysOlder },
    /does not lead on from/,
    8,
  ],
  ["R1: files are applied by level", { step: goesByLevel }, /does not lead on from/, 8],
  [
    "R3: files that begin at the position are passed over",
    { step: wantsExactlyTheNext },
    /files (lead|go) to/,
    8,
  ],
  ["R4: newer snapshots are passed over", { step: neverReplans }, /files (lead|go) to/, 8],
  ["R2: a shrink drops the map", { fold: dropsMapOnShrink }, /pages at TXID/, 5],
  ["R6: pages past commit are kept", { fold: keepsPagesPastCommit }, /pages at TXID/, 4],
  ["R6: the size never shrinks", { fold: neverShrinks }, /pages at TXID/, 4],
  ["R4: what is gone is asked for again", { newCatalog: () => new ForgetfulOfNothing() }, /no end after/, 8],
  [
    "R12: listings begin past the last known name",
    { newCatalog: () => new MarksPastTheEnd() },
    /missed|behind|outdated/,
    8,
  ],
  ["R12: listings begin past the position", { newCatalog: () => new MarksPastThePosition() }, /outdated/, 8],
  [
    "R12: listings begin past the next TXID",
    { newCatalog: () => new MarksPastTheNext() },
    /missed|behind|outdated/,
    8,
  ],
  ["another replica's files are applied", { checksIdentity: false }, /pages at TXID|undefined/, 8],
];

for (const [name, parts, fault, most] of MUTANTS) {
  test(`random schedules catch a reader where ${name}`, () => {
    const failure = findFailure(1, 2000, parts);
    assert.ok(failure, "not caught");
    assert.match(failure.error.message, fault);
    assert.ok(failure.events.length <= most, scriptOf(failure.events));
  });
}

test("shrink() leaves only what a failure needs", () => {
  const events = randomSchedule(new Random(7));
  const fails = (some: readonly Event[]) =>
    some.filter((event) => event.do === "write").length >= 2 && some.some((event) => event.do === "look");
  assert.ok(fails(events));
  const small = shrink(events, fails);
  assert.deepEqual(small.map((event) => event.do).sort(), ["look", "write", "write"]);
  assert.deepEqual(small.find((event) => event.do === "write"), {
    do: "write",
    pages: 0,
    commit: 0,
    txids: 1,
    whole: 0,
  });
});

test("R2: a shrink followed by a growth keeps the pages that were not written", () => {
  const write = { do: "write", pages: 1, commit: 0, txids: 1, whole: 0 } as const;
  const look = { do: "look", torn: 0, lag: 0, marks: 0 } as const;
  const tally = new Map<string, number>();
  runSchedule(
    [{ ...write, commit: 12 }, look, { ...write, commit: 5 }, look, { ...write, commit: 8 }, look],
    {
      tally,
    },
  );
  assert.equal(tally.get("shrink"), 1);
});
