/**
 * What tests of hydration share: a replica with a place for its local copy, in a folder or on a server, and
 * what a copy must be.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { closeSync, openSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { type OpenOptions, openReplica, type Replica } from "../../mod.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import { until } from "../replica/following.ts";
import { Reader } from "../replica/reader.ts";
import { FakeS3, type FakeS3Options } from "../support/fake_s3.ts";
import {
  type ReplicaFolder,
  type ReplicaFolderOptions,
  withReplicaFolder,
} from "../support/replica_folder.ts";
import { openPlain, type Row } from "../support/sqlite.ts";

const SECRETS = { accessKeyId: "key", secretAccessKey: "secret" } as const;

/** Less than a piece of the copy, more than readers ask for. */
export const HELD_BYTES = 300_000;

/** A replica and the place of its local copy. */
export class Place {
  readonly folder: ReplicaFolder;
  /** Set where the replica is read from a server. */
  readonly s3: FakeS3 | undefined;

  constructor(folder: ReplicaFolder, s3?: FakeS3) {
    this.folder = folder;
    this.s3 = s3;
  }

  /** Of the copy. */
  get path(): string {
    return join(this.folder.home, "copy", "local.db");
  }

  get url(): string {
    return this.s3 ? "s3://bucket/db" : this.folder.url;
  }

  /** What else a process needs to open it. */
  get access(): OpenOptions {
    return this.s3 ? { endpoint: this.s3.endpoint, credentials: SECRETS } : {};
  }

  /** Opens it with a copy; it looks for what is new only when asked to, unless said otherwise. */
  open(more: OpenOptions = {}): Promise<Replica> {
    return openReplica(this.url, { ...this.access, hydrate: this.path, pollIntervalMs: 0, ...more });
  }

  /** Opens it and waits until the copy is whole. */
  async openWhole(more: OpenOptions = {}): Promise<Replica> {
    const replica = await this.open(more);
    await replica.hydrated();
    return replica;
  }

  /** Makes the copy, and ends. */
  async make(more: OpenOptions = {}): Promise<void> {
    await (await this.openWhole(more)).close();
  }

  /** Brings the server to what lies in the folder. */
  upload(): void {
    const { folder, s3 } = this;
    const wanted = new Map<string, string>();
    for (const path of filesBelow(folder.path)) {
      const level = Number(basename(join(path, "..")));
      wanted.set(`db/${ltxKey("s3", level, basename(path))}`, path);
    }
    for (const key of s3!.keys()) if (!wanted.has(key)) s3!.remove(key);
    for (const [key, path] of wanted) {
      const bytes = new Uint8Array(readFileSync(path));
      const there = s3!.get(key);
      if (there === undefined || Buffer.compare(there, bytes) !== 0) {
        const txid = parseInt(basename(path).slice(17), 16);
        s3!.put(key, bytes, { modifiedMs: 1_700_000_000_500 + txid * 1000 });
      }
    }
  }

  /** From now on the server refuses large ranges, as a copy asks for; gives a function that ends it. */
  hold(): () => void {
    this.s3!.options.faults.pick = () => {
      const [, first, last] = /(\d+)-(\d+)/.exec(this.s3!.log.at(-1)!.range) ?? [];
      return Number(last) - Number(first) > HELD_BYTES ? { kind: "status", status: 503 } : undefined;
    };
    return () => this.s3!.options.faults.pick = () => undefined;
  }

  /** Asserts that the copy, which is closed, is the database as it was after a transaction. */
  async assertCopy(txid = this.folder.txid): Promise<void> {
    const wanted = Buffer.from(this.folder.bytesAt(txid));
    wanted[18] = wanted[19] = 1;
    const found = readFileSync(this.path);
    assert.equal(found.length, wanted.length, "size of the copy");
    const { pageSize } = this.folder;
    for (let at = 0; at < wanted.length; at += pageSize) {
      const isSame = found.compare(wanted, at, at + pageSize, at, at + pageSize) === 0;
      assert.ok(isSame, `page ${at / pageSize + 1} of the copy differs`);
    }
    const plain = await openPlain(this.path);
    try {
      assert.deepEqual(plain.all("PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
    } finally {
      plain.close();
    }
  }

  /** What the record says. */
  // deno-lint-ignore no-explicit-any
  record(): any {
    return JSON.parse(readFileSync(`${this.path}-state`, "utf8"));
  }
}

function* filesBelow(path: string): Generator<string> {
  for (const name of readdirSync(path)) {
    const below = join(path, name);
    if (statSync(below).isDirectory()) yield* filesBelow(below);
    else if (name.endsWith(".ltx")) yield below;
  }
}

/** Gives a replica in a folder to `use`. */
export function withPlace(
  options: ReplicaFolderOptions,
  use: (place: Place) => Promise<void>,
): Promise<void> {
  return withReplicaFolder(options, (folder) => use(new Place(folder)));
}

/** Gives a replica on a server to `use`; what lies in its folder is there after {@link Place.upload}. */
export function withServedPlace(
  options: ReplicaFolderOptions & Partial<FakeS3Options>,
  use: (place: Place & { readonly s3: FakeS3 }) => Promise<void>,
): Promise<void> {
  return withReplicaFolder(options, async (folder) => {
    const { pageSize: _, ...served } = options;
    await using s3 = await FakeS3.start({ ...served, ...SECRETS });
    await use(new Place(folder, s3) as Place & { readonly s3: FakeS3 });
  });
}

/** A connection of another thread: a server of this one can answer it. */
export async function readerOf(
  replica: Replica,
): Promise<{ ask(sql: string): Promise<Row[]> } & AsyncDisposable> {
  const reader = await Reader.start({ shared: replica.share(), timeoutMs: 30_000 });
  return {
    async ask(sql) {
      const { rows, error } = await reader.ask(sql);
      assert.equal(error, undefined);
      return rows;
    },
    [Symbol.asyncDispose]: () => reader.close(),
  };
}

/** Bytes of objects that a server has sent since its log was cleared. */
export function bytesSent({ log }: FakeS3): number {
  return log.filter(({ key, method }) => key !== "" && method === "GET").reduce(
    (sum, { bytes }) => sum + bytes,
    0,
  );
}

/** SQL that makes `k`, of so many rows of noise, about one a page of 512 bytes; and `v`, of `stepValue()`. */
export function smallSql(rows: number): string {
  return `CREATE TABLE v (x); INSERT INTO v VALUES (1);
    CREATE TABLE k (id INTEGER PRIMARY KEY, x BLOB);
    WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < ${rows})
    INSERT INTO k SELECT i, randomblob(400) FROM i`;
}

/** SQL whose answer tells any difference in these tables. */
export const SUM =
  "SELECT v.x AS v, (SELECT count(*) FROM k) AS n, (SELECT group_concat(id || hex(x)) FROM k) AS s FROM v";

/** That answer, short enough to be shown. */
export function shorten(rows: Row[]): unknown[] {
  return rows.map(({ v, n, s }) => {
    return { v, n, hash: createHash("md5").update(String(s)).digest("hex") };
  });
}

/** The process of `hydrate_child.ts`. */
export class Child {
  readonly #process: ChildProcess;
  readonly #ended: Promise<unknown>;
  /** What it prints goes to a file: through a pipe, Bun 1.4.5 now and then hears nothing more of a child that goes on. */
  readonly #output: string;
  #complaint = "";

  constructor(place: Place, more: OpenOptions & { sql?: string; commits?: boolean } = {}) {
    const script = fileURLToPath(new URL("./hydrate_child.ts", import.meta.url));
    const { url, access, path } = place;
    const options = JSON.stringify({ url, hydrate: path, pollIntervalMs: 10, ...access, ...more });
    const before = "Deno" in globalThis ? ["run", "-A", "--no-check"] : [];
    this.#output = join(place.folder.home, `child-${randomUUID()}`);
    const output = openSync(this.#output, "w");
    this.#process = spawn(process.execPath, [...before, script, options], {
      stdio: ["pipe", output, "pipe"],
    });
    closeSync(output);
    this.#process.stderr!.on("data", (data) => this.#complaint += data);
    this.#ended = new Promise((resolve) => this.#process.once("close", resolve));
  }

  /** Whole lines that it has printed so far. */
  get lines(): string[] {
    return readFileSync(this.#output, "utf8").split("\n").slice(0, -1);
  }

  /** What it printed to standard error. */
  get complaint(): string {
    return this.#complaint;
  }

  /** Waits for a line that begins so; gives the last one. */
  async line(beginning: string, from = 0): Promise<string> {
    const found = () => this.lines.slice(from).findLast((line) => line.startsWith(beginning));
    await until(`"${beginning}" of ${this.lines}, ${this.#complaint}`, () => found() !== undefined, 90_000);
    return found()!;
  }

  /** What its query answers now. */
  async rows(): Promise<Row[]> {
    const from = this.lines.length;
    this.#process.stdin!.write("\n");
    return JSON.parse((await this.line("sum", from)).slice(4));
  }

  /** Closes the replica there. */
  async close(): Promise<void> {
    this.#process.stdin!.end();
    await this.#ended;
    assert.equal(this.#process.exitCode, 0, this.#complaint);
  }

  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
