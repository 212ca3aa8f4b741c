/**
 * A reader of the model replica that goes by `Catalog`, `followStep()` and `rebasePlan()`, checked at each step.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Catalog } from "../../src/follow/catalog.ts";
import { type FollowStep, followStep } from "../../src/follow/follow_step.ts";
import { rebasePlan } from "../../src/follow/rebase.ts";
import { LEVELS } from "../../src/view/listing.ts";
import { type ReplicaFile, SNAPSHOT_LEVEL } from "../../src/view/restore_plan.ts";
import { Random } from "../support/random.ts";
import type { Image, Moment, ReplicaModel } from "./replica_model.ts";

/** How the reader lists. */
export interface Look {
  /** 0: each level after the ones below it; 1: in any order. */
  readonly torn: number;
  /** Which moments the levels' listings see, as a seed; 0: all the present one. */
  readonly lag: number;
  /** 1: from the catalog's marks on; 0: whole levels. */
  readonly marks: number;
}

/** What of the reader can be replaced by something wrong. */
export interface Parts {
  readonly step: (position: bigint, files: readonly ReplicaFile[]) => FollowStep;
  readonly fold: (image: Image, file: Image) => Image;
  readonly newCatalog: () => Catalog;
  /** Whether a file is of the database that the view shows. */
  readonly checksIdentity: boolean;
  /** Whether steps are held to their contract; without, the pages alone tell what is wrong. */
  readonly checksSteps: boolean;
}

/** Adds a file to an image; see the LTX format reference, section 16. */
function fold(image: Image, { commit, pages }: Image): Image {
  const merged = [...image.pages, ...pages].filter(([pgno]) => pgno <= commit);
  return { commit, pages: new Map(merged) };
}

export const PARTS: Parts = {
  step: followStep,
  fold,
  newCatalog: () => new Catalog(),
  checksIdentity: true,
  checksSteps: true,
};

const EMPTY: Image = { commit: 0, pages: new Map() };
const STEPS_MAX = 300;

export class ReaderModel {
  position = 0n;
  readonly tally: Map<string, number>;
  readonly #replica: ReplicaModel;
  readonly #parts: Parts;
  readonly #catalog: Catalog;
  /** The moments that the last listing of each level saw. */
  readonly #seen: number[] = LEVELS.map(() => 0);
  /** The newest moment that anything was seen of. */
  #asked = 0;
  #lineage: number | undefined;
  #image: Image = EMPTY;
  #plan: ReplicaFile[] = [];

  constructor(replica: ReplicaModel, parts: Parts, tally: Map<string, number>) {
    this.#replica = replica;
    this.#parts = parts;
    this.#catalog = parts.newCatalog();
    this.tally = tally;
  }

  /** Lists and goes on as far as the listing leads. `isTame`: keys only ever came in ascending order on each level. */
  look(look: Look, isTame: boolean): void {
    const moments = this.#momentsOf(look);
    const dubious = LEVELS.flatMap((level) => this.#knownAtMark(level));
    for (const level of LEVELS) this.#list(level, moments[level]!, look.marks === 1);
    if (look.marks === 1 && look.lag === 0) this.#checkToldAgain(dubious);
    if (look.marks === 1 && look.lag === 0 && isTame) this.#checkNothingMissed();
    const isWhole = look.marks === 0 && look.torn === 0;
    const gone = this.#count("gone");
    const kind = this.#follow(isWhole);
    if (isWhole && this.#count("gone") === gone) this.#checkWholeLook(moments, kind, isTame);
  }

  /** Reads the next L0 file by its name, without listing. */
  poll(): void {
    const next = this.#replica.now.levels[0]!.find(({ minTxid, maxTxid }) => {
      return minTxid === this.position + 1n && maxTxid === minTxid;
    });
    if (next === undefined) return;
    this.#note("poll");
    this.#catalog.add(next);
    this.#asked = this.#replica.moments.length - 1;
    this.#follow(false);
  }

  /** Moves the view to other files when that is worth it `ms` from now. */
  rebase(ms: number): void {
    const nowMs = this.#replica.nowMs + ms;
    const plan = rebasePlan(this.position, this.#plan, this.#catalog.files(), nowMs);
    if (plan === undefined) return;
    assert.deepEqual(
      rebasePlan(this.position, plan, this.#catalog.files(), nowMs + ms),
      undefined,
      "restless",
    );
    const image = this.#foldAll(plan);
    if (image === undefined) return;
    this.#note("rebase");
    assert.equal(plan.at(-1)!.maxTxid, this.position, "rebase moves the position");
    this.#image = image;
    this.#plan = plan;
    this.#checkImage();
  }

  #momentsOf({ lag, torn }: Look): Moment[] {
    const { moments } = this.#replica;
    const random = new Random(lag);
    // One after the other: a listing begins when what was asked before has been answered.
    let below = this.#asked;
    return LEVELS.map((level) => {
      const earliest = Math.max(this.#seen[level]!, torn === 1 ? 0 : below);
      const at = lag === 0 ? moments.length - 1 : earliest + random.next(moments.length - earliest);
      this.#seen[level] = below = at;
      this.#asked = Math.max(this.#asked, at);
      return moments[at]!;
    });
  }

  #list(level: number, moment: Moment, fromMark: boolean): void {
    const files = moment.levels[level]!;
    if (!fromMark) return this.#catalog.replace(level, files);
    const mark = level === 0 ? this.#catalog.markBelow(0, this.position) : this.#catalog.mark(level);
    this.#catalog.extend(level, mark, files.filter(({ key }) => key > mark));
  }

  /** Takes steps until none leads on; returns why. */
  #follow(isWhole: boolean): FollowStep["kind"] {
    for (let count = 0; count < STEPS_MAX; count++) {
      const files = this.#catalog.files();
      const step = this.#parts.step(this.position, files);
      if (this.#parts.checksSteps) checkStep(step, this.position, files);
      if (step.kind === "advance") this.#advance(step.files);
      else if (step.kind === "replan") this.#replan(step.plan);
      else if (!this.#reopens(step, files, isWhole)) {
        this.#note(step.kind);
        return step.kind;
      }
    }
    assert.fail(`no end after ${STEPS_MAX} steps`);
  }

  #advance(files: readonly ReplicaFile[]): void {
    for (const file of files) {
      const content = this.#read(file);
      if (content === undefined) return;
      this.#note(content.commit < this.#image.commit ? "shrink" : "advance");
      if (file.level > 0 && file.minTxid <= this.position && this.position > 0n) this.#note("straddle");
      this.#image = this.#parts.fold(this.#image, content);
      this.#plan.push(file);
      this.#arrive(file.maxTxid);
    }
  }

  #replan(plan: ReplicaFile[]): void {
    const before = this.#lineage;
    const image = this.#foldAll(plan);
    if (image === undefined) return;
    this.#note(before === undefined ? "open" : "replan");
    this.#image = image;
    this.#plan = [...plan];
    this.#arrive(plan.at(-1)!.maxTxid);
  }

  /** The files' pages, or undefined when one is gone or of another database. */
  #foldAll(files: readonly ReplicaFile[]): Image | undefined {
    let image = EMPTY;
    for (const file of files) {
      const content = this.#read(file);
      if (content === undefined) return undefined;
      image = this.#parts.fold(image, content);
    }
    return image;
  }

  #read(file: ReplicaFile): Image | undefined {
    const content = this.#replica.read(file);
    if (content === undefined) {
      this.#note("gone");
      this.#catalog.forget(file.key);
      return undefined;
    }
    const lineage = this.#replica.lineageOf(file);
    if (this.#parts.checksIdentity && this.#lineage !== undefined && this.#lineage !== lineage) {
      this.#reopen();
      return undefined;
    }
    this.#lineage ??= lineage;
    return content;
  }

  /**
   * Whether the replica was replaced: a whole listing that ends below the position, or ends at it with a file of
   * another database, which is what a listing from the position on shows by the files' ETags.
   */
  #reopens(step: FollowStep, files: readonly ReplicaFile[], isWhole: boolean): boolean {
    if (this.position === 0n) return false;
    const ends = files.filter((file) =>
      file.maxTxid === this.position && this.#replica.read(file) !== undefined
    );
    const isOther = ends.some((file) => this.#replica.lineageOf(file) !== this.#lineage);
    const isBehind = isWhole && step.kind === "behind" && this.#lineage !== this.#replica.lineage;
    // Files lie beyond a gap, none of them of this database.
    const isBeyond = isWhole && step.kind === "gap" && this.#isOther(step.next);
    if (!isOther && !isBehind && !isBeyond) return false;
    if (isBehind) this.#note("replaced by less");
    this.#reopen();
    return true;
  }

  /** Whether the file is there, not only in a listing, and of another database than the view. */
  #isOther(file: ReplicaFile): boolean {
    return this.#replica.lineageOf(file) !== this.#lineage && this.#replica.read(file) !== undefined;
  }

  #reopen(): void {
    this.#note("replaced");
    this.position = 0n;
    this.#image = EMPTY;
    this.#plan = [];
    this.#lineage = undefined;
  }

  #arrive(position: bigint): void {
    if (position > this.position) this.position = position;
    else assert.ok(!this.#parts.checksSteps, `position went from ${this.position} to ${position}`);
    this.#checkImage();
  }

  #checkImage(): void {
    const wanted = this.#replica.stateAt(this.#lineage!, this.position);
    const show = ({ commit, pages }: Image) =>
      `${commit}: ${[...pages].sort(([a], [b]) => a - b).map(([pgno, txid]) => `${pgno}@${txid}`).join(" ")}`;
    assert.equal(show(this.#image), show(wanted), `pages at TXID ${this.position}`);
  }

  /**
   * A listing whose levels were listed upwards raises no false alarm and leads as far as L0 did when it began. Only a
   * compactor that leaves out what L0 gained meanwhile makes it show a gap.
   */
  #checkWholeLook(moments: readonly Moment[], kind: FollowStep["kind"], isTame: boolean): void {
    const { lineage, damaged } = this.#replica;
    if (damaged || moments[0]!.lineage !== lineage) return;
    this.#note("whole look");
    if (isTame || kind !== "gap") assert.equal(kind, "current", "false alarm");
    assert.ok(this.position >= moments[0]!.last, `listed ${moments[0]!.last}, reached ${this.position}`);
  }

  /** The known files that listing a level from its mark on is to tell again. */
  #knownAtMark(level: number): ReplicaFile[] {
    const files = this.#catalog.level(level);
    if (level > 0) return files.slice(-1);
    return files.filter(({ minTxid, maxTxid }) => minTxid <= this.position && maxTxid >= this.position);
  }

  /** Of these files the catalog holds what has their names now, or nothing. */
  #checkToldAgain(files: readonly ReplicaFile[]): void {
    for (const { level, key } of files) {
      const known = this.#catalog.level(level).find((file) => file.key === key);
      const now = this.#replica.now.levels[level]!.find((file) => file.key === key);
      assert.equal(known?.etag, now?.etag, `outdated: ${key}`);
    }
  }

  /** Listing from the marks on has told every file that ends beyond the position. */
  #checkNothingMissed(): void {
    this.#note("marks");
    const known = new Set(this.#catalog.files().map(({ etag }) => etag));
    for (const file of this.#replica.now.levels.flat()) {
      if (file.maxTxid > this.position) assert.ok(known.has(file.etag), `missed ${file.key}`);
    }
  }

  #count(what: string): number {
    return this.tally.get(what) ?? 0;
  }

  #note(what: string): void {
    this.tally.set(what, this.#count(what) + 1);
  }
}

/** The furthest TXID that any order of files leads to. */
function furthest(position: bigint, files: readonly ReplicaFile[]): bigint {
  let reached = position;
  for (;;) {
    const next = files.find(({ minTxid, maxTxid }) => minTxid <= reached + 1n && maxTxid > reached);
    if (next === undefined) return reached;
    reached = next.maxTxid;
  }
}

/** Checks a step against its contract. */
function checkStep(step: FollowStep, position: bigint, files: readonly ReplicaFile[]): void {
  const newest = files.reduce((max, { maxTxid }) => maxTxid > max ? maxTxid : max, 0n);
  const reach = furthest(position, files);
  switch (step.kind) {
    case "current":
      return assert.equal(newest, position, `current at ${position}, files go to ${newest}`);
    case "behind":
      assert.ok(newest < position, `behind at ${position}, files go to ${newest}`);
      return assert.equal(step.newest, newest);
    case "gap": {
      assert.ok(newest > position && reach === position, `gap at ${position}, files lead to ${reach}`);
      const beyond = files.filter(({ minTxid }) => minTxid > position);
      return assert.ok(
        beyond.every(({ minTxid }) => minTxid >= step.next.minTxid),
        "gap: next begins lowest",
      );
    }
    case "advance":
      assert.ok(step.files.every(({ level }) => level < SNAPSHOT_LEVEL), "advance: levels 0–8");
      return checkChain(step.files, position, reach);
    case "replan":
      assert.ok(
        step.plan[0]!.level === SNAPSHOT_LEVEL && step.plan[0]!.maxTxid > position,
        "replan: newer snapshot",
      );
      return checkChain(step.plan, 0n, reach);
  }
}

function checkChain(files: readonly ReplicaFile[], from: bigint, reach: bigint): void {
  let reached = from;
  for (const { key, minTxid, maxTxid } of files) {
    assert.ok(minTxid <= reached + 1n && maxTxid > reached, `${key} does not lead on from ${reached}`);
    reached = maxTxid;
  }
  assert.equal(reached, reach, `step goes to ${reached}, files lead to ${reach}`);
}
