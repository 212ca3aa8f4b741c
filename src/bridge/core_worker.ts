/**
 * The core's worker: starts a {@link Core} and carries messages to it.
 *
 * @module
 */
import { loadNative } from "../../ffi/mod.ts";
import type { Change } from "../diff/change.ts";
import { parent } from "../drivers/parent.ts";
import { readableEnvironment } from "../drivers/permissions.ts";
import { warmFetch } from "../drivers/fetch.ts";
import type { FollowEvent } from "../follow/follow_event.ts";
import { Log, logLevel } from "../log.ts";
import { beginOpening, giveUp, type ReplicaHooks } from "./begun_opening.ts";
import type { PushCredentials } from "./configured_store.ts";
import { Core } from "./core.ts";
import { encodeError } from "./error_text.ts";
import { plainEvent } from "./event_data.ts";
import { type Answer, type Call, type CoreStart, type Notice, NOTICE_ID } from "./protocol.ts";
import type { SpanBatch } from "../observe/span_outbox.ts";
import type { RestoreProgress } from "../restore/progress.ts";

const port = parent();
/** The core, once its shim is there. */
let begin!: (starting: Core | Promise<Core>) => void;
const starting = new Promise<Core>((resolve) => begin = resolve);
/** Calls that can be cancelled. */
const running = new Map<number, AbortController>();
/** Comparisons under way, by the call that began them. */
const diffs = new Map<
  number,
  { readonly changes: AsyncGenerator<Change>; readonly abort: AbortController }
>();
/** Open replicas by the call that opened them. */
const opened = new Map<number, number>();
/** Calls that are for a core that is still being started, too. */
type EarlyKind = "open" | "confirm" | "cancel" | "credentials";
/** Changes told at once, and how long they are gathered, in ms. */
const CHANGES_MAX = 1_000;
const CHANGES_MS = 20;
/** What confirms openings that wait for it, by the call. */
const confirmations = new Map<number, () => void>();
/** Where newer keys go, by the call that opens or opened the replica. */
const pushes = new Map<number, PushCredentials>();

function post(message: Answer | Notice): void {
  port.post(message);
}

/** A log whose entries the user's thread takes; `of` as a {@link Notice} has it. */
function logOf(of: number): Log {
  return new Log(
    (entry) => post({ id: NOTICE_ID, of, kind: "log", entry }),
    logLevel(readableEnvironment()).level,
  );
}

function hooksOf(
  { id, renewsCredentials, observed }: Extract<Call, { kind: "open" }>,
): ReplicaHooks {
  const onPush = (push: PushCredentials) => void pushes.set(id, push);
  const onExpired = () => post({ id: NOTICE_ID, of: id, kind: "expired" });
  const onEvent = (event: FollowEvent) => {
    post({ id: NOTICE_ID, of: id, kind: "event", event: plainEvent(event) });
  };
  const postSpans = (batch: SpanBatch) => post({ id: NOTICE_ID, of: id, kind: "spans", batch });
  return {
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

/** Storage is asked before there is a core, or it is known that this one opens the replica. */
async function open(call: Extract<Call, { kind: "open" }>, signal: AbortSignal): Promise<number> {
  const environment = call.environment ?? readableEnvironment();
  const confirmed = call.isEarly ? confirmation(call.id, signal) : Promise.resolve();
  const serving = confirmed.then(() => starting);
  const native = serving.then((core) => core.native);
  native.catch(() => {}); // who waits for the core is told
  try {
    const begun = await beginOpening(call.config, { environment, native, signal, hooks: hooksOf(call) });
    const core = await serving.catch(async (reason) => {
      await giveUp(begun);
      throw reason;
    });
    const replicaId = await core.open(begun);
    opened.set(call.id, replicaId);
    if (signal.aborted) await close(core, replicaId); // too late to stop it, and nobody takes it
    return replicaId;
  } finally {
    confirmations.delete(call.id);
    if (!opened.has(call.id)) pushes.delete(call.id);
  }
}

/** When the user's thread has confirmed an early opening; rejects when it gives it up. */
function confirmation(id: number, signal: AbortSignal): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    confirmations.set(id, resolve);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
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

async function perform(call: Call): Promise<unknown> {
  switch (call.kind) {
    case "open":
      return await cancellable(call.id, (signal) => open(call, signal));
    case "confirm":
      confirmations.get(call.of)?.();
      return 0;
    case "cancel":
      running.get(call.of)?.abort(new DOMException(call.reason, "AbortError"));
      // The caller cancelled before it had the answer, so what was opened is nobody's.
      if (opened.has(call.of)) await close(await starting, opened.get(call.of)!);
      return 0;
    case "credentials":
      pushes.get(call.of)?.(call.credentials);
      return 0;
    default:
      return await serve(await starting, call);
  }
}

async function serve(core: Core, call: Exclude<Call, { kind: EarlyKind }>): Promise<unknown> {
  switch (call.kind) {
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
    case "close":
      await close(core, call.replicaId);
      return 0;
    case "register":
      await core.register(call.environment ?? readableEnvironment());
      return 0;
    case "unregister":
      await core.unregister();
      return 0;
    case "stop":
      await core.stop();
      return 0;
  }
}

async function answer(call: Call): Promise<void> {
  try {
    post({ id: call.id, value: await perform(call) });
  } catch (error) {
    post({ id: call.id, value: 0, error: encodeError(error) });
  }
}

async function start({ shimPath, wasm, environment }: CoreStart): Promise<Core> {
  return new Core(await loadNative(shimPath, wasm), environment ?? readableEnvironment(), logOf(0));
}

async function run(): Promise<void> {
  try {
    const core = await starting;
    post({ id: 0, value: core.id, stack: core.native.wasm?.stack });
    await core.run();
  } catch (error) {
    post({ id: 0, value: 0, error: encodeError(error) });
  }
  port.close();
}

port.listen((told) => {
  if ("shimPath" in (told as CoreStart | Call)) begin(start(told as CoreStart));
  else void answer(told as Call);
});
void run();
warmFetch(); // there is nothing else to do yet
