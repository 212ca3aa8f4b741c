/**
 * The thread that has started this one, by `startThread()`.
 *
 * @module
 */
import type { MessagePort } from "node:worker_threads";

/** What Deno's own workers are named, where they are threads of ours. */
export const WEB_THREAD = "litestream-vfs";

/** What a thread tells besides messages, which are objects: that it hears, and that it ends. */
export const HEARS = "hears";
export const ENDS = "ends";

/** Who has started this thread. */
export interface Parent {
  /** Sends plain data. */
  post(message: object): void;
  /** Hears all that was, and is, sent here. To be called once, while the thread's module is evaluated or later. */
  listen(onMessage: (message: unknown) => void): void;
  /** Ends this thread. */
  close(): void;
}

interface WebThread extends EventTarget {
  readonly name?: string;
  readonly process?: { getBuiltinModule(name: string): unknown };
  postMessage(message: unknown): void;
  close(): void;
}

/**
 * That of this thread.
 *
 * @throws {Error} it was started otherwise
 */
export function parent(): Parent {
  const own = globalThis as unknown as WebThread;
  if (own.name === WEB_THREAD) return webParent(own);
  const threads = own.process?.getBuiltinModule("node:worker_threads") as { parentPort?: MessagePort | null };
  const port = threads?.parentPort;
  if (!port) throw new Error("Cannot run core: this is no worker's thread");
  return {
    post: (message) => port.postMessage(message),
    listen(onMessage) {
      port.on("message", onMessage);
      port.postMessage(HEARS);
    },
    // Not every runtime's port can be closed; a worker that closes itself ends in all of them.
    close: () => typeof port.close === "function" ? port.close() : own.close(),
  };
}

/** Without Node's modules, which take Deno as long to load as all of ours. */
function webParent(own: WebThread): Parent {
  return {
    post: (message) => own.postMessage(message),
    listen(onMessage) {
      own.addEventListener("message", (event) => onMessage((event as MessageEvent).data));
      own.postMessage(HEARS);
    },
    close() {
      own.postMessage(ENDS); // who has started it is not told otherwise
      own.close();
    },
  };
}
