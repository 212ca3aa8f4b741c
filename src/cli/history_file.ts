/**
 * What was typed in the shell, kept for the next one.
 *
 * @module
 */
import { appendFileSync, chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Lines that are kept. */
const LINES_MAX = 1_000;

/** Where it lies: `$XDG_STATE_HOME/litestream-vfs/shell_history`; undefined where there is no home. */
export function historyPath(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const state = env.XDG_STATE_HOME || (env.HOME && join(env.HOME, ".local", "state"));
  return state ? join(state, "litestream-vfs", "shell_history") : undefined;
}

/** A file of lines that its owner alone can read. What cannot be kept is not worth ending a shell for. */
export class HistoryFile {
  readonly #path: string | undefined;

  /** `path` undefined: nothing is kept. */
  constructor(path: string | undefined) {
    this.#path = path;
  }

  /** Lines of earlier shells, the newest first, as node:readline wants them. */
  read(): string[] {
    if (this.#path === undefined) return [];
    try {
      const lines = readFileSync(this.#path, "utf8").split("\n").filter((line) => line !== "");
      if (lines.length > LINES_MAX * 2) this.#replace(lines.slice(-LINES_MAX));
      return lines.slice(-LINES_MAX).reverse();
    } catch {
      return [];
    }
  }

  /** Keeps a line, unless it may hold a secret or begins with a space, which says that it is not to be kept. */
  add(line: string): void {
    if (this.#path === undefined || line.trim() === "" || /^\s|^\.open\b|:\/\/[^\s/]*@/.test(line)) return;
    try {
      mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
      appendFileSync(this.#path, `${line}\n`, { mode: 0o600 });
      chmodSync(this.#path, 0o600); // it may have been there, and open to all
    } catch {
      // a read-only home: the shell works without
    }
  }

  #replace(lines: readonly string[]): void {
    writeFileSync(this.#path!, `${lines.join("\n")}\n`, { mode: 0o600 });
  }
}
