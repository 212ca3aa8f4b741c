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

function post(answer: Answer): void {
  port.postMessage(answer);
}

async function perform(core: Core, call: Call): Promise<number> {
  switch (call.kind) {
    case "open": {
      const abort = new AbortController();
      opening.set(call.id, abort);
      try {
        return await core.open(call.config, abort.signal);
      } finally {
        opening.delete(call.id);
      }
    }
    case "cancel":
      opening.get(call.of)?.abort(new DOMException(call.reason, "AbortError"));
      return 0;
    case "credentials":
      core.setCredentials(call.replicaId, call.credentials);
      return 0;
    case "close":
      await core.close(call.replicaId);
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
