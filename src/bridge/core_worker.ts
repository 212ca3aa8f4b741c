/**
 * The core's worker: starts a {@link Core} and carries messages to it.
 *
 * @module
 */
import process from "node:process";
import { parentPort, workerData } from "node:worker_threads";
import { loadNative } from "../../ffi/mod.ts";
import { Core } from "./core.ts";
import { encodeError } from "./error_text.ts";
import type { Answer, Call, CoreStart } from "./protocol.ts";

const port = parentPort!;
const { shimPath } = workerData as CoreStart;
const opening = new Map<number, AbortController>();
/** Open replicas by the call that opened them. */
const opened = new Map<number, number>();

function post(answer: Answer): void {
  port.postMessage(answer);
}

async function close(core: Core, replicaId: number): Promise<void> {
  for (const [call, id] of opened) if (id === replicaId) opened.delete(call);
  await core.close(replicaId);
}

async function perform(core: Core, call: Call): Promise<number> {
  switch (call.kind) {
    case "open": {
      const abort = new AbortController();
      opening.set(call.id, abort);
      try {
        const replicaId = await core.open(call.config, abort.signal);
        opened.set(call.id, replicaId);
        if (abort.signal.aborted) await close(core, replicaId); // too late to stop it, and nobody takes it
        return replicaId;
      } finally {
        opening.delete(call.id);
      }
    }
    case "cancel":
      opening.get(call.of)?.abort(new DOMException(call.reason, "AbortError"));
      // The caller cancelled before it had the answer, so what was opened is nobody's.
      if (opened.has(call.of)) await close(core, opened.get(call.of)!);
      return 0;
    case "credentials":
      core.setCredentials(call.replicaId, call.credentials);
      return 0;
    case "close":
      await close(core, call.replicaId);
      return 0;
    case "register":
      core.register();
      return 0;
    case "unregister":
      await core.unregister();
      return 0;
    case "stop":
      await core.stop();
      return 0;
  }
}

async function answer(core: Core, call: Call): Promise<void> {
  try {
    post({ id: call.id, value: await perform(core, call) });
  } catch (error) {
    post({ id: call.id, value: 0, error: encodeError(error) });
  }
}

try {
  const core = new Core(await loadNative(shimPath), process.env);
  port.on("message", (call: Call) => void answer(core, call));
  post({ id: 0, value: core.id });
  await core.run();
} catch (error) {
  post({ id: 0, value: 0, error: encodeError(error) });
}
// Not every runtime's port can be closed; a worker that closes itself ends in all of them.
if (typeof port.close === "function") port.close();
else (globalThis as unknown as { close(): void }).close();
