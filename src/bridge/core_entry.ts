/**
 * Where the core's worker is loaded from, in every way that this package is shipped.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { ReplicaError } from "../errors.ts";

/** What a worker is started with. */
export interface CoreEntry {
  /** Its first module. */
  readonly url: URL;
  /** The worker as one module, which that first one loads; undefined where it is files. */
  readonly source: string | undefined;
}

/** Loads {@link CoreEntry.source}, which is longer than a URL may be, from the worker's data. */
const LOAD_SOURCE = `import { workerData } from "node:worker_threads";
await import(URL.createObjectURL(new Blob([workerData.source], { type: "text/javascript" })));`;

/**
 * Where the worker of the package whose module `own` is lies: beside it, as TypeScript or JavaScript; on the server that
 * it came from; or, where a bundler has laid `own` together with others, inside.
 *
 * @throws {ReplicaError} it was bundled from a checkout
 */
export async function coreEntry(own: string = import.meta.url): Promise<CoreEntry> {
  const ending = /\/core_entry\.([jt]s)$/.exec(own)?.[1];
  if (ending === undefined) return { url: moduleUrl(LOAD_SOURCE), source: await bundledCore() };
  const url = new URL(`./core_worker.${ending}`, own);
  // a worker begins with a file or with text: with what a server has only by way of an import
  if (url.protocol !== "file:") {
    return { url: moduleUrl(`import ${JSON.stringify(url)};`), source: undefined };
  }
  return { url, source: undefined };
}

// Never run: Deno counts it among the program's modules all the same, so that they are fetched, cached and compiled with it;
// a bundler does not, and must not, for it would then want whatever the packages of all places may load.
// deno-lint-ignore no-constant-condition
if (false) void import("./core_worker.ts");

async function bundledCore(): Promise<string> {
  const { base64 } = await import("./core_bundle.ts");
  if (base64 !== "") {
    const { gunzipSync } = process.getBuiltinModule("node:zlib");
    return gunzipSync(Buffer.from(base64, "base64")).toString();
  }
  throw new ReplicaError(
    "Cannot start core: this program is a bundle of a checkout, expected one of a package, as `npm run pack` makes it",
  );
}

function moduleUrl(source: string): URL {
  return new URL(`data:text/javascript,${encodeURIComponent(source)}`);
}
