import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openReplica } from "../../mod.ts";
import { makeReplica } from "../soak/soak_support.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { type Fault, FaultSchedule } from "../support/faults.ts";
import { Reader } from "./reader.ts";

const KEY = "db/0009/0000000000000001-0000000000000001.ltx";

/** Opens a replica too large to come whole, lets every read meet a fault, and asks for all of it. */
async function askUnder(fault: Fault): Promise<{ message: string; lastError: string } | undefined> {
  const source = await makeReplica(8_000);
  await using server = await FakeS3.start();
  server.put(KEY, await readFile(fileURLToPath(`${source.url}/ltx/9/${KEY.split("/").at(-1)}`)));
  await source.remove();
  const { endpoint, options } = server;
  const { accessKeyId, secretAccessKey } = options;
  await using replica = await openReplica("s3://bucket/db", {
    endpoint,
    credentials: { accessKeyId, secretAccessKey },
    requestTimeoutMs: 2_500,
  });
  const reader = await Reader.start({ shared: replica.share() });
  options.faults = new FaultSchedule([{ fault, on: "object" }]);
  const { error } = await reader.ask("SELECT sum(length(body)) FROM t");
  options.faults = new FaultSchedule([]);
  const again = await reader.ask("SELECT sum(length(body)) AS bytes FROM t");
  assert.deepEqual(again.rows.map(({ bytes }) => bytes), [8_000 * 200], "reads go on once the server does");
  await reader.close();
  return error;
}

test("R7: a server that never answers fails a read at its deadline, and the next read works", async () => {
  const error = await askUnder({ kind: "silence" });
  assert.match(error?.lastError ?? "", /^DeadlineError: Cannot read .* expected one within 2\.\d s/);
});

test("R7: a server that answers 503 for ever fails a read at its deadline, and the next read works", async () => {
  const error = await askUnder({ kind: "status", status: 503, code: "SlowDown" });
  assert.match(error?.lastError ?? "", /^DeadlineError: .*status 503 SlowDown/);
});
