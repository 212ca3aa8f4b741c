/**
 * Replicas of many kinds, each written by a real Litestream daemon and beside the database it was made from. Made once
 * and kept in `.tools/`, for the test runs of both runtimes.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  type Daemon,
  folderUrl,
  LITESTREAM_VERSION,
  litestreamBinary,
  litestreamFrameBinary,
  replicate,
  TOOLS,
} from "./real.ts";
import type { PlainDatabase } from "./sqlite.ts";

/** One replica in the zoo. */
export interface ZooReplica {
  /** What is special about it, as words joined by hyphens. */
  readonly name: string;
  readonly pageSize: number;
  /** How its pages are stored. */
  readonly encoding: "block" | "frame";
  /** The folder that holds `ltx/`. */
  readonly folder: string;
  /** The same as a replica URL. */
  readonly url: string;
  /** The source: one plain database file, byte for byte the replica's newest state. */
  readonly db: string;
  /** The replica's newest TXID. */
  readonly txid: bigint;
}

interface Recipe {
  readonly name: string;
  readonly pageSize: number;
  readonly encoding: "block" | "frame";
  run(sqlite: PlainDatabase, daemon: Daemon): Promise<void>;
}

const PAGE_SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];
const LOCK_STALE_MS = 120_000;
/** How many daemons run at once while the zoo is made. */
const MADE_AT_ONCE = 4;

const RECIPES: readonly Recipe[] = [
  ...PAGE_SIZES.map((pageSize): Recipe => (
    { name: `page-size-${pageSize}`, pageSize, encoding: "block", run: growAndChange }
  )),
  { name: "vacuum-shrink", pageSize: 4096, encoding: "block", run: vacuumAfterDelete },
  { name: "auto-vacuum-shrink", pageSize: 4096, encoding: "block", run: shrinkInSteps },
  { name: "lz4-frames", pageSize: 4096, encoding: "frame", run: growAndChange },
  { name: "lz4-frames-vacuum", pageSize: 1024, encoding: "frame", run: vacuumAfterDelete },
];

/** Where the zoo is kept. The name changes with this file and with Litestream. */
export function zooFolder(): string {
  const recipe = createHash("sha256").update(readFileSync(fileURLToPath(import.meta.url))).digest("hex");
  return join(TOOLS, `zoo-${LITESTREAM_VERSION}-${recipe.slice(0, 8)}`);
}

/**
 * Makes the zoo in `folder`, unless it is there, and returns its replicas.
 *
 * Several processes may call this at once: one makes it, the others wait. It appears whole.
 */
export async function makeReplicaZoo(folder: string = zooFolder()): Promise<ZooReplica[]> {
  if (!existsSync(folder)) {
    await withLock(`${folder}.lock`, async () => {
      if (!existsSync(folder)) await makeAll(folder);
    });
  }
  const manifest = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8")) as Record<
    string,
    string
  >;
  return RECIPES.map(({ name, pageSize, encoding }) => ({
    name,
    pageSize,
    encoding,
    folder: join(folder, name, "replica"),
    url: folderUrl(join(folder, name, "replica")),
    db: join(folder, name, "source.db"),
    txid: BigInt(manifest[name] ?? 0),
  }));
}

async function makeAll(folder: string): Promise<void> {
  const unfinished = `${folder}.${process.pid}.tmp`;
  const manifest: Record<string, string> = {};
  const waiting = [...RECIPES];
  const worker = async () => {
    for (let recipe = waiting.shift(); recipe !== undefined; recipe = waiting.shift()) {
      manifest[recipe.name] = (await makeOne(join(unfinished, recipe.name), recipe)).toString();
    }
  };
  try {
    await mkdir(unfinished, { recursive: true });
    await Promise.all(Array.from({ length: MADE_AT_ONCE }, worker));
    await writeFile(join(unfinished, "manifest.json"), JSON.stringify(manifest));
    await rename(unfinished, folder);
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}

async function makeOne(folder: string, recipe: Recipe): Promise<bigint> {
  await mkdir(folder, { recursive: true });
  const txid = await replicate({
    db: join(folder, "source.db"),
    url: folderUrl(join(folder, "replica")),
    binary: recipe.encoding === "frame" ? litestreamFrameBinary() : litestreamBinary(),
    pageSize: recipe.pageSize,
    run: recipe.run,
  });
  // the daemon's own notes
  await rm(join(folder, ".source.db-litestream"), { recursive: true, force: true });
  return txid;
}

/** A table with an index and pages of every kind: interior, leaf, overflow, free. */
async function growAndChange(sqlite: PlainDatabase, daemon: Daemon): Promise<void> {
  sqlite.exec("CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, body BLOB)");
  sqlite.exec("CREATE INDEX item_name ON item(name)");
  await daemon.sync();
  for (let round = 0; round < 5; round++) {
    insertItems(sqlite, 200);
    await daemon.sync();
  }
  sqlite.exec("INSERT INTO item(name, body) VALUES ('overflow', zeroblob(200000))");
  await daemon.sync();
  sqlite.exec("UPDATE item SET name = name || '!' WHERE id % 7 = 0");
  await daemon.sync();
  sqlite.exec("DELETE FROM item WHERE id % 5 = 0");
}

/** Most rows deleted, then VACUUM: one file that rewrites everything, with a smaller commit. */
async function vacuumAfterDelete(sqlite: PlainDatabase, daemon: Daemon): Promise<void> {
  await growAndChange(sqlite, daemon);
  await daemon.sync();
  sqlite.exec("DELETE FROM item WHERE id > 50");
  await daemon.sync();
  sqlite.exec("VACUUM");
  await daemon.sync();
  insertItems(sqlite, 10);
}

/** Incremental auto_vacuum: the database loses pages at its end in several small transactions, then grows again. */
async function shrinkInSteps(sqlite: PlainDatabase, daemon: Daemon): Promise<void> {
  // takes effect in an existing database only with a VACUUM
  sqlite.exec("PRAGMA auto_vacuum = INCREMENTAL");
  sqlite.exec("VACUUM");
  await growAndChange(sqlite, daemon);
  sqlite.exec("DELETE FROM item WHERE id > 50");
  await daemon.sync();
  for (let step = 0; step < 4; step++) {
    sqlite.all("PRAGMA incremental_vacuum(20)");
    await daemon.sync();
  }
  insertItems(sqlite, 100);
}

function insertItems(sqlite: PlainDatabase, count: number): void {
  sqlite.exec(`
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
    INSERT INTO item(name, body) SELECT hex(randomblob(8)), randomblob(40 + abs(random() % 200)) FROM n`);
}

/** One process at a time. A lock that is too old belongs to nobody any more. */
async function withLock(path: string, work: () => Promise<void>): Promise<void> {
  while (!await mkdir(path).then(() => true, () => false)) {
    const taken = await stat(path).catch(() => undefined);
    if (taken !== undefined && Date.now() - taken.mtimeMs > LOCK_STALE_MS) {
      await rm(path, { recursive: true });
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  try {
    await work();
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}
