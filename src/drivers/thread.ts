/**
 * Starts a thread that runs a module of ours. `parent()` is its side.
 *
 * @module
 */
import type { WorkerOptions } from "node:worker_threads";
import { ENDS, HEARS, WEB_THREAD } from "./parent.ts";
import { mayRead } from "./permissions.ts";

/** A thread of this process. */
export interface Thread {
  /** Sends it plain data, once it hears. */
  post(message: object): void;
  /** Whether the process waits for it; so it does at first. */
  hold(isHeld: boolean): void;
  /** Ends it where it is. */
  terminate(): Promise<void>;
}

/** What a thread does to who has started it. */
export interface ThreadEvents {
  onMessage(message: unknown): void;
  /** What it did not catch. It ends. */
  onError(cause: unknown): void;
  /** It has ended, however it came to that. */
  onEnd(): void;
}

/** How a thread is started. */
export interface ThreadStart {
  /** Its module. */
  readonly url: URL;
  /** What that module loads, where it lies nowhere: `workerData` of `node:worker_threads`. */
  readonly source: string | undefined;
  /** Whether it may have a copy of all variables of the environment; otherwise it shares them. */
  readonly copiesEnvironment: boolean;
}

/** What one kind of worker has. */
interface Worker {
  post(message: unknown): void;
  hold(isHeld: boolean): void;
  terminate(): Promise<void>;
}

/** A method of Deno's own workers that says whether the process waits for them. */
type Hold = (this: WebWorker, isHeld: boolean) => void;

interface WebWorker extends EventTarget {
  postMessage(message: unknown): void;
  terminate(): void;
}

interface WebWorkerClass {
  readonly prototype: WebWorker & Readonly<Record<symbol, unknown>>;
  new (url: URL, options: { readonly type: "module"; readonly name: string }): WebWorker;
}

/**
 * Starts one.
 *
 * @throws {Error} it cannot be started; some runtimes tell that as what the thread did not catch
 */
export async function startThread(start: ThreadStart, events: ThreadEvents): Promise<Thread> {
  const hold = "Deno" in globalThis && isReadable(start) ? webHold() : undefined;
  // What a runtime hands out before anybody hears it is lost. Deno's own workers are handed nothing before their module has been
  // evaluated, and the thread that starts one may be busy until long after that.
  let early: object[] | undefined = hold ? undefined : [];
  const onMessage = (message: unknown) => {
    if (message !== HEARS) return events.onMessage(message);
    for (const each of early ?? []) worker.post(each);
    early = undefined;
  };
  const heard = { ...events, onMessage };
  const worker = hold ? webWorker(start, heard, hold) : await nodeWorker(start, heard);
  return {
    post: (message) => early ? void early.push(message) : worker.post(message),
    hold: (isHeld) => worker.hold(isHeld),
    terminate: () => worker.terminate(),
  };
}

async function nodeWorker(
  { url, source, copiesEnvironment }: ThreadStart,
  events: ThreadEvents,
): Promise<Worker> {
  const { SHARE_ENV, Worker } = await import("node:worker_threads");
  const options = copiesEnvironment ? {} : { env: SHARE_ENV as NonNullable<WorkerOptions["env"]> };
  const worker = new Worker(url, { workerData: { source }, ...options });
  worker.on("message", events.onMessage);
  worker.on("error", events.onError);
  worker.on("exit", events.onEnd);
  return {
    post: (message) => worker.postMessage(message),
    hold: (isHeld) => isHeld ? worker.ref() : worker.unref(),
    terminate: async () => void await worker.terminate(),
  };
}

/**
 * The same in Deno as its own worker. One of `node:worker_threads` takes it 40 ms longer to begin, as Node's globals are set up
 * before anything else, and the thread that starts it waits for that.
 */
function webWorker({ url }: ThreadStart, events: ThreadEvents, hold: Hold): Worker {
  const { Worker } = globalThis as unknown as { Worker: WebWorkerClass };
  const worker = new Worker(url, { type: "module", name: WEB_THREAD });
  let isRunning = true;
  let isHeldNow = true;
  const end = () => {
    if (!isRunning) return;
    isRunning = false;
    worker.terminate();
    events.onEnd();
  };
  worker.addEventListener("message", (event) => {
    const { data } = event as MessageEvent;
    if (data === ENDS) end();
    else if (isRunning) events.onMessage(data);
  });
  worker.addEventListener("error", (event) => {
    event.preventDefault(); // or it would be this thread's, too
    const { error, message } = event as ErrorEvent;
    events.onError(error ?? new Error(message.replace(/^Uncaught (?:\(in promise\) )?(?:Error: )?/, "")));
    end();
  });
  return {
    post: (message) => worker.postMessage(message),
    hold(isHeld) {
      if (isHeld === isHeldNow) return; // Deno counts
      isHeldNow = isHeld;
      hold.call(worker, isHeld);
    },
    terminate() {
      end();
      return Promise.resolve();
    },
  };
}

/**
 * What `ref()` and `unref()` of `node:worker_threads` call in Deno: its own workers' only method whose name is a symbol without
 * a description. Undefined where there is none, or more than one.
 */
function webHold(): Hold | undefined {
  const { Worker } = globalThis as unknown as { Worker?: Partial<WebWorkerClass> };
  const symbols = Worker?.prototype ? Object.getOwnPropertySymbols(Worker.prototype) : [];
  const [symbol, ...more] = symbols.filter((symbol) => !symbol.description);
  if (symbol === undefined || more.length > 0) return undefined;
  const hold = Object.getOwnPropertyDescriptor(Worker!.prototype!, symbol)?.value;
  return typeof hold === "function" && hold.length === 1 ? hold as Hold : undefined;
}

/** Whether the module may be read without asking: otherwise Node's worker says so to whoever starts it. */
function isReadable({ url, source }: ThreadStart): boolean {
  if (source !== undefined) return false;
  return url.protocol !== "file:" || mayRead(decodeURIComponent(url.pathname));
}
