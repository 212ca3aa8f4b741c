/**
 * Where the core's worker is loaded from, in every way that this package is shipped.
 *
 * @module
 */
import { builtin } from "../drivers/host.ts";
import { ReplicaError } from "../errors.ts";

/** What a worker is started with. */
export interface CoreEntry {
  /** Its first module. */
  readonly url: URL;
  /** The worker as one module, which that first one loads; undefined where it is files. */
  readonly source: string | undefined;
}

/**
 * The worker's first module of few, laid together, seen from here: in the packages, where `npm run pack` makes and names it. A
 * checkout has the modules as they are.
 */
const PACKED: string | undefined = undefined;

/** Loads {@link CoreEntry.source}, which is longer than a URL may be, from the worker's data. */
const LOAD_SOURCE = `import { workerData } from "node:worker_threads";
await import(URL.createObjectURL(new Blob([workerData.source], { type: "text/javascript" })));`;

/**
 * Where the worker of the package whose module `own` is lies: beside it, as TypeScript, or as `packed` says; on the server
 * that it came from; or, where a bundler has laid `own` together with others, inside.
 *
 * @throws {ReplicaError} it was bundled from a checkout
 */
export async function coreEntry(
  own: string = import.meta.url,
  packed: string | undefined = PACKED,
): Promise<CoreEntry> {
  const ending = /\/core_entry\.([jt]s)$/.exec(own)?.[1];
  if (ending === undefined) return { url: moduleUrl(LOAD_SOURCE), source: await bundledCore() };
  const url = new URL(packed ?? `./core_worker.${ending}`, own);
  // a worker begins with a file or with text: with what a server has only by way of an import
  if (url.protocol !== "file:") {
    return { url: moduleUrl(`import ${JSON.stringify(url)};`), source: undefined };
  }
  return { url, source: undefined };
}

async function bundledCore(): Promise<string> {
  const { base64 } = await import("./core_bundle.ts");
  if (base64 !== "") {
    const { Buffer } = builtin("node:buffer");
    return builtin("node:zlib").gunzipSync(Buffer.from(base64, "base64")).toString();
  }
  throw new ReplicaError(
    "Cannot start core: this program is a bundle of a checkout, expected one of a package, as `npm run pack` makes it",
  );
}

function moduleUrl(source: string): URL {
  return new URL(`data:text/javascript,${encodeURIComponent(source)}`);
}
