/**
 * The systems that are compared, each opened for writing in the runtime it runs in.
 *
 * @module
 */
import { openReplica, type Replica } from "../../mod.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

/** What a writing process is told about its system. */
export interface WriteArgument {
  readonly system: "ours" | "go" | "local";
  /** `PRAGMA synchronous`; the Go VFS keeps nothing on a disk to sync. */
  readonly synchronous?: "FULL" | "NORMAL";
  /** Where the S3 stand-in listens. */
  readonly endpoint?: string;
  /** The local file, or ours: the write log. */
  readonly path?: string;
  /** The Go VFS, which finds its replica by the environment. */
  readonly library?: string;
}

/** An open database, of which `replica` is there where it is ours. */
export interface WritableSystem {
  readonly database: Any;
  readonly replica?: Replica;
}

/** Opens a system; all in rollback-journal mode, the local file with `journal_mode=DELETE`. */
export async function openWritable(argument: WriteArgument): Promise<WritableSystem> {
  const opened = await open(argument);
  const { synchronous, system } = argument;
  if (synchronous) opened.database.exec(`PRAGMA synchronous=${synchronous}`);
  if (system === "local") opened.database.prepare("PRAGMA journal_mode=DELETE").all();
  return opened;
}

async function open({ system, endpoint, path, library }: WriteArgument): Promise<WritableSystem> {
  if (system === "ours") {
    const replica = await openReplica("s3://bucket/db", {
      endpoint,
      credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "any" },
      write: true,
      bufferPath: path,
    });
    return { replica, database: replica.connect() };
  }
  const inBun = "Bun" in globalThis;
  const name = inBun ? "bun:sqlite" : "node:sqlite";
  const module: Any = await import(name);
  if (system === "local") return { database: new (module.Database ?? module.DatabaseSync)(path) };
  if (!inBun) throw new Error("Cannot write with the Go VFS: expected Bun");
  new module.Database(":memory:").loadExtension(library);
  const READWRITE_URI = 0x2 | 0x40;
  return { database: new module.Database("file:replica.db?vfs=litestream", READWRITE_URI) };
}
