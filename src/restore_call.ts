/**
 * A restore as the user's thread asks its core for it.
 *
 * @module
 */
import type { CoreClient } from "./bridge/core_client.ts";
import type { CallOf } from "./bridge/protocol.ts";
import { toStderr } from "./log.ts";
import type { RestoreProgress } from "./restore/progress.ts";

/** What was restored. */
export interface RestoredState {
  /** The last transaction that the file has. */
  readonly txid: bigint;
  /** Size of the database in pages. */
  readonly commit: number;
  /** Bytes of a page. */
  readonly pageSize: number;
}

/** How a restore ends early, and who hears of it. */
export interface RestoreWatch {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: RestoreProgress) => void) | undefined;
}

/**
 * Has the core restore; when it was aborted, this settles once the core has let go of the file.
 *
 * @throws whatever `onProgress` throws, or its promise rejects with meanwhile: it ends the restore
 */
export async function callRestore(
  core: CoreClient,
  call: CallOf & { readonly kind: "restore" },
  { signal, onProgress }: RestoreWatch,
): Promise<RestoredState> {
  signal?.throwIfAborted();
  const id = core.newId();
  const refusal = new AbortController(); // the listener's
  const ended = signal ? AbortSignal.any([signal, refusal.signal]) : refusal.signal;
  const onAbort = () => {
    core.call({ kind: "cancel", of: id, reason: String(ended.reason) }).catch(() => {}); // it is gone, and with it the call
  };
  if (onProgress) core.listen(id, { log: toStderr, onProgress: ending(onProgress, refusal) });
  ended.addEventListener("abort", onAbort, { once: true });
  try {
    const restored = await core.call<RestoredState>(call, undefined, id);
    refusal.signal.throwIfAborted();
    return restored;
  } catch (error) {
    throw ended.aborted ? ended.reason : error;
  } finally {
    ended.removeEventListener("abort", onAbort);
    core.unlisten(id);
  }
}

/** A listener whose faults abort what it listens to: nobody else could hear of them. */
function ending(
  onProgress: (progress: RestoreProgress) => unknown,
  abort: AbortController,
): (progress: RestoreProgress) => void {
  return (progress) => {
    try {
      Promise.resolve(onProgress(progress)).catch((error) => abort.abort(error));
    } catch (error) {
      abort.abort(error);
    }
  };
}
