/**
 * One round of comparing as data: primaries, how Litestream replicates them, and what happens in which order.
 *
 * It is JSON, so that it can be kept, made smaller and run again.
 *
 * @module
 */
import { Draw } from "./draw.ts";
import { drawSetup, PrimaryScript, type PrimarySetup, type Step } from "./primary_script.ts";

/** How the daemon runs; times are Go durations. */
export interface DaemonSettings {
  /** Compaction intervals from level 1 on. */
  readonly levels: readonly string[];
  readonly snapshotInterval: string;
  readonly snapshotRetention: string;
  readonly l0Retention: string;
  /** Whether the release runs that stores pages as LZ4 frames. */
  readonly writesFrames: boolean;
}

/** How a replica is opened. What is absent is as by default. */
export interface ReaderSettings {
  /** Which primary's replica, by its place in the scenario. */
  readonly primary: number;
  readonly pollIntervalMs?: number;
  readonly prefetch?: "off";
  readonly cacheBytesMax?: number;
  readonly prefetchBytesMax?: number;
  /** A cache on disk: of its own, or one that all who say so share. */
  readonly cacheDir?: "own" | "shared";
  /** A local copy: one that ends with the opening, or one that is kept for the next. */
  readonly hydrate?: "private" | "kept";
  readonly sqlite?: "wasm";
}

/**
 * Which state is asked for. `part` is from 0 to 1 of what can be named by then: of all TXIDs from 1 to one past the
 * newest, of the states that `points()` lists, or of the time since the scenario began.
 */
export interface AskedMoment {
  readonly by: "newest" | "refreshed" | "txid" | "point" | "date";
  readonly part?: number;
  /** Whether an open connection is moved there by PRAGMA, in place of `connect({ asOf })`. */
  readonly isMoved?: boolean;
}

/** A connection that is asked all there is to ask, and compared. */
export interface QueryEvent {
  readonly kind: "query";
  readonly reader: number;
  /** Counts the runtime's drivers round and round. */
  readonly driver: number;
  readonly moment: AskedMoment;
  /** Whether the local copy is waited for first. */
  readonly isHydrated?: boolean;
  /** Draws what is asked. */
  readonly questions: number;
}

/** `restore()`, compared byte for byte. */
export interface RestoreEvent {
  readonly kind: "restore";
  readonly reader: number;
  readonly moment: AskedMoment;
}

/** What happens. */
export type ScenarioEvent =
  /** Statements on a primary; with `isAwaited` they are in the replica before the next event. */
  | {
    readonly kind: "write";
    readonly primary: number;
    readonly steps: readonly Step[];
    readonly isAwaited: boolean;
  }
  | { readonly kind: "pause"; readonly ms: number }
  /** The reader's next event opens its replica anew. */
  | { readonly kind: "close"; readonly reader: number }
  | QueryEvent
  | RestoreEvent
  /** All is written and replicated, and the daemon ends. */
  | { readonly kind: "settle" }
  /** Every TXID is asked of ours and of `litestream restore`. Only behind `settle`. */
  | { readonly kind: "reach"; readonly reader: number };

/** All of it. */
export interface Scenario {
  readonly seed: number;
  readonly place: "folder" | "s3";
  readonly daemon: DaemonSettings;
  readonly primaries: readonly PrimarySetup[];
  readonly readers: readonly ReaderSettings[];
  readonly events: readonly ScenarioEvent[];
}

/** How large a scenario is. */
export interface ScenarioSize {
  readonly primaries: number;
  readonly readersEach: number;
  /** Writes on each primary. */
  readonly writes: number;
  /** Reads on each primary behind the last write. */
  readonly settledReads: number;
}

const MIB = 1024 * 1024;

/** Draws a scenario; the same seed and size give the same one. */
export function drawScenario(seed: number, size: ScenarioSize): Scenario {
  const draw = new Draw(seed);
  const place = draw.chance(25) ? "s3" : "folder";
  const daemon = drawDaemon(draw);
  const primaries = draw.many(size.primaries, (i) => drawSetup(draw, `p${i}`));
  const readers = primaries.flatMap((_, i) => draw.many(size.readersEach, () => drawReader(draw, i)));
  return { seed, place, daemon, primaries, readers, events: drawEvents(draw, primaries, readers, size) };
}

function drawDaemon(draw: Draw): DaemonSettings {
  const drawn: DaemonSettings = {
    levels: draw.one([["100ms"], ["50ms", "150ms"], ["100ms", "200ms", "400ms"], ["300ms", "1s"], [
      "100ms",
      "200ms",
      "300ms",
      "500ms",
      "900ms",
    ]]),
    snapshotInterval: draw.one(["200ms", "500ms", "1s", "3s", "1h"]),
    snapshotRetention: draw.one(["100ms", "500ms", "2s", "1h", "1h"]),
    l0Retention: draw.one(["0s", "50ms", "300ms", "2s", "1h"]),
    writesFrames: draw.chance(12),
  };
  // what writes frames is older, and does not start with no retention
  return drawn.writesFrames && drawn.l0Retention === "0s" ? { ...drawn, l0Retention: "1h" } : drawn;
}

function drawReader(draw: Draw, primary: number): ReaderSettings {
  const isWasm = draw.chance(10);
  const hydrate = draw.one([undefined, undefined, "private", "kept"] as const);
  const cacheDir = draw.one([undefined, undefined, "own", "shared"] as const);
  const cacheBytesMax = draw.one([undefined, MIB, MIB, 2 * MIB]);
  return {
    primary,
    pollIntervalMs: draw.one([0, 0, 50, 250]),
    ...(draw.chance(40) && { prefetch: "off" }),
    ...(cacheBytesMax && { cacheBytesMax }),
    ...(draw.chance(20) && { prefetchBytesMax: 65_536 }),
    ...(cacheDir && { cacheDir }),
    ...(isWasm ? { sqlite: "wasm" } : hydrate && { hydrate }),
  };
}

function drawEvents(
  draw: Draw,
  primaries: readonly PrimarySetup[],
  readers: readonly ReaderSettings[],
  { writes, settledReads }: ScenarioSize,
): ScenarioEvent[] {
  const scripts = primaries.map((setup) => new PrimaryScript(draw, setup));
  const events: ScenarioEvent[] = scripts.map((script, primary) => {
    return { kind: "write", primary, steps: [script.first()], isAwaited: true };
  });
  for (let left = writes * primaries.length; left > 0; left--) {
    const primary = draw.next(primaries.length);
    const steps = draw.many(draw.between(1, 3), () => scripts[primary]!.next());
    events.push({ kind: "write", primary, steps, isAwaited: draw.chance(50) });
    for (let reads = draw.next(9); reads > 0; reads--) events.push(drawRead(draw, readers));
    if (draw.chance(25)) events.push({ kind: "pause", ms: draw.one([20, 100, 300]) });
    if (draw.chance(15)) events.push({ kind: "close", reader: draw.next(readers.length) });
  }
  events.push({ kind: "settle" });
  for (let left = settledReads * primaries.length; left > 0; left--) {
    events.push(drawRead(draw, readers));
    if (draw.chance(20)) events.push({ kind: "close", reader: draw.next(readers.length) });
  }
  primaries.forEach((_, i) =>
    events.push({ kind: "reach", reader: readers.findIndex(({ primary }) => primary === i) })
  );
  return events;
}

function drawRead(draw: Draw, readers: readonly ReaderSettings[]): ScenarioEvent {
  const reader = draw.next(readers.length);
  if (draw.chance(10)) return { kind: "restore", reader, moment: { ...drawMoment(draw), isMoved: false } };
  const { hydrate } = readers[reader]!;
  return {
    kind: "query",
    reader,
    driver: draw.next(2),
    moment: drawMoment(draw),
    ...(hydrate && draw.chance(50) && { isHydrated: true }),
    questions: draw.next(3),
  };
}

function drawMoment(draw: Draw): AskedMoment {
  const by = draw.one(
    ["newest", "newest", "refreshed", "refreshed", "txid", "point", "point", "date"] as const,
  );
  if (by === "newest" || by === "refreshed") return { by };
  return { by, part: draw.next(1000) / 1000, ...(draw.chance(30) && { isMoved: true }) };
}
