/**
 * The shim in WASM, with SQLite in the same module: for where native code is refused, or there is none for the machine.
 *
 * All threads share one memory, so what is global in C is one for all of them, as in a shared library; each has an instance
 * of the module with a stack of its own. The core's worker is another thread of these: what waits in C waits by
 * `memory.atomic.wait32`.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { gunzip } from "node:zlib";
import type { Native, NativeCalls } from "./native.ts";
import { type AbiType, symbols } from "./symbols.ts";
import { SharedClock } from "./wasm_clock.ts";
import { fileImports } from "./wasm_files.ts";
import { type HeapCalls, WasmHeap } from "./wasm_heap.ts";

/** A shim in WASM as other threads are told of it; structured-cloneable, and the memory is shared. */
export interface WasmShim {
  /** Tells it from others of this process. */
  readonly path: string;
  /** The code. */
  readonly module: WebAssembly.Module;
  /** The memory of all its threads. */
  readonly memory: WebAssembly.Memory;
}

/** SQLite's own functions without their prefix: pointers are numbers, 64-bit integers are BigInts. */
// deno-lint-ignore no-explicit-any
export type SqliteCalls = Readonly<Record<string, (...args: any[]) => any>>;

/** What a thread has of a shim in WASM beside the ABI. */
export interface WasmPart {
  /** What other threads need of it. */
  readonly shim: WasmShim;
  /** SQLite's functions. */
  readonly sqlite: SqliteCalls;
  /** The memory. */
  readonly heap: WasmHeap;
  /** Address of this thread's stack: whoever knows that the thread has ended frees it. */
  readonly stack: number;
  /** Loads the shim into that SQLite; an SQLite result code. */
  load(): number;
}

/**
 * The memory, in pages of 64 KiB: 1 GiB, of which the system gives what is used. It does not grow: an engine may tell a thread of
 * another's growth only after that thread has been led there, by a word in memory, and was refused.
 */
const PAGES = 16_384;

/** What a thread has of the memory, in bytes: its stack, a place for buffers on their way in and out, what C calls its own. */
const STACK = 1 << 20;
const SCRATCH = 1 << 16;
const OWN = 1 << 14;

/** Address of a word that is not 0 while a thread takes its stack; the linker leaves the first KiB free. */
const STACK_LOCK = 64;

/** Address of what the threads' clocks have in common. */
const CLOCK = 128;

/** How long a thread may take its stack, in ms: one that is terminated meanwhile takes it for ever. */
const STACK_LOCK_MS = 5_000;

/** How often a process that waits for its compiler looks up, in ms. */
const AWAKE_MS = 1_000;

/** Makes a shim in WASM, with a memory of its own. */
export async function makeShim(): Promise<WasmShim> {
  const { base64 } = await import("./prebuilt/wasm.ts");
  const bytes = await new Promise<Uint8Array<ArrayBuffer>>((resolve, reject) => {
    gunzip(
      Buffer.from(base64, "base64"),
      (error, bytes) => error ? reject(error) : resolve(new Uint8Array(bytes)),
    );
  });
  const module = await awake(WebAssembly.compile(bytes));
  const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared: true });
  SharedClock.begin(clockWords(memory));
  return { path: `wasm:${crypto.randomUUID()}`, module, memory };
}

/** Has a process wait for what is compiled beside it: where nothing else is under way, a runtime may end it meanwhile. */
async function awake<T>(compiling: Promise<T>): Promise<T> {
  const timer = setInterval(() => {}, AWAKE_MS);
  try {
    return await compiling;
  } finally {
    clearInterval(timer);
  }
}

type Exports = HeapCalls & Record<string, (...args: (number | bigint)[]) => number> & {
  readonly __stack_pointer: WebAssembly.Global;
  readonly __tls_size: WebAssembly.Global;
};

/** Makes this thread one of those that share a shim. */
export async function openNative(shim: WasmShim): Promise<Native> {
  const { module, memory } = shim;
  const instance = await awake(WebAssembly.instantiate(module, imports(memory, () => heap)));
  const exports = instance.exports as unknown as Exports;
  const heap = new WasmHeap(memory, exports);
  const stack = takeStack(exports, heap);
  const scratch = { address: align(stack) + STACK - 16, size: SCRATCH };
  const calls = Object.fromEntries(
    Object.entries(symbols).map((
      [name, { parameters }],
    ) => [name, bind(exports[name]!, parameters, heap, scratch)]),
  ) as unknown as NativeCalls;
  return {
    path: shim.path,
    calls,
    listen: (core, onRing) => listen(heap, exports.ls_core_bell!(core) >>> 0, { calls, core, onRing }),
    wasm: { shim, heap, stack, sqlite: sqliteCalls(exports), load: () => exports.ls_sqlite_load!() },
  };
}

/**
 * Gives the calling thread a stack, whose memory this returns; what follows it there is its scratch. Until then every thread has
 * the same stack, which only one may use at a time.
 */
function takeStack(exports: Exports, heap: WasmHeap): number {
  const words = new Int32Array(heap.bytes.buffer as SharedArrayBuffer);
  const lock = STACK_LOCK / 4;
  while (Atomics.compareExchange(words, lock, 0, 1) !== 0) {
    if (Atomics.wait(words, lock, 1, STACK_LOCK_MS) === "timed-out") throw lockLost(STACK_LOCK_MS / 1000);
  }
  try {
    if (exports.__tls_size.value > OWN) {
      throw new RangeError(`Cannot use WASM: a thread needs more than ${OWN} bytes`);
    }
    const memory = heap.alloc(STACK + SCRATCH + OWN);
    const stack = align(memory);
    exports.__stack_pointer.value = (stack + STACK - 16) | 0;
    exports.__wasm_init_tls!(stack + STACK + SCRATCH - 16);
    return memory;
  } finally {
    Atomics.store(words, lock, 0);
    Atomics.notify(words, lock, 1);
  }
}

function sqliteCalls(exports: Exports): SqliteCalls {
  const prefix = "sqlite3_";
  const own = Object.entries(exports).filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(own.map(([name, call]) => [name.slice(prefix.length), call]));
}

function clockWords({ buffer }: WebAssembly.Memory): BigInt64Array<SharedArrayBuffer> {
  return new BigInt64Array(buffer as SharedArrayBuffer, CLOCK, SharedClock.WORDS);
}

/** A thread that was terminated has left something locked. */
function lockLost(seconds: number): Error {
  return new Error(
    `Cannot go on in WASM: a thread has held a lock for ${seconds} s, as one does that is terminated inside a query; ` +
      "expected threads that end by themselves, or replicas that are closed before; start the process anew",
  );
}

/** What C asks of the runtime. */
function imports(memory: WebAssembly.Memory, heap: () => WasmHeap): WebAssembly.Imports {
  const clock = new SharedClock(clockWords(memory));
  const random = (address: number, size: number) => {
    const bytes = crypto.getRandomValues(new Uint8Array(size)); // not in shared memory
    heap().bytes.set(bytes, address >>> 0);
    return 0;
  };
  const env = {
    memory,
    random,
    ...fileImports(heap),
    lockLost: (seconds: number) => {
      throw lockLost(seconds);
    },
    monotonicMs: () => clock.nowMs(),
    nowMs: () => Date.now(),
    zoneMinutes: (ms: number) => -new Date(ms).getTimezoneOffset() || 0,
  };
  return { env, wasi_snapshot_preview1: { random_get: random } }; // the latter of the C library
}

/** One function of the ABI: buffers are copied in and, where it may write to them, out again. */
function bind(
  call: (...args: (number | bigint)[]) => number,
  parameters: readonly AbiType[],
  heap: WasmHeap,
  scratch: { readonly address: number; readonly size: number },
): (...args: (number | bigint | Uint8Array)[]) => number {
  const buffers = parameters.flatMap((type, i) => type === "buffer" || type === "bytes" ? [i] : []);
  if (buffers.length === 0) return call as (...args: unknown[]) => number;
  return (...args) => {
    const given = [...args];
    const size = buffers.reduce((sum, i) => sum + align((args[i] as Uint8Array).length), 0);
    const start = size <= scratch.size ? scratch.address : heap.alloc(size);
    try {
      const { bytes } = heap;
      let at = start;
      for (const i of buffers) {
        bytes.set(args[i] as Uint8Array, at);
        given[i] = at;
        at += align((args[i] as Uint8Array).length);
      }
      const result = call(...given as (number | bigint)[]);
      for (const i of buffers) {
        const from = given[i] as number;
        const to = args[i] as Uint8Array;
        if (parameters[i] === "buffer") to.set(bytes.subarray(from, from + to.length));
      }
      return result;
    } finally {
      if (start !== scratch.address) heap.free(start);
    }
  };
}

/** A size as places one behind another need it. */
function align(size: number): number {
  return (size + 15) & ~15;
}

/** Calls `onRing` for each change of the count that `ls_core_wait()` tells, until the core is stopped. */
async function listen(
  heap: WasmHeap,
  address: number,
  { calls, core, onRing }: { calls: NativeCalls; core: number; onRing: () => void },
): Promise<void> {
  const words = new Int32Array(heap.bytes.buffer as SharedArrayBuffer);
  const at = address / 4;
  for (let seen = 0;;) {
    const bell = Atomics.load(words, at);
    const count = calls.ls_core_wait(core, seen, 0);
    if (count < 0) return;
    if (count !== seen) onRing();
    seen = count;
    const wait = Atomics.waitAsync(words, at, bell);
    if (wait.async) await wait.value;
  }
}
