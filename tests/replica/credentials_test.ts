import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openReplica } from "../../mod.ts";
import { makeReplica } from "../soak/soak_support.ts";
import { FakeS3 } from "../support/fake_s3.ts";

const KEY = "db/0009/0000000000000001-0000000000000001.ltx";

/** The replica's one file: small enough to come whole, so that no query waits for this thread, which serves. */
async function smallFile(rows: number): Promise<Uint8Array> {
  const source = await makeReplica(rows);
  try {
    return await readFile(fileURLToPath(`${source.url}/ltx/9/${KEY.split("/").at(-1)}`));
  } finally {
    await source.remove();
  }
}

test("openReplica(): 20 replicas with credentials of their own stand side by side", async () => {
  const servers = await Promise.all(Array.from({ length: 20 }, async (_, i) => {
    const options = {
      accessKeyId: `KEY${i}`,
      secretAccessKey: `secret-of-${i}`,
      sessionToken: i % 2 ? `token${i}` : "",
    };
    const server = await FakeS3.start(options);
    server.put(KEY, await smallFile(10 + i));
    return server;
  }));
  try {
    const replicas = await Promise.all(servers.map(({ endpoint, options }) => {
      const { accessKeyId, secretAccessKey, sessionToken } = options;
      const credentials = { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
      return openReplica("s3://bucket/db", { endpoint, credentials });
    }));
    const connections = replicas.map((replica) => replica.connect());
    const counts = connections.map((database) => database.prepare("SELECT count(*) AS n FROM t").get().n);
    assert.deepEqual(counts, Array.from({ length: 20 }, (_, i) => 10 + i));
    for (const database of connections) database.close();
    await Promise.all(replicas.map((replica) => replica.close()));
    const { endpoint } = servers[0]!;
    const { accessKeyId, secretAccessKey } = servers[2]!.options;
    await assert.rejects(
      openReplica("s3://bucket/db", { endpoint, credentials: { accessKeyId, secretAccessKey } }),
      { name: "StorageError", status: 403 },
    );
  } finally {
    await Promise.all(servers.map((server) => server.close()));
  }
});

test("openReplica() calls a credentials function, and again before they expire", async () => {
  await using server = await FakeS3.start();
  server.put(KEY, await smallFile(20));
  const { endpoint, options: { accessKeyId, secretAccessKey } } = server;
  let calls = 0;
  const credentials = () => {
    calls++;
    // The first ones end within the margin, so that the second call comes after the least wait of a second.
    const expiration = new Date(Date.now() + (calls === 1 ? 60_000 : 3_600_000));
    return { accessKeyId, secretAccessKey, expiration };
  };
  await using replica = await openReplica("s3://bucket/db", { endpoint, credentials });
  assert.equal(calls, 1);
  for (let i = 0; i < 100 && calls < 2; i++) await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(calls, 2);
  assert.equal(replica.lastError, undefined);
});

test("openReplica() says which credentials it looked for", async () => {
  await using server = await FakeS3.start();
  const { endpoint } = server;
  await assert.rejects(
    openReplica("s3://bucket/db", { endpoint, credentials: { accessKeyId: "", secretAccessKey: "" } }),
    { name: "TypeError", message: /accessKeyId or secretAccessKey is missing/ },
  );
});
