/**
 * FetchFunction: how a store asks, so that tests and users can put something of their own in its place.
 *
 * @module
 */

/** `fetch` as far as stores use it. */
export type FetchFunction = (url: string, init: RequestInit) => Promise<Response>;

/** Where a {@link FetchFunction} of the user's stands, as plain data: another thread loads it. */
export interface FetchModule {
  /** Absolute URL of the module. */
  readonly module: string;
  /** Name of the export. */
  readonly export: string;
}

/**
 * Loads a fetch function of the user's.
 *
 * @throws {TypeError} the module cannot be loaded, or the export is no function
 * @throws the signal's reason when it aborts first
 */
export async function loadFetch(
  { module, export: name }: FetchModule,
  signal?: AbortSignal,
): Promise<FetchFunction> {
  const loaded = await settledBefore(signal, load(module));
  if (!Object.hasOwn(loaded, name)) {
    const names = Object.keys(loaded).map((each) => `"${each}"`).join(", ") || "nothing";
    throw new TypeError(
      `Cannot use option fetch: ${module} has no export "${name}", expected one of its own (it exports ${names})`,
    );
  }
  const given = loaded[name];
  if (typeof given === "function") return given as FetchFunction;
  throw new TypeError(
    `Cannot use option fetch: export "${name}" of ${module} is ${typeof given}, expected a function`,
  );
}

async function load(module: string): Promise<Record<string, unknown>> {
  try {
    return await import(module);
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    throw new TypeError(
      `Cannot use option fetch: ${module} cannot be loaded: ${found}, expected a module`,
      { cause },
    );
  }
}

/** What `promise` gives, unless the signal aborts first: a module may wait for ever while it is loaded. */
function settledBefore<T>(signal: AbortSignal | undefined, promise: Promise<T>): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
