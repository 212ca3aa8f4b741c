/**
 * What is done before a signal ends the process: open writers store what was committed.
 *
 * @module
 */
import { isMainThread, ownProcess } from "./drivers/host.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
type Signal = typeof SIGNALS[number];

/** What a shell tells of a process that one of them ended: 128 and this number. */
const NUMBERS: Readonly<Record<Signal, number>> = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };

/** The process is not held up longer than this, in ms. */
const FLUSH_MAX_MS = 10_000;

/** What a signal has done first; it does not throw. */
type Flush = () => Promise<unknown>;

const flushes = new Set<Flush>();
let ending = false;

/** A listener of each signal's own: not every runtime tells which one has come. */
const takers = new Map(SIGNALS.map((signal) => [signal, () => void take(signal)]));

/** Signals of which a listener has just gone, as one for a single time does before it is called. */
const justLeft = new Set<string | symbol>();

function noteLeaving(signal: string | symbol): void {
  justLeft.add(signal);
  setTimeout(() => justLeft.delete(signal), 0);
}

/**
 * Has `flush` run when a signal asks the process to end; a second one does not wait. Where the application listens to the
 * signal as well, it is the one that ends the process. Only the main thread knows who listens: elsewhere this does nothing.
 * Returns what takes this back.
 */
export function onExitSignal(flush: Flush): () => void {
  if (!isMainThread()) return () => {};
  if (flushes.size === 0) {
    for (const [signal, taker] of takers) listen(signal, taker);
    ownProcess().on("removeListener", noteLeaving);
  }
  flushes.add(flush);
  return () => {
    if (flushes.delete(flush) && flushes.size === 0) leave();
  };
}

/** Before others: one for a single time is gone when it is called, which not every runtime tells. */
function listen(signal: Signal, taker: () => void): void {
  try {
    ownProcess().prependListener(signal, taker);
  } catch { // a signal that a system does not have
    ownProcess().off(signal, taker);
    ownProcess().on(signal, taker);
  }
}

function leave(): void {
  ownProcess().off("removeListener", noteLeaving);
  for (const [signal, taker] of takers) ownProcess().off(signal, taker);
}

async function take(signal: Signal): Promise<void> {
  const isOurs = ownProcess().listenerCount(signal) === 1 && !justLeft.has(signal);
  if (isOurs && ending) return end(signal);
  ending ||= isOurs;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise((resolve) => timer = setTimeout(resolve, FLUSH_MAX_MS));
  await Promise.race([Promise.all([...flushes].map((flush) => flush())), late]);
  clearTimeout(timer);
  if (isOurs) end(signal);
}

/** As if nobody had listened. */
function end(signal: Signal): void {
  leave();
  try {
    ownProcess().kill(ownProcess().pid, signal);
  } catch {
    // Deno asks for a permission to send signals
    ownProcess().exit(128 + NUMBERS[signal]);
  }
}
