/** The API of docs/examples/hono_api.ts: answers, tags, the past, and that a page which is fetched blocks nobody else. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { test } from "node:test";
import { bucketKey } from "../observe/observed.ts";
import { IS_BUN, noiseSql } from "../replica/drivers.ts";
import { until } from "../replica/following.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { FaultSchedule } from "../support/faults.ts";
import { freePort } from "../support/real.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { BEST, endOf, recordRatings, startExample } from "./example.ts";

const LIMIT = { timeout: 60_000 };

interface Api extends AsyncDisposable {
  get(path: string, headers?: Record<string, string>): Promise<Response>;
}

/** Starts the API on a free port, and waits until it answers. */
async function serve(env: Record<string, string>): Promise<Api> {
  const port = await freePort();
  const flags = IS_BUN ? [] : ["serve", "-A", "--quiet", "--port", `${port}`];
  const child: ChildProcess = startExample("hono_api.ts", { env: { ...env, PORT: `${port}` }, flags });
  const ended = endOf(child);
  const get = (path: string, headers = {}) => fetch(`http://127.0.0.1:${port}${path}`, { headers });
  const answers = async () => {
    if (child.exitCode !== null) assert.fail((await ended).err);
    const response = await get("/health").catch(() => undefined);
    await response?.body?.cancel();
    return response?.ok === true;
  };
  await until("the API answers", answers, 30_000);
  return {
    get,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

test(
  "hono_api.ts answers with tags by TXID, and from the past",
  LIMIT,
  () =>
    withReplicaFolder({}, async (folder) => {
      recordRatings(folder);
      await using api = await serve({ LITESTREAM_REPLICA_URL: folder.url });
      const first = await api.get("/sandwiches");
      assert.equal(first.status, 200);
      assert.deepEqual(await first.json(), BEST);
      const etag = first.headers.get("etag")!;
      assert.equal(etag, '"0000000000000001"');
      assert.equal(first.headers.get("cache-control"), "no-cache");
      const again = await api.get("/sandwiches", { "if-none-match": etag });
      assert.deepEqual([again.status, await again.text()], [304, ""]);

      folder.step("INSERT INTO ratings (sandwich, stars) VALUES ('club', 5)");
      await until(
        "the next transaction is seen",
        async () => (await (await api.get("/health")).json()).txid === "2",
      );
      const next = await api.get("/sandwiches/club", { "if-none-match": etag });
      assert.deepEqual([next.status, next.headers.get("etag")], [200, '"0000000000000002"']);
      assert.deepEqual((await next.json()).map(({ stars }: { stars: number }) => stars), [2, 5]);

      // TXID 1 was written at :21, TXID 2 at :22.
      const at = "2023-11-14T22:13:22Z";
      const past = await api.get(`/sandwiches/club?at=${at}`);
      assert.deepEqual((await past.json()).map(({ stars }: { stars: number }) => stars), [2]);
      assert.equal(past.headers.get("etag"), etag);
      const settled = await api.get(`/sandwiches/club?at=2023-11-14T22:13:21.500Z`, {
        "if-none-match": etag,
      });
      assert.equal(settled.status, 304);
      assert.match(settled.headers.get("cache-control")!, /immutable/);
      await settled.body?.cancel();

      const none = await api.get("/sandwiches?at=1999-01-01T00:00:00Z");
      assert.equal(none.status, 503);
      assert.match((await none.json()).error, /1999/);
    }),
);

test("hono_api.ts answers while a query waits for a page", LIMIT, async () => {
  await using s3 = await FakeS3.start();
  await withReplicaFolder({}, (folder) => {
    folder.record("CREATE TABLE ratings (id INTEGER PRIMARY KEY, sandwich TEXT, stars INTEGER)");
    folder.record(noiseSql(300));
    folder.record(`WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 20000)
      INSERT INTO ratings SELECT i, 'blt' || hex(randomblob(16)), i % 5 FROM i`);
    s3.put(bucketKey(9, 1, 3), folder.encode(1, 3));
  });
  const { accessKeyId, secretAccessKey } = s3.options;
  await using api = await serve({
    LITESTREAM_REPLICA_URL: s3.url("/db"),
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
  });
  const before = s3.log.length;
  s3.options.faults = new FaultSchedule([{
    fault: { kind: "slow", delayMs: 1_000 },
    on: "object",
    key: /0009/,
    times: 2,
  }]);
  let isAnswered = false;
  const cold = api.get("/sandwiches").then((response) => {
    isAnswered = true;
    return response;
  });
  await until(
    "a page is being fetched",
    () => s3.log.slice(before).some(({ target }) => target.includes("0009")),
  );
  for (let i = 0; i < 20; i++) assert.equal((await api.get("/health")).status, 200);
  assert.equal(isAnswered, false, "the query did not wait, so it shows nothing");
  const answer = await cold;
  assert.equal(answer.status, 200);
  assert.equal((await answer.json()).length, 20);
});
