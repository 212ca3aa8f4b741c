/**
 * The command line, run in three ways: in this process over streams of a test's own, as a process, and on a terminal.
 *
 * @module
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import process from "node:process";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { main } from "../../cli.ts";
import type { CliInput, CliStream, EndSignal } from "../../src/cli/process_io.ts";
import { childEnvironment } from "../support/real.ts";

const CLI = fileURLToPath(new URL("../../cli.ts", import.meta.url));

/** The runtime with what it needs to run a file; permissions are Deno's. */
const runtime = (permissions: readonly string[] = ["-A"]): string[] => [
  process.execPath,
  ...("Deno" in globalThis ? ["run", "--no-check", ...permissions] : []),
];
const DEADLINE_MS = 60_000;

/** What a command has done. */
export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** How a command is run. */
export interface RunOptions {
  readonly env?: Record<string, string>;
  readonly stdin?: string;
  /** Of a process in Deno, in place of all. */
  readonly permissions?: readonly string[];
  /** Of a process: the file that its output goes to. */
  readonly output?: string;
  /** Its output and errors are a terminal. */
  readonly isTerminal?: boolean;
}

class Gathered implements CliStream {
  text = "";
  readonly isTTY: boolean;
  readonly columns = 100;

  constructor(isTTY: boolean) {
    this.isTTY = isTTY;
  }

  write(text: string, onTaken: () => void): void {
    this.text += text;
    onTaken();
  }

  on(): void {}
}

/** Runs a command line in this process; what is in the environment is put back. */
export async function runMain(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const { env = {}, stdin = "", isTerminal = false } = options;
  const [out, err] = [new Gathered(isTerminal), new Gathered(isTerminal)];
  const before = new Map(Object.keys(env).map((name) => [name, process.env[name]]));
  Object.assign(process.env, env);
  try {
    const code = await main(args, {
      stdin: Readable.from([stdin]) as CliInput,
      stdout: out,
      stderr: err,
      env: { ...process.env, NO_COLOR: env.NO_COLOR ?? "" },
      onSignal: (_: (signal: EndSignal) => void) => () => {},
      exit: (code) => {
        throw new Error(`Cannot exit with ${code} in a test`);
      },
    });
    return { code, out: out.text, err: err.text };
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

/** Starts a command line as a process. */
export function startCli(
  args: readonly string[],
  env: Record<string, string> = {},
  { permissions, output }: Pick<RunOptions, "permissions" | "output"> = {},
): ChildProcess {
  const [program, ...before] = runtime(permissions);
  const file = output === undefined ? undefined : openSync(output, "w");
  try {
    return spawn(program!, [...before, CLI, ...args], {
      env: childEnvironment(env),
      stdio: ["pipe", file ?? "pipe", "pipe"],
    });
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** Runs a command line as a process, to its end. */
export async function runCli(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const child = startCli(args, options.env, options);
  const ran = gather(child);
  child.stdin!.end(options.stdin ?? "");
  return await ran;
}

/** What a process says until it ends. */
export async function gather(child: ChildProcess): Promise<Ran> {
  let [out, err] = ["", ""];
  child.stdout?.on("data", (data) => out += data);
  child.stderr!.on("data", (data) => err += data);
  const [code, signal] = await once(child, "close");
  return { code: code ?? signal, out, err };
}

/** Copies between a terminal and pipes: the last argument is the program's arguments. */
const PTY = `
import fcntl, os, pty, select, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    os.execvp(sys.argv[1], sys.argv[1:])
sources = [fd, 0]
while True:
    ready, _, _ = select.select(sources, [], [])
    if 0 in ready:
        data = os.read(0, 65536)
        if data: os.write(fd, data)
        else: sources.remove(0)
    if fd in ready:
        try: data = os.read(fd, 65536)
        except OSError: break
        if not data: break
        os.write(1, data)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 255)
`;

/** Python with which terminals are made; undefined where there is none. */
export function terminalMaker(): string | undefined {
  return spawnSync("python3", ["-c", "import pty, os; os.waitstatus_to_exitcode"]).status === 0
    ? "python3"
    : undefined;
}

/** A command line on a terminal. */
export class Terminal {
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown[]>;
  #shown = "";
  #seen = 0;
  #onShown: () => void = () => {};

  constructor(args: readonly string[], env: Record<string, string> = {}) {
    this.#child = spawn("python3", ["-c", PTY, ...runtime(), CLI, ...args], {
      env: childEnvironment({ TERM: "xterm", ...env }),
    });
    this.#closed = once(this.#child, "close");
    this.#child.stdout!.on("data", (data) => {
      this.#shown += data;
      this.#onShown();
    });
    this.#closed.then(() => this.#onShown());
  }

  /** All that was shown. */
  get shown(): string {
    return this.#shown;
  }

  /** Types. */
  type(text: string): void {
    this.#child.stdin!.write(text);
  }

  /** Waits until something is shown behind what was waited for last; gives what is between. */
  async until(wanted: string | RegExp): Promise<string> {
    const timeout = AbortSignal.timeout(DEADLINE_MS);
    for (;;) {
      const rest = this.#shown.slice(this.#seen);
      const at = typeof wanted === "string" ? rest.indexOf(wanted) : rest.search(wanted);
      const length = typeof wanted === "string" ? wanted.length : wanted.exec(rest)?.[0].length ?? 0;
      if (at >= 0) {
        this.#seen += at + length;
        return rest.slice(0, at + length);
      }
      const hasEnded = this.#child.exitCode !== null;
      if (timeout.aborted || hasEnded) {
        throw new Error(`Cannot find ${wanted} on the terminal: ${JSON.stringify(rest)}`);
      }
      await new Promise<void>((resolve) => {
        this.#onShown = resolve;
        timeout.addEventListener("abort", () => resolve(), { once: true });
      });
    }
  }

  /** Waits until the program ends; gives its code. */
  async ended(): Promise<number> {
    const [code] = await this.#closed;
    return code as number;
  }

  /** Ends it in any case. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }
}
