/**
 * Functions of the user's that run on the core's thread: named by module and export, loaded there.
 *
 * @module
 */

/** Where a function stands, as plain data: another thread loads it. */
export interface ModuleExport {
  /** Absolute URL of the module. */
  readonly module: string;
  /** Name of the export. */
  readonly export: string;
}

/**
 * Loads a function that was given as `option`.
 *
 * @throws {TypeError} the module cannot be loaded, or the export is no function
 * @throws the signal's reason when it aborts first
 */
export async function loadFunction(
  option: string,
  { module, export: name }: ModuleExport,
  signal?: AbortSignal,
): Promise<(...given: never[]) => unknown> {
  const loaded = await settledBefore(signal, load(option, module));
  if (!Object.hasOwn(loaded, name)) {
    const names = Object.keys(loaded).map((each) => `"${each}"`).join(", ") || "nothing";
    throw new TypeError(
      `Cannot use option ${option}: ${module} has no export "${name}", expected one of its own (it exports ${names})`,
    );
  }
  const given = loaded[name];
  if (typeof given === "function") return given as (...given: never[]) => unknown;
  throw new TypeError(
    `Cannot use option ${option}: export "${name}" of ${module} is ${typeof given}, expected a function`,
  );
}

async function load(option: string, module: string): Promise<Record<string, unknown>> {
  try {
    return await import(module);
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    throw new TypeError(
      `Cannot use option ${option}: ${module} cannot be loaded: ${found}, expected a module`,
      { cause },
    );
  }
}

/** What `promise` gives, unless the signal aborts first: what is the user's may wait for ever. */
export function settledBefore<T>(signal: AbortSignal | undefined, promise: Promise<T>): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
