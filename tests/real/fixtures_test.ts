import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { AwsClient } from "aws4fetch";
import { goVfsLibrary, queryGoVfs } from "../support/go_vfs.ts";
import {
  type Daemon,
  folderUrl,
  listFiles,
  litestreamBinary,
  litestreamFrameBinary,
  replicate,
  restore,
  s3ServerBinary,
  skipWithout,
  startS3Server,
  withFolder,
} from "../support/real.ts";
import { openPlain, type PlainDatabase } from "../support/sqlite.ts";
import { makeReplicaZoo } from "../support/zoo.ts";

const noDaemon = skipWithout({ litestream: litestreamBinary() });
const noS3 = skipWithout({ litestream: litestreamBinary(), "S3 server": s3ServerBinary() });
const noServer = skipWithout({ "S3 server": s3ServerBinary() });
const noGoVfs = skipWithout({ litestream: litestreamBinary(), "Go VFS": goVfsLibrary() });
const noGoVfsOnS3 = noS3 || noGoVfs;
const noZoo = skipWithout({ litestream: litestreamBinary(), "older litestream": litestreamFrameBinary() });

const LEVELS = [0, 1, 2, 3, 9];
const QUESTION = "SELECT count(*) AS rows, sum(a) AS sum, max(b) AS last FROM t";

async function workload(sqlite: PlainDatabase, daemon: Daemon): Promise<void> {
  sqlite.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)");
  for (let i = 0; i < 10; i++) {
    sqlite.exec(`INSERT INTO t(b) VALUES ('row ${i}'), (hex(randomblob(3000)))`);
    await daemon.sync();
  }
}

async function ask(path: string, sql: string) {
  const db = await openPlain(path);
  try {
    return db.all(sql);
  } finally {
    db.close();
  }
}

async function assertLevels(url: string, txid: bigint, env: Record<string, string> = {}) {
  const files = await listFiles(url, { env });
  assert.deepEqual([...new Set(files.map((file) => file.level))], LEVELS);
  assert.equal(files.filter((file) => file.level === 0).at(-1)?.maxTxid, txid);
  // one file a commit, not one for all
  assert.ok(files.filter((file) => file.level === 0).length >= 10);
}

test(
  "replicate() fills every level of a folder, and restore() gives the source back",
  { skip: noDaemon },
  async () => {
    await withFolder(async (folder) => {
      const db = join(folder, "source.db");
      const url = folderUrl(join(folder, "replica"));
      const txid = await replicate({ db, url, run: workload });
      await assertLevels(url, txid);
      assert.deepEqual(readdirSync(join(folder, "replica", "ltx")).sort(), LEVELS.map(String));
      await restore(url, join(folder, "restored.db"));
      assert.ok(readFileSync(join(folder, "restored.db")).equals(readFileSync(db)));
    });
  },
);

test("replicate() fills every level in S3, and restore() gives the source back", { skip: noS3 }, async () => {
  await withFolder(async (folder) => {
    const server = await startS3Server();
    try {
      const db = join(folder, "source.db");
      const url = server.url("some/path");
      const txid = await replicate({ db, url, env: server.env, run: workload });
      await assertLevels(url, txid, server.env);
      const keys = readdirSync(join(server.folder, "some", "path")).sort();
      assert.deepEqual(keys, ["0000", "0001", "0002", "0003", "0009"]);
      await restore(url, join(folder, "restored.db"), { env: server.env });
      assert.ok(readFileSync(join(folder, "restored.db")).equals(readFileSync(db)));
    } finally {
      await server.close();
    }
  });
});

test("restore() stops at the TXID it is given", { skip: noDaemon }, async () => {
  await withFolder(async (folder) => {
    const url = folderUrl(join(folder, "replica"));
    let txid = 0n;
    await replicate({
      db: join(folder, "source.db"),
      url,
      async run(sqlite, daemon) {
        sqlite.exec("CREATE TABLE t(a)");
        txid = await daemon.sync();
        sqlite.exec("INSERT INTO t VALUES (1)");
      },
    });
    await restore(url, join(folder, "restored.db"), { txid });
    assert.deepEqual(await ask(join(folder, "restored.db"), "SELECT count(*) AS n FROM t"), [{ n: 0 }]);
  });
});

test("queryGoVfs() reads a folder", { skip: noGoVfs }, async () => {
  await withFolder(async (folder) => {
    const db = join(folder, "source.db");
    const url = folderUrl(join(folder, "replica"));
    const txid = await replicate({ db, url, run: workload });
    const [answer, position] = await queryGoVfs({ url, sql: [QUESTION, "PRAGMA litestream_txid"] });
    assert.deepEqual(answer, await ask(db, QUESTION));
    const hex = Object.values(position?.[0] ?? {})[0] as string;
    assert.equal(BigInt(`0x${hex}`), txid);
  });
});

test("queryGoVfs() reads from S3", { skip: noGoVfsOnS3 }, async () => {
  await withFolder(async (folder) => {
    const server = await startS3Server();
    try {
      const db = join(folder, "source.db");
      const url = server.url("db");
      await replicate({ db, url, env: server.env, run: workload, waitFor: [0, 9] });
      const [answer] = await queryGoVfs({ url, env: server.env, sql: [QUESTION] });
      assert.deepEqual(answer, await ask(db, QUESTION));
    } finally {
      await server.close();
    }
  });
});

test("queryGoVfs() rejects instead of waiting for an empty replica", { skip: noGoVfs }, async () => {
  await withFolder(async (folder) => {
    await mkdir(join(folder, "replica"));
    const question = { url: folderUrl(join(folder, "replica")), sql: ["SELECT 1"], timeoutMs: 1500 };
    await assert.rejects(queryGoVfs(question), /Go VFS ended with/);
  });
});

test("startS3Server() answers ranges and conditions as S3 does", { skip: noServer }, async () => {
  const server = await startS3Server();
  try {
    const { accessKey, secretKey, region, endpoint, bucket } = server;
    const client = new AwsClient({
      accessKeyId: accessKey,
      secretAccessKey: secretKey,
      region,
      service: "s3",
      retries: 0,
    });
    const send = async (path: string, init: RequestInit) => {
      const answer = await client.fetch(`${endpoint}/${bucket}${path}`, init);
      return { status: answer.status, etag: answer.headers.get("etag") ?? "", body: await answer.text() };
    };
    const once = { method: "PUT", headers: { "if-none-match": "*" } };
    const { status, etag } = await send("/a/1", { ...once, body: "hello world" });
    assert.equal(status, 200);
    assert.equal((await send("/a/1", { ...once, body: "again" })).status, 412);
    const range = { range: "bytes=2-5" };
    const part = await send("/a/1", { headers: { ...range, "if-match": etag } });
    assert.deepEqual(part, { status: 206, etag, body: "llo " });
    assert.equal((await send("/a/1", { headers: { ...range, "if-match": '"other"' } })).status, 412);
    assert.equal((await send("/a/1", { headers: { range: "bytes=99-100" } })).status, 416);
    assert.equal((await send("/a/2", {})).status, 404);
    await send("/a/2", { ...once, body: "second" });
    const listing = await send("?list-type=2&prefix=a%2F&start-after=a%2F1", {});
    assert.deepEqual([...listing.body.matchAll(/<Key>(.*?)<\/Key>/g)].map((match) => match[1]), ["a/2"]);
  } finally {
    await server.close();
  }
});

test("makeReplicaZoo() has every page size, and each restores to its source", { skip: noZoo }, async () => {
  const zoo = await makeReplicaZoo();
  assert.equal(new Set(zoo.map((replica) => replica.pageSize)).size, 8);
  await withFolder(async (folder) => {
    for (const replica of zoo) {
      const out = join(folder, `${replica.name}.db`);
      await restore(replica.url, out);
      assert.ok(readFileSync(out).equals(readFileSync(replica.db)), replica.name);
      assert.deepEqual(await ask(out, "PRAGMA page_size"), [{ page_size: replica.pageSize }]);
    }
  });
});

test("makeReplicaZoo() has pages in both encodings", { skip: noZoo }, async () => {
  for (const replica of await makeReplicaZoo()) {
    for (const name of readdirSync(join(replica.folder, "ltx", "0"))) {
      const file = readFileSync(join(replica.folder, "ltx", "0", name));
      // the first page's header follows the file's 100 bytes: pgno, then flags, whose bit 0 says block
      assert.equal(
        file.readUInt16BE(104) & 1,
        replica.encoding === "block" ? 1 : 0,
        `${replica.name} ${name}`,
      );
    }
  }
});
