/**
 * The process as a command sees it.
 *
 * @module
 */
import process from "node:process";
import type { Readable } from "node:stream";

/** A stream that text is written to. */
export interface CliStream {
  /** Whether it is a terminal. */
  readonly isTTY?: boolean;
  /** Of a terminal. */
  readonly columns?: number;
  /** Takes text, and calls back when it is gone, or cannot go. */
  write(text: string, onTaken: (error?: Error | null) => void): unknown;
  /** Hears of failures. */
  on(event: "error", listener: (error: Error) => void): unknown;
}

/** Where lines come from. */
export interface CliInput extends Readable {
  /** Whether it is a terminal. */
  readonly isTTY?: boolean;
  /** Of a terminal: whether keys come one by one, and none is a signal. */
  setRawMode?(isRaw: boolean): unknown;
}

/** Signals that ask a command to end. */
export type EndSignal = "SIGINT" | "SIGTERM" | "SIGHUP";

/** Everything of a process that a command uses. */
export interface CliIo {
  /** Where SQL and lines come from. */
  readonly stdin: CliInput;
  /** Where results go. */
  readonly stdout: CliStream;
  /** Where all else goes. */
  readonly stderr: CliStream;
  /** Variables by name. */
  readonly env: Record<string, string | undefined>;
  /** Hears signals in place of their ending the process, until the function given back is called. */
  onSignal(listener: (signal: EndSignal) => void): () => void;
  /** Ends the process right now. */
  exit(code: number): void;
}

const SIGNALS: readonly EndSignal[] = ["SIGINT", "SIGTERM", "SIGHUP"];

/** The process itself. */
export function processIo(): CliIo {
  return {
    stdin: process.stdin,
    stdout: process.stdout as unknown as CliStream,
    stderr: process.stderr as unknown as CliStream,
    env: process.env,
    onSignal(listener) {
      // not every runtime tells which signal has come
      const takers = SIGNALS.map((signal) => [signal, () => listener(signal)] as const);
      for (const [signal, taker] of takers) process.on(signal, taker);
      return () => {
        for (const [signal, taker] of takers) process.off(signal, taker);
      };
    },
    exit: (code) => process.exit(code),
  };
}
