import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openReplica, type Replica, type StaticCredentials } from "../../mod.ts";
import { makeReplica } from "../soak/soak_support.ts";
import { FaultSchedule } from "../support/faults.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { Reader } from "./reader.ts";

const KEY = "db/0009/0000000000000001-0000000000000001.ltx";

/** The replica's one file: small enough to come whole, so that no query waits for this thread, which serves. */
function smallFile(rows: number): Promise<Uint8Array> {
  return fileOf(rows);
}

async function fileOf(rows: number): Promise<Uint8Array> {
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
  const { endpoint } = server;
  let calls = 0;
  const credentials = () => {
    calls++;
    return keysFor(server, calls === 1 ? 3_000 : 3_600_000);
  };
  await using replica = await openReplica("s3://bucket/db", { endpoint, credentials });
  assert.equal(calls, 1);
  await until(() => calls === 2);
  assert.equal(replica.lastError, undefined);
});

/** The server's keys, with an end. */
function keysFor({ options }: FakeS3, lifeMs: number): StaticCredentials {
  const { accessKeyId, secretAccessKey, sessionToken } = options;
  return { accessKeyId, secretAccessKey, sessionToken, expiration: new Date(Date.now() + lifeMs) };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function until(holds: () => boolean, timeoutMs = 10_000): Promise<void> {
  for (const endMs = Date.now() + timeoutMs; !holds() && Date.now() < endMs;) await pause(20);
  assert.ok(holds());
}

const LARGE_ROWS = 8_000;
const SUM = "SELECT sum(length(body)) AS bytes FROM t";

/** A replica too large to come whole, and a thread that queries it; `credentials` are the function's answers. */
async function withReader(
  server: FakeS3,
  credentials: () => StaticCredentials | Promise<StaticCredentials>,
  use: (replica: Replica, sum: () => ReturnType<Reader["ask"]>) => Promise<void>,
): Promise<string[]> {
  const told: string[] = [];
  server.put(KEY, await fileOf(LARGE_ROWS));
  await using replica = await openReplica("s3://bucket/db", {
    endpoint: server.endpoint,
    credentials,
    requestTimeoutMs: 2_000,
    log: ({ level, message }) => told.push(`${level} ${message}`),
  });
  const reader = await Reader.start({ shared: replica.share() });
  try {
    await use(replica, () => reader.ask(SUM));
  } finally {
    await reader.close();
  }
  return told;
}

test("keys of a function that the server refuses as expired are renewed at once, and the query goes on", async () => {
  await using server = await FakeS3.start({ sessionToken: "token-of-the-first" });
  let calls = 0;
  const credentials = () => {
    calls++;
    return keysFor(server, 3_600_000);
  };
  await withReader(server, credentials, async (_, sum) => {
    Object.assign(server.options, { sessionToken: "the-second", expiredTokens: ["token-of-the-first"] });
    const { rows, error } = await sum();
    assert.deepEqual([rows.map(({ bytes }) => bytes), error], [[LARGE_ROWS * 200], undefined]);
    assert.equal(calls, 2);
    assert.ok(server.log.some(({ status }) => status === 400));
  });
});

test("expired keys whose function does not come to run fail a query with words, and the next one works", async () => {
  await using server = await FakeS3.start();
  let calls = 0;
  let answer: (keys: StaticCredentials) => void = () => {};
  const credentials = () => {
    if (++calls === 1) return keysFor(server, 1_500);
    return new Promise<StaticCredentials>((resolve) => answer = resolve);
  };
  await withReader(server, credentials, async (_, sum) => {
    await until(() => calls === 2);
    await pause(600);
    const { error } = await sum();
    assert.match(
      error?.lastError ?? "",
      /DeadlineError: Cannot read .*they expired at 20.*Z, and the function that renews them has not run/,
    );
    answer(keysFor(server, 3_600_000));
    await pause(100);
    assert.equal((await sum()).error, undefined);
    assert.equal(calls, 2);
  });
});

test("keys that expire while the function's thread is busy fail a query with words, and the next one works", async () => {
  await using server = await FakeS3.start();
  let calls = 0;
  const credentials = () => keysFor(server, ++calls === 1 ? 1_200 : 3_600_000);
  await withReader(server, credentials, async (_, sum) => {
    const block = (ms: number) => {
      for (const endMs = performance.now() + ms; performance.now() < endMs;);
    };
    block(1_300); // As a query of this thread would; the keys end meanwhile.
    const asked = sum();
    block(3_000);
    assert.equal(calls, 1);
    assert.match(
      (await asked).error?.lastError ?? "",
      /they expired at 20.*Z, and the function that renews them has not run \(its thread is busy, querying\?\)/,
    );
    await until(() => calls === 2);
    await pause(100);
    assert.equal((await sum()).error, undefined);
  });
});

test("a query that finds expired keys waits for newer ones", async () => {
  await using server = await FakeS3.start();
  let calls = 0;
  const credentials = async () => {
    if (++calls === 1) return keysFor(server, 1_200);
    await pause(1_200);
    return keysFor(server, 3_600_000);
  };
  await withReader(server, credentials, async (_, sum) => {
    await until(() => calls === 2);
    await pause(300); // Expired by now; the newer ones come in less than a second.
    const { error, ms } = await sum();
    assert.equal(error, undefined);
    assert.ok(ms > 300, `${ms}`);
  });
});

test("a credentials function that fails is told, and called again while the keys hold", async () => {
  await using server = await FakeS3.start();
  let calls = 0;
  const credentials = () => {
    if (++calls === 2) throw new Error("the vault is sealed");
    return keysFor(server, calls === 1 ? 6_000 : 3_600_000);
  };
  const told = await withReader(server, credentials, async (replica, sum) => {
    await until(() => calls === 2);
    await pause(20);
    assert.match(replica.lastError?.message ?? "", /^Cannot renew credentials: the vault is sealed$/);
    assert.equal((await sum()).error, undefined);
    await until(() => calls === 3);
  });
  assert.deepEqual(told, ["warn Cannot renew credentials: the vault is sealed"]);
});

test("keys are renewed while an opening waits for the replica's first files", async () => {
  await using server = await FakeS3.start();
  let calls = 0;
  const credentials = () => keysFor(server, ++calls < 3 ? 2_000 : 3_600_000);
  const opening = openReplica("s3://bucket/db", {
    endpoint: server.endpoint,
    credentials,
    requestTimeoutMs: 5_000,
    waitForReplicaMs: 60_000,
  });
  await Promise.race([pause(2_500), opening]);
  server.put(KEY, await smallFile(20));
  await using replica = await opening;
  assert.equal(replica.txid, 1n);
  assert.ok(calls >= 3);
});

test("openReplica() tells a credentials function that gives nothing, or not in time", async () => {
  const open = (credentials: () => StaticCredentials | Promise<StaticCredentials>) =>
    openReplica("s3://bucket/db", { endpoint: "http://127.0.0.1:1", credentials, openTimeoutMs: 100 });
  await assert.rejects(open(() => undefined as unknown as StaticCredentials), {
    name: "TypeError",
    message: /the function gave undefined/,
  });
  await assert.rejects(open(() => ({ accessKeyId: "AKID", secretAccessKey: "" })), { name: "TypeError" });
  await assert.rejects(open(() => new Promise(() => {})), {
    name: "DeadlineError",
    message: "Cannot get credentials: the function gave none after 100 ms",
  });
});

test("openTimeoutMs is for a credentials function and what comes after it together", async () => {
  await using server = await FakeS3.start();
  server.options.faults = new FaultSchedule([{ fault: { kind: "silence" } }]);
  const began = performance.now();
  const credentials = async () => {
    await pause(1_600);
    return keysFor(server, 3_600_000);
  };
  await assert.rejects(
    openReplica("s3://bucket/db", { endpoint: server.endpoint, credentials, openTimeoutMs: 2_000 }),
    { name: "DeadlineError", message: "Cannot open replica s3://bucket/db: not done after 2000 ms" },
  );
  const tookMs = performance.now() - began;
  assert.ok(tookMs > 1_900 && tookMs < 3_200, `${tookMs} ms`);
});

test("openReplica() says which credentials it looked for", async () => {
  await using server = await FakeS3.start();
  const { endpoint } = server;
  await assert.rejects(
    openReplica("s3://bucket/db", { endpoint, credentials: { accessKeyId: "", secretAccessKey: "" } }),
    { name: "TypeError", message: /accessKeyId or secretAccessKey is missing/ },
  );
});
