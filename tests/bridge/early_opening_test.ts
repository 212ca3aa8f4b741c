/** An opening that is begun on a core before it is known whether that core is to open the replica. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { CoreClient } from "../../src/bridge/core_client.ts";
import { makeConfig } from "../../src/replica_config.ts";
import { findShim } from "../../src/shim_path.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { until } from "../replica/following.ts";

interface Begun {
  readonly core: CoreClient;
  readonly s3: FakeS3;
  readonly id: number;
  readonly opening: Promise<number>;
  readonly logPath: string;
  readonly abort: AbortController;
}

/** A writer's opening on a core that serves. */
async function withBegun(use: (begun: Begun) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "early-opening-"));
  await using s3 = await FakeS3.start();
  const { accessKeyId, secretAccessKey } = s3.options;
  const place = { endpoint: s3.endpoint, credentials: { accessKeyId, secretAccessKey } };
  const logPath = join(folder, "log");
  const config = makeConfig(
    "s3://bucket/db",
    { ...place, write: true, lease: true, bufferPath: logPath },
    {},
  );
  const core = await CoreClient.begin();
  try {
    const abort = new AbortController();
    const id = core.newId();
    const opening = core.open(config, { signal: abort.signal, id, isEarly: true });
    opening.catch(() => {});
    await core.serve({ shimPath: findShim() });
    await until("it is listed", () => s3.log.length > 0);
    await new Promise((resolve) => setTimeout(resolve, 200)); // time enough for what must not be
    assert.ok(s3.log.every(({ method }) => method === "GET"), s3.log.map(({ method }) => method).join());
    assert.ok(!existsSync(`${logPath}.lock`));
    await use({ core, s3, id, opening, logPath, abort });
  } finally {
    await core.stop();
    await rm(folder, { recursive: true });
  }
}

test("it stores nothing and opens no log before it is confirmed; then it goes on", () =>
  withBegun(async ({ core, s3, id, opening, logPath }) => {
    await core.call({ kind: "confirm", of: id });
    const replicaId = await opening;
    assert.ok(replicaId > 0);
    assert.ok(s3.keys().some((key) => key.endsWith("lock.json")), s3.keys().join());
    assert.ok(existsSync(`${logPath}.lock`));
    await core.call({ kind: "close", replicaId });
  }));

test("one that is given up has stored nothing", () =>
  withBegun(async ({ core, s3, id, opening, logPath, abort }) => {
    abort.abort(new Error("meant"));
    await assert.rejects(opening, /meant/);
    await core.call({ kind: "confirm", of: id }); // too late
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.deepEqual(s3.keys(), []);
    assert.ok(!existsSync(`${logPath}.lock`));
  }));

test("one on a core without a shim fails with its core", async () => {
  const core = await CoreClient.begin();
  const config = makeConfig("file:///no/replica", {}, {});
  const opening = core.open(config, { isEarly: true });
  opening.catch(() => {});
  await assert.rejects(core.serve({ shimPath: "/no/such/shim.so" }), /Cannot load shim/);
  await assert.rejects(opening, /Cannot reach core/);
  await core.ended;
});
