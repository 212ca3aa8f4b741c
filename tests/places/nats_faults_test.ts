import assert from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { StorageError } from "../../src/errors.ts";
import { AdaptedStore } from "../../src/storage/adapted_store.ts";
import { RetryingStore } from "../../src/storage/retrying_store.ts";
import type { Storage, StoredObject } from "../../src/storage/storage.ts";
import {
  jetStream,
  type NatsServer,
  natsServerBinary,
  natsServerOldBinary,
  natsStorage,
  startNatsServer,
} from "../support/nats_server.ts";
import { Random } from "../support/random.ts";
import {
  freePort,
  litestreamBinary,
  litestreamFrameBinary,
  replicate,
  skipWithout,
  withFolder,
} from "../support/real.ts";

const skip = skipWithout({ "nats-server": natsServerBinary() });
const skipOld = skipWithout({ "old nats-server": natsServerOldBinary() });
const request = { signal: new AbortController().signal, onProgress: () => {} };
const KiB = 1024;

/** How often a bucket is made anew at most, until the server's own stream is. */
const ANEW_ATTEMPTS = 10;
let server: NatsServer;
before(async () => {
  if (!skip) server = await startNatsServer();
});
after(() => server?.close());

async function newBucket(config: Record<string, unknown> = {}): Promise<string> {
  const bucket = `b${crypto.randomUUID()}`;
  await server.makeBucket(bucket, config);
  return bucket;
}

async function withStorage<T>(url: string, work: (storage: Storage) => Promise<T>): Promise<T> {
  const storage = await natsStorage(url);
  try {
    return await work(storage);
  } finally {
    await storage.close!();
  }
}

async function listed(storage: Storage): Promise<StoredObject[]> {
  const objects: StoredObject[] = [];
  for await (const page of storage.list("", request)) objects.push(...page);
  return objects;
}

/** Puts objects whose chunks are cut anyhow and lie between each other's, as writers do at the same time. */
async function putInterleaved(
  host: NatsServer,
  bucket: string,
  random: Random,
): Promise<Map<string, Uint8Array>> {
  const connection = await host.connect();
  const send = async (subject: string, data: Uint8Array | string) => {
    await connection.request(subject, data, { timeout: 5_000 });
  };
  const objects = Array.from({ length: 3 }, (_, i) => {
    const chunks = Array.from({ length: 1 + random.next(60) }, () => random.bytes(1 + random.next(9_000)));
    return { name: `ltx/0/${i}`, nuid: `N${i}`, chunks, content: Buffer.concat(chunks) };
  });
  const left = objects.map(({ nuid, chunks }) => ({ nuid, chunks: [...chunks] }));
  while (left.some(({ chunks }) => chunks.length > 0)) {
    const { nuid, chunks } = left[random.next(left.length)]!;
    const chunk = chunks.shift();
    if (chunk) await send(`$O.${bucket}.C.${nuid}`, chunk);
  }
  for (const { name, nuid, chunks, content } of objects) {
    const meta = { name, bucket, nuid, size: content.length, chunks: chunks.length };
    const token = Buffer.from(name).toString("base64").replaceAll("+", "-").replaceAll("/", "_");
    await send(
      `$O.${bucket}.M.${token}`,
      JSON.stringify({ ...meta, options: { max_chunk_size: 128 * KiB } }),
    );
  }
  await connection.close();
  return new Map(objects.map(({ name, content }) => [name, Uint8Array.from(content)]));
}

async function readsEveryRange(host: NatsServer, bucket: string): Promise<void> {
  const random = new Random(11);
  const contents = await putInterleaved(host, bucket, random);
  await withStorage(`nats://${host.host}/${bucket}`, async (storage) => {
    for (const { key, etag, size } of await listed(storage)) {
      const content = contents.get(key)!;
      assert.equal(size, content.length);
      for (let i = 0; i < 25; i++) {
        const offset = i === 0 ? 0 : random.next(size);
        const range = { offset, size: 1 + random.next(i % 2 ? 2_000 : size) };
        const found = await storage.read(key, range, { ...request, etag });
        assert.deepEqual(found?.bytes, content.slice(offset, offset + range.size), `${key} from ${offset}`);
      }
    }
  });
}

test("nats: ranges come from chunks between those of others, by batches", { skip }, async () => {
  await readsEveryRange(server, await newBucket());
});

test("nats: ranges come by a consumer where a bucket allows no direct gets", { skip }, async () => {
  await readsEveryRange(server, await newBucket({ allow_direct: false }));
});

test("nats: ranges come by a consumer from a server of before 2.11", { skip: skipOld }, async () => {
  const old = await startNatsServer({ binary: natsServerOldBinary() });
  try {
    await old.makeBucket("b");
    await readsEveryRange(old, "b");
    await withStorage(`nats://${old.host}/b`, async (storage) => {
      await storage.put!("small", Uint8Array.of(1, 2, 3), { ...request, ifAbsent: true });
      const { etag } = (await listed(storage)).find(({ key }) => key === "small")!;
      const before = storage.counts!.get;
      const found = await storage.read("small", { offset: 1, size: 1 }, { ...request, etag });
      assert.deepEqual(found?.bytes, Uint8Array.of(2));
      assert.equal(storage.counts!.get - before, 1, "what is one message comes by one direct get");
    });
  } finally {
    await old.close();
  }
});

for (
  const [release, binary] of [["0.5.17", litestreamBinary()], ["0.5.15", litestreamFrameBinary()]] as const
) {
  const skipRelease = skip || skipWithout({ [`litestream ${release}`]: binary });
  test(
    `nats: pages of files that Litestream ${release} compacted`,
    { skip: skipRelease },
    () =>
      withFolder(async (folder) => {
        const url = `nats://${server.host}/${await newBucket()}`;
        await replicate({
          db: join(folder, "primary.db"),
          url,
          binary: binary!,
          waitFor: [0, 1, 9],
          run(sqlite) {
            sqlite.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)");
            sqlite.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
            INSERT INTO t(b) SELECT randomblob(700) FROM n`);
          },
        });
        await withStorage(url, async (storage) => {
          const compacted = (await listed(storage)).filter(({ key, size }) =>
            !key.startsWith("ltx/0/") && size > 1e6
          );
          assert.ok(compacted.length > 0);
          for (const { key, etag, size } of compacted) {
            const read = async (offset: number, size: number) =>
              (await storage.read(key, { offset, size }, { ...request, etag }))!.bytes;
            const found = new Map<number, Uint8Array>([[
              size - 32 * KiB,
              await read(size - 32 * KiB, 32 * KiB),
            ]]);
            await read(size >> 1, 1); // Finds it in the stream, where it lies between others.
            const random = new Random(3);
            const before = storage.counts!.bytes;
            for (let i = 0; i < 20; i++) {
              const offset = random.next(size - 5_000);
              found.set(offset, await read(offset, 5_000));
            }
            const each = (storage.counts!.bytes - before) / 20;
            assert.ok(each < 20_000, `${each} bytes for 5,000 in ${key}`);
            const whole = await read(0, size);
            for (const [offset, bytes] of found) {
              assert.deepEqual(bytes, whole.slice(offset, offset + bytes.length), `${key} from ${offset}`);
            }
          }
        });
      }),
  );
}

test("nats: a further listing asks for changes only, mostly in one request", { skip }, async () => {
  const url = `nats://${server.host}/${await newBucket()}`;
  await withStorage(url, (storage) =>
    withStorage(url, async (other) => {
      const put = (key: string) => other.put!(key, Uint8Array.of(1), { ...request, ifAbsent: false });
      for (const key of ["a", "b", "c"]) await put(key);
      const keys = async () => (await listed(storage)).map(({ key }) => key).sort().join();
      assert.equal(await keys(), "a,b,c");
      for (
        const [change, expected, requests] of [
          [() => put("d"), "a,b,c,d", 1],
          [() => other.remove!(["d"], request), "a,b,c", 3], // The last message listed is no more.
          [() => put("d"), "a,b,c,d", 2], // Nor is it now; the stream is known since.
          [() => other.remove!(["d"], request), "a,b,c", 2],
          [() => put("b"), "a,b,c", 1],
          [() => other.remove!(["a", "c"], request), "b", 1],
          [() => Promise.resolve(), "b", 1],
        ] as const
      ) {
        await change();
        const before = storage.counts!.list;
        assert.equal(await keys(), expected);
        assert.equal(storage.counts!.list - before, requests, expected);
      }
    }));
});

test("nats: a bucket that was made anew is listed anew", { skip }, async () => {
  const bucket = await newBucket();
  const url = `nats://${server.host}/${bucket}`;
  await withStorage(url, (storage) =>
    withStorage(url, async (other) => {
      const put = (key: string) => other.put!(key, Uint8Array.of(1), { ...request, ifAbsent: true });
      for (const key of ["a", "b", "c"]) await put(key);
      assert.equal((await listed(storage)).length, 3);
      const connection = await server.connect();
      await jetStream(connection, `STREAM.DELETE.OBJ_${bucket}`);
      await connection.close();
      await assert.rejects(listed(storage), isFault(404, false, /bucket of object store that is there/));
      await server.makeBucket(bucket);
      await put("z");
      assert.deepEqual((await listed(storage)).map(({ key }) => key), ["z"]);
    }));
});

/** A server goes on answering from a deleted stream for a moment. */
async function nobodyAnswers(connection: Awaited<ReturnType<NatsServer["connect"]>>, subject: string) {
  while (await connection.request(subject, "{}").then(() => true, () => false));
}

/** Has a bucket deleted and made again until the server's own stream is empty: sometimes it still has what was deleted. */
async function makeBucketAnew(bucket: string): Promise<void> {
  const connection = await server.connect();
  try {
    for (let attempt = 1;; attempt++) {
      await jetStream(connection, `STREAM.DELETE.OBJ_${bucket}`);
      await nobodyAnswers(connection, `$JS.API.DIRECT.GET.OBJ_${bucket}`);
      await server.makeBucket(bucket);
      const { state } = await jetStream(connection, `STREAM.INFO.OBJ_${bucket}`);
      if (state.messages === 0) return;
      assert.ok(
        attempt < ANEW_ATTEMPTS,
        `the server's stream has ${state.messages} messages of the deleted one`,
      );
    }
  } finally {
    await connection.close();
  }
}

test("nats: a bucket made anew is told from one whose last object was replaced", { skip }, async () => {
  const bucket = await newBucket();
  const url = `nats://${server.host}/${bucket}`;
  await withStorage(url, (storage) =>
    withStorage(url, async (other) => {
      const put = (key: string) => other.put!(key, Uint8Array.of(1), { ...request, ifAbsent: false });
      const keys = async () => (await listed(storage)).map(({ key }) => key).sort().join();
      for (const replaced of [false, true]) {
        for (const key of ["a", "last"]) await put(key);
        await keys();
        if (replaced) await put("last");
        assert.equal(await keys(), "a,last");
        await makeBucketAnew(bucket);
        for (const key of ["x", "y", "z", "last"]) await put(key);
        assert.equal(await keys(), "last,x,y,z");
        await other.remove!(["x", "y", "z"], request);
      }
    }));
});

test("nats: a link to an object elsewhere is no object", { skip }, async () => {
  const bucket = await newBucket();
  const connection = await server.connect();
  const link = { name: "l", bucket, nuid: "N", options: { link: { bucket: "other" } } };
  await connection.request(`$O.${bucket}.M.bA==`, JSON.stringify(link));
  await connection.close();
  await withStorage(`nats://${server.host}/${bucket}`, async (storage) => {
    assert.deepEqual(await listed(storage), []);
    assert.equal(await storage.read("l", { offset: 0, size: 1 }, request), undefined);
    for (const ifAbsent of [true, false]) {
      await assert.rejects(
        storage.put!("l", Uint8Array.of(1), { ...request, ifAbsent }),
        isFault(409, false, /a link lies there, expected an object or none/),
      );
    }
  });
});

test("nats: the time of an object is what Litestream keeps beside it", { skip }, async () => {
  const url = `nats://${server.host}/${await newBucket()}`;
  const timestampMs = Date.UTC(2020, 1, 3, 4, 5, 6, 789);
  await withStorage(url, async (storage) => {
    const made = await storage.put!("k", Uint8Array.of(1), { ...request, ifAbsent: true, timestampMs });
    assert.equal(made?.modifiedMs, timestampMs);
  });
  await withStorage(url, async (storage) => {
    assert.deepEqual((await listed(storage)).map(({ modifiedMs }) => modifiedMs), [timestampMs]);
  });
});

test("nats: what lost a race leaves no chunks behind", { skip }, async () => {
  const bucket = await newBucket();
  await withStorage(`nats://${server.host}/${bucket}`, async (storage) => {
    const put = (byte: number, ifAbsent: boolean) =>
      storage.put!("k", new Uint8Array(300 * KiB).fill(byte), { ...request, ifAbsent });
    const made = await Promise.all(Array.from({ length: 6 }, (_, i) => put(i, true)));
    assert.equal(made.filter((one) => one !== undefined).length, 1);
    await put(9, false);
    const connection = await server.connect();
    const { state } = await jetStream(connection, `STREAM.INFO.OBJ_${bucket}`);
    await connection.close();
    assert.equal(state.messages, 4, "three chunks and what describes them");
  });
});

test("nats: a bucket that is not there is told of at once", { skip }, async () => {
  await withStorage(`nats://${server.host}/none`, async (storage) => {
    const isMissing = isFault(
      404,
      false,
      /stream not found .*expected a bucket of object store that is there/,
    );
    await assert.rejects(listed(storage), isMissing);
    await assert.rejects(storage.read("k", { offset: 0, size: 1 }, request), isMissing);
    await assert.rejects(storage.remove!(["k"], request), isMissing);
  });
});

test("nats: what a user may not do is told of at once", { skip }, async () => {
  const admin = { user: "all", pass: "all" };
  const own = await startNatsServer({
    config: [
      "authorization { users: [ { user: all, password: all }, { user: reader, password: secret, permissions: {",
      '  publish: { deny: ["$O.>", "$JS.API.STREAM.PURGE.>"] } } } ] }',
    ],
    admin,
  });
  try {
    await own.makeBucket("b");
    await withStorage(`nats://all:all@${own.host}/b`, async (storage) => {
      await storage.put!("k", Uint8Array.of(1), { ...request, ifAbsent: true });
    });
    await withStorage(`nats://reader:secret@${own.host}/b`, async (storage) => {
      assert.equal((await listed(storage)).length, 1);
      const put = storage.put!("other", Uint8Array.of(1), { ...request, ifAbsent: true });
      await assert.rejects(put, isFault(403, false, /Permissions Violation.*expected a user who may/));
      assert.equal((await listed(storage)).length, 1);
    });
  } finally {
    await own.close();
  }
});

test("nats: after a server's restart the next attempt connects anew", { skip }, async () => {
  const own = await startNatsServer();
  try {
    await own.makeBucket("b");
    const store = new RetryingStore(new AdaptedStore("nats", await natsStorage(`nats://${own.host}/b`)));
    const { etag } = await store.put("k", Uint8Array.of(1, 2));
    await own.restart();
    const found = await store.read({ key: "k", etag, size: 2 }, { offset: 0, size: 2 });
    assert.deepEqual(found.bytes, Uint8Array.of(1, 2));
    await store.close();
  } finally {
    await own.close();
  }
});

test("nats: nobody there is a fault that may pass", { skip }, async () => {
  await withStorage(`nats://127.0.0.1:${await freePort()}/b`, async (storage) => {
    await assert.rejects(listed(storage), isFault(0, true, /refused/));
  });
});

test("nats: of several servers the next one is tried", { skip }, async () => {
  const url = `nats://127.0.0.1:${await freePort()},${server.host}/${await newBucket()}`;
  const store = new RetryingStore(new AdaptedStore("nats", await natsStorage(url)));
  await store.put("k", Uint8Array.of(1));
  await store.close();
});

test("nats: a signal ends a request that nothing answers, and close() a connection", { skip }, async () => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => void sockets.push(socket.on("error", () => {})));
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const { port } = silent.address() as { port: number };
  const controller = new AbortController();
  const reason = new Error("enough");
  await withStorage(`nats://127.0.0.1:${port}/b`, async (storage) => {
    const reading = storage.read("k", { offset: 0, size: 1 }, { ...request, signal: controller.signal });
    controller.abort(reason);
    await assert.rejects(reading, reason);
  });
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => silent.close(resolve));
});

function isFault(status: number, retryable: boolean, message: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof StorageError, String(error));
    assert.match(error.message, message);
    assert.deepEqual({ status: error.status, retryable: error.retryable }, { status, retryable });
    return true;
  };
}
