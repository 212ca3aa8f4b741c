/** Places of one name: what is committed at one of them is never stored at another. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cp, readdir } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import { rowsOf, withConnection } from "../replica/drivers.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { withFolder } from "../support/real.ts";

const URL_OF_BOTH = "s3://bucket/db";
const QUIET: OpenOptions = { write: true, syncIntervalMs: 0, pollIntervalMs: 0, compact: false };
const OWN_STORAGE = new URL("../places/own_storage.ts", import.meta.url);

/** Opens one of two places of one name. */
type Open = (place: "dev" | "prod", more?: OpenOptions) => Promise<Replica>;

/** Keeps write logs in a folder where nobody says where; empty in the end. */
async function withState(act: (folder: string) => Promise<void>): Promise<void> {
  const before = process.env.XDG_STATE_HOME;
  try {
    await withFolder(act);
  } finally {
    if (before === undefined) delete process.env.XDG_STATE_HOME;
    else process.env.XDG_STATE_HOME = before;
  }
}

/** Has a new process find what one has left that was killed right now. */
async function kill(folder: string): Promise<void> {
  const left = join(folder, `left-${crypto.randomUUID()}`);
  await cp(process.env.XDG_STATE_HOME!, left, { recursive: true });
  process.env.XDG_STATE_HOME = left;
}

async function withServers(act: (open: Open, servers: FakeS3[]) => Promise<void>): Promise<void> {
  await using dev = await FakeS3.start();
  await using prod = await FakeS3.start();
  const servers = { dev, prod };
  await act((place, more) => {
    const { endpoint, options: { accessKeyId, secretAccessKey } } = servers[place];
    return openReplica(URL_OF_BOTH, {
      endpoint,
      credentials: { accessKeyId, secretAccessKey },
      ...QUIET,
      ...more,
    });
  }, [dev, prod]);
}

function tables(replica: Replica): string[] {
  return withConnection(replica, undefined, (db) => rowsOf(db, "SELECT name FROM sqlite_schema")).map((row) =>
    String(row.name)
  );
}

function create(replica: Replica, table: string): void {
  withConnection(replica, undefined, (db) => db.exec(`CREATE TABLE ${table}(a)`));
}

/** Tables of one place, as a writer finds them. */
async function found(open: Open, place: "dev" | "prod", more: OpenOptions = {}): Promise<string[]> {
  await using replica = await open(place, more);
  return tables(replica);
}

/** What a writer of one place was killed with is neither stored at the other nor lost. */
async function checkKill(folder: string, open: Open): Promise<void> {
  process.env.XDG_STATE_HOME = join(folder, "state");
  const replica = await open("dev");
  create(replica, "of_dev");
  await kill(folder);
  assert.deepEqual(await found(open, "prod"), []);
  assert.deepEqual(await found(open, "dev"), ["of_dev"]);
  assert.deepEqual(await found(open, "prod"), []);
  await replica.close(); // stores the same once more
}

test("a killed writer's log is not stored in a bucket of the same name at another endpoint", () =>
  withState((folder) => withServers((open) => checkKill(folder, open))));

test("a killed writer's log is not stored where a module leads with other options", () =>
  withState((folder) =>
    checkKill(folder, (place, more) =>
      openReplica({
        storage: { module: OWN_STORAGE, options: { folder: join(folder, place) } },
        ...QUIET,
        ...more,
      }))
  ));

test("two places of one name are written to at once", () =>
  withState((folder) =>
    withServers(async (open) => {
      process.env.XDG_STATE_HOME = join(folder, "state");
      await using dev = await open("dev");
      await using prod = await open("prod");
      create(dev, "of_dev");
      create(prod, "of_prod");
      await Promise.all([dev.sync(), prod.sync()]);
      assert.deepEqual([tables(dev), tables(prod)], [["of_dev"], ["of_prod"]]);
    })
  ));

/** Where an earlier version kept the log of all buckets of that name. */
function earlierPath(): string {
  const hash = createHash("sha256").update(URL_OF_BOTH).digest("hex").slice(0, 16);
  return join(process.env.XDG_STATE_HOME!, "litestream-vfs", `s3-bucket-db-${hash}`);
}

async function earlierLogs(): Promise<string[]> {
  const names = await readdir(join(earlierPath(), ".."));
  return names.filter((name) => /^s3-bucket-db-[0-9a-f]{16}\.[0-9]+$/.test(name));
}

/** Leaves a log at the earlier version's path, of `dev`; both places have a table then. */
async function leaveEarlier(folder: string, open: Open): Promise<Replica> {
  process.env.XDG_STATE_HOME = join(folder, "state");
  for (const place of ["dev", "prod"] as const) {
    await using replica = await open(place);
    create(replica, `of_${place}`);
  }
  const replica = await open("dev", { bufferPath: earlierPath() });
  create(replica, "left");
  await kill(folder);
  return replica;
}

test("a log that an earlier version left is stored where it belongs, and nowhere else", () =>
  withState((folder) =>
    withServers(async (open) => {
      await using _ = await leaveEarlier(folder, open);
      const told: string[] = [];
      const log: OpenOptions["log"] = ({ message }) => void told.push(message);
      assert.deepEqual(await found(open, "prod", { log }), ["of_prod"]);
      assert.match(told.join("\n"), /Write log ".*s3-bucket-db-.*" of an earlier version is left: /);
      assert.equal((await earlierLogs()).length, 1);
      assert.deepEqual(await found(open, "dev"), ["of_dev", "left"]);
      assert.deepEqual(await earlierLogs(), []);
      await using dev = await open("dev");
      create(dev, "next");
      await dev.sync();
      assert.deepEqual([dev.txid, tables(dev)], [3n, ["of_dev", "left", "next"]]);
    })
  ));

test("a log of an earlier version that a writer has is waited for with an error", () =>
  withState((folder) =>
    withServers(async (open) => {
      process.env.XDG_STATE_HOME = join(folder, "state");
      await using earlier = await open("dev", { bufferPath: earlierPath() });
      create(earlier, "under_way");
      const error = { name: "WriteLogError", message: /another writer of this machine has it/ };
      for (const place of ["dev", "prod"] as const) await assert.rejects(open(place), error);
      await earlier.sync();
    })
  ));

test("a local copy does not stand for a place of the same name that cannot be reached", () =>
  withState((folder) =>
    withServers(async (open, servers) => {
      process.env.XDG_STATE_HOME = join(folder, "state");
      const copied: OpenOptions = {
        write: false,
        hydrate: join(folder, "copy.db"),
        offline: "serve-stale",
        requestTimeoutMs: 1_000,
        log: () => {},
      };
      for (const place of ["dev", "prod"] as const) {
        await using replica = await open(place);
        create(replica, `of_${place}`);
      }
      const replica = await open("dev", copied);
      await replica.hydrated();
      await replica.close();
      for (const server of servers) await server[Symbol.asyncDispose]();
      await assert.rejects(open("prod", copied), { name: /^(Storage|Deadline)Error$/ });
      assert.deepEqual(await found(open, "dev", copied), ["of_dev"]);
    })
  ));
