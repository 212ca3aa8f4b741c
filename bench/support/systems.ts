/**
 * The systems that are compared, each opened in the runtime it runs in.
 *
 * @module
 */
import process from "node:process";
import { load } from "sqlite-vec";
import { openReplica, type Replica } from "../../mod.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

const inBun = "Bun" in globalThis;
/** What `node:sqlite` wants to be told of a connection that is to load an extension. */
const EXTENSIBLE = inBun ? {} : { allowExtension: true };

/** What a measured process is told about the system to measure. */
export interface SystemArgument {
  readonly system: "ours" | "go" | "local";
  /** Where the S3 stand-in listens. */
  readonly endpoint?: string;
  /** The plain file. */
  readonly path?: string;
  /** The Go VFS, which finds its replica by the environment. */
  readonly library?: string;
  /** Bound on decoded pages; our default unless given. */
  readonly cacheBytesMax?: number;
  /** Where ours keeps a local copy; none unless given. */
  readonly hydrate?: string;
  /** sqlite-vec is loaded into the connection. */
  readonly hasVectors?: boolean;
}

/** An open database, of which `replica` is there where it is ours. */
export interface OpenSystem {
  readonly database: Any;
  readonly replica?: Replica;
  /** From the call that opens it to a connection, without the load of a library. */
  readonly openMs: number;
}

/** Opens ours. The environment's PREFETCH, where it is set, is given on as the option `prefetch`. */
async function openOurs(
  { endpoint, cacheBytesMax, hydrate }: SystemArgument,
): Promise<Omit<OpenSystem, "openMs">> {
  const { PREFETCH: prefetch } = process.env;
  const more: object = {
    ...(prefetch === undefined ? {} : { prefetch }),
    ...(cacheBytesMax === undefined ? {} : { cacheBytesMax }),
    ...(hydrate === undefined ? {} : { hydrate }),
  };
  const replica = await openReplica("s3://bucket/db", {
    ...more,
    endpoint,
    credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "any" },
  });
  return { replica, database: replica.connect({ database: EXTENSIBLE }) };
}

/** Opens a system. */
export async function openSystem(argument: SystemArgument): Promise<OpenSystem> {
  const name = inBun ? "bun:sqlite" : "node:sqlite";
  const module: Any = await import(name);
  if (argument.system === "go") loadExtension(module, argument.library!);
  const start = performance.now();
  const opened = argument.system === "ours"
    ? await openOurs(argument)
    : { database: argument.system === "go" ? openGo(module) : openFile(module, argument.path!) };
  const openMs = performance.now() - start;
  if (argument.hasVectors) load(opened.database);
  return { ...opened, openMs };
}

function loadExtension(module: Any, library: string): void {
  if (inBun) return void new module.Database(":memory:").loadExtension(library);
  const loader = new module.DatabaseSync(":memory:", { allowExtension: true });
  loader.loadExtension(library, "sqlite3_litestreamvfs_init");
}

function openGo(module: Any): Any {
  const uri = "file:replica.db?vfs=litestream";
  return inBun
    ? new module.Database(uri, 0x41)
    : new module.DatabaseSync(uri, { readOnly: true, ...EXTENSIBLE });
}

function openFile(module: Any, path: string): Any {
  return inBun
    ? new module.Database(path, { readonly: true })
    : new module.DatabaseSync(path, { readOnly: true, ...EXTENSIBLE });
}
