/**
 * A comparison as the user's thread asks its core for it.
 *
 * @module
 */
import type { CoreClient } from "./bridge/core_client.ts";
import type { CallOf } from "./bridge/protocol.ts";
import type { Change } from "./diff/change.ts";

/** Has the core compare, and takes what it finds as it is wanted. */
export async function* callDiff(
  core: CoreClient,
  call: CallOf & { readonly kind: "diff" },
  signal: AbortSignal | undefined,
): AsyncGenerator<Change, void, undefined> {
  const of = core.newId();
  try {
    await core.call(call, signal, of); // the core may begin though the caller has given up meanwhile
    for (;;) {
      const changes = await core.call<Change[] | null>({ kind: "diff-next", of }, signal);
      if (changes === null) return;
      yield* changes;
    }
  } finally {
    core.call({ kind: "diff-end", of }).catch(() => {}); // the core is gone, and the comparison with it
  }
}
