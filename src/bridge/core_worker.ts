/**
 * The core's worker: starts a {@link Core} and carries messages to it.
 *
 * @module
 */
import { parentPort, workerData } from "node:worker_threads";
import { loadNative } from "../../ffi/mod.ts";
import type { Change } from "../diff/change.ts";
import { readableEnvironment } from "../drivers/permissions.ts";
import type { FollowEvent } from "../follow/follow_event.ts";
import { Log, logLevel } from "../log.ts";
import type { PushCredentials } from "./configured_store.ts";
import { Core, type ReplicaHooks } from "./core.ts";
import { encodeError } from "./error_text.ts";
import { plainEvent } from "./event_data.ts";
import { type Answer, type Call, type CoreStart, type Notice, NOTICE_ID } from "./protocol.ts";
import type { SpanBatch } from "../observe/span_outbox.ts";
import type { RestoreProgress } from "../restore/progress.ts";

const port = parentPort!;
const { shimPath, wasm } = workerData as CoreStart;
/** Calls that can be cancelled. */
const running = new Map<number, AbortController>();
/** Comparisons under way, by the call that began them. */
const diffs = new Map<
  number,
  { readonly changes: AsyncGenerator<Change>; readonly abort: AbortController }
>();
/** Open replicas by the call that opened them. */
const opened = new Map<number, number>();
/** Changes told at once, and how long they are gathered, in ms. */
const CHANGES_MAX = 1_000;
const CHANGES_MS = 20;
/** Where newer keys go, by the call that opens or opened the replica. */
const pushes = new Map<number, PushCredentials>();

function post(message: Answer | Notice): void {
  port.postMessage(message);
}

/** A log whose entries the user's thread takes; `of` as a {@link Notice} has it. */
function logOf(of: number): Log {
  return new Log(
    (entry) => post({ id: NOTICE_ID, of, kind: "log", entry }),
    logLevel(readableEnvironment()).level,
  );
}

function hooksOf(
  { id, environment, renewsCredentials, observed }: Extract<Call, { kind: "open" }>,
): ReplicaHooks {
  const onPush = (push: PushCredentials) => void pushes.set(id, push);
  const onExpired = () => post({ id: NOTICE_ID, of: id, kind: "expired" });
  const onEvent = (event: FollowEvent) => {
    post({ id: NOTICE_ID, of: id, kind: "event", event: plainEvent(event) });
  };
  const postSpans = (batch: SpanBatch) => post({ id: NOTICE_ID, of: id, kind: "spans", batch });
  return {
    environment: environment ?? readableEnvironment(),
    log: logOf(id),
    onPush,
    onEvent,
    ...(renewsCredentials ? { onExpired } : {}),
    ...(observed ? { observed, postSpans } : {}),
  };
}

async function close(core: Core, replicaId: number): Promise<void> {
  for (const [call, id] of opened) {
    if (id !== replicaId) continue;
    opened.delete(call);
    pushes.delete(call);
  }
  await core.close(replicaId);
}

async function open(core: Core, call: Extract<Call, { kind: "open" }>, signal: AbortSignal): Promise<number> {
  try {
    const replicaId = await core.open(call.config, signal, hooksOf(call));
    opened.set(call.id, replicaId);
    if (signal.aborted) await close(core, replicaId); // too late to stop it, and nobody takes it
    return replicaId;
  } finally {
    if (!opened.has(call.id)) pushes.delete(call.id);
  }
}

/** The next changes of a comparison; null when there are no more. */
async function nextChanges(of: number): Promise<Change[] | null> {
  const changes: Change[] = [];
  const diff = diffs.get(of);
  const untilMs = performance.now() + CHANGES_MS;
  while (diff && changes.length < CHANGES_MAX && (changes.length === 0 || performance.now() < untilMs)) {
    const { done, value } = await diff.changes.next();
    if (done) break;
    changes.push(value);
  }
  return changes.length > 0 ? changes : null;
}

/** Runs a call that can be cancelled. */
async function cancellable<T>(id: number, act: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController();
  running.set(id, abort);
  try {
    return await act(abort.signal);
  } finally {
    running.delete(id);
  }
}

async function perform(core: Core, call: Call): Promise<unknown> {
  switch (call.kind) {
    case "open":
      return await cancellable(call.id, (signal) => open(core, call, signal));
    case "refresh":
      return await core.replica(call.replicaId).refresh();
    case "sync":
      return await core.replica(call.replicaId).sync();
    case "wait":
      return await cancellable(
        call.id,
        (signal) => core.replica(call.replicaId).waitFor(call.txid, signal),
      );
    case "points":
      return await cancellable(call.id, (signal) => {
        const { exact, fromMs, toMs } = call.options;
        const range = {
          ...(fromMs !== undefined && { from: fromMs }),
          ...(toMs !== undefined && { to: toMs }),
        };
        return core.replica(call.replicaId).points({ exact: exact ?? false, range, signal });
      });
    case "levels":
      return await core.replica(call.replicaId).levels();
    case "restore":
      return await cancellable(call.id, (signal) => {
        const { asOf, path, force } = call;
        const onProgress = (progress: RestoreProgress) => {
          post({ id: NOTICE_ID, of: call.id, kind: "progress", progress });
        };
        return core.replica(call.replicaId).restore(asOf, { path, force, signal, onProgress });
      });
    case "diff": {
      const abort = new AbortController();
      const options = { signal: abort.signal, ...(call.tables && { tables: call.tables }) };
      diffs.set(call.id, { changes: core.replica(call.replicaId).diff(call.from, call.to, options), abort });
      return 0;
    }
    case "diff-next":
      return await nextChanges(call.of);
    case "diff-end":
      diffs.get(call.of)?.abort.abort(); // what goes on for it ends
      await diffs.get(call.of)?.changes.return(undefined);
      diffs.delete(call.of);
      return 0;
    case "cancel":
      running.get(call.of)?.abort(new DOMException(call.reason, "AbortError"));
      // The caller cancelled before it had the answer, so what was opened is nobody's.
      if (opened.has(call.of)) await close(core, opened.get(call.of)!);
      return 0;
    case "credentials":
      pushes.get(call.of)?.(call.credentials);
      return 0;
    case "close":
      await close(core, call.replicaId);
      return 0;
    case "register":
      await core.register();
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

async function run(): Promise<void> {
  try {
    const core = new Core(await loadNative(shimPath, wasm), readableEnvironment(), logOf(0));
    port.on("message", (call: Call) => void answer(core, call));
    post({ id: 0, value: core.id });
    await core.run();
  } catch (error) {
    post({ id: 0, value: 0, error: encodeError(error) });
  }
  // Not every runtime's port can be closed; a worker that closes itself ends in all of them.
  if (typeof port.close === "function") port.close();
  else (globalThis as unknown as { close(): void }).close();
}

void run(); // Bun before 1.4 hands out messages only once the module has been evaluated
