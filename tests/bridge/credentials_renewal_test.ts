import assert from "node:assert/strict";
import { test } from "node:test";
import { askCredentials, CredentialsRenewal } from "../../src/bridge/credentials_renewal.ts";
import type { ReplicaError } from "../../src/errors.ts";
import type { StaticCredentials } from "../../src/options.ts";
import type { ReplicaConfig } from "../../src/replica_config.ts";

function keys(lifeMs: number | undefined, accessKeyId = "AKID"): StaticCredentials {
  const expiration = lifeMs === undefined ? {} : { expiration: new Date(Date.now() + lifeMs) };
  return { accessKeyId, secretAccessKey: "hush-hush", ...expiration };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A renewal whose calls, pushes and failures are noted with their time from its start. */
function watched(
  first: StaticCredentials,
  answer: (call: number) => StaticCredentials | Promise<StaticCredentials>,
): {
  renewal: CredentialsRenewal;
  calledMs: number[];
  pushed: ReplicaConfig["credentials"][];
  failures: ReplicaError[];
} {
  const startMs = performance.now();
  const [calledMs, pushed, failures]: [number[], ReplicaConfig["credentials"][], ReplicaError[]] = [
    [],
    [],
    [],
  ];
  const renewal = new CredentialsRenewal(
    () => answer(calledMs.push(performance.now() - startMs)),
    first,
    {
      push: (credentials) => Promise.resolve(pushed.push(credentials)),
      fail: (error) => void failures.push(error),
    },
  );
  return { renewal, calledMs, pushed, failures };
}

test("CredentialsRenewal asks at half of a short life and pushes plain data", async () => {
  const next = keys(3_600_000, "SECOND");
  const { renewal, calledMs, pushed, failures } = watched(keys(2_400), () => next);
  await pause(1_500);
  renewal.stop();
  assert.equal(calledMs.length, 1);
  assert.ok(calledMs[0]! >= 1_190 && calledMs[0]! < 1_450, `${calledMs}`);
  assert.deepEqual(pushed, [{
    accessKeyId: "SECOND",
    secretAccessKey: "hush-hush",
    sessionToken: undefined,
    expirationMs: next.expiration?.getTime(),
  }]);
  assert.deepEqual(failures, []);
});

test("CredentialsRenewal asks again after 1 s and 2 s where the function fails, and tells each failure", async () => {
  const { renewal, calledMs, pushed, failures } = watched(keys(100), (call) => {
    if (call < 3) throw new Error(`no ${call}`);
    return keys(3_600_000);
  });
  await pause(4_500);
  renewal.stop();
  const pauses = calledMs.slice(1).map((ms, i) => ms - calledMs[i]!);
  assert.ok(pauses.length === 2 && pauses[0]! >= 990 && pauses[1]! >= 1_990, `${pauses}`);
  assert.deepEqual(failures.map(({ message }) => message), [
    "Cannot renew credentials: no 1",
    "Cannot renew credentials: no 2",
  ]);
  assert.ok(failures[0]?.cause instanceof Error);
  assert.equal(pushed.length, 1);
});

test("CredentialsRenewal.renew() asks at once, a second after the last call at least, and once at a time", async () => {
  let release: (keys: StaticCredentials) => void = () => {};
  const { renewal, calledMs, pushed } = watched(
    keys(undefined),
    () => new Promise((resolve) => release = resolve),
  );
  renewal.renew();
  await pause(1_200);
  for (let i = 0; i < 3; i++) renewal.renew();
  assert.equal(calledMs.length, 1);
  release(keys(undefined));
  await pause(20);
  assert.equal(pushed.length, 1);
  for (let i = 0; i < 3; i++) renewal.renew();
  await pause(1_100);
  renewal.stop();
  assert.equal(calledMs.length, 2);
});

test("CredentialsRenewal takes keys that have expired already for a failure", async () => {
  const { renewal, pushed, failures } = watched(keys(100), () => keys(-60_000));
  await pause(1_300);
  renewal.stop();
  assert.deepEqual(pushed, []);
  assert.match(failures[0]?.message ?? "", /^Cannot renew credentials: they expired at 20\S+Z already$/);
});

test("CredentialsRenewal.stop() ends it, also while the function is asked", async () => {
  let release: (keys: StaticCredentials) => void = () => {};
  const { renewal, calledMs, pushed, failures } = watched(
    keys(100),
    () => new Promise((resolve) => release = resolve),
  );
  await pause(1_100);
  assert.equal(calledMs.length, 1);
  renewal.stop();
  release(keys(100));
  renewal.renew();
  await pause(1_200);
  assert.deepEqual([calledMs.length, pushed.length, failures.length], [1, 0, 0]);
});

test("askCredentials() ends with its signal", async () => {
  const controller = new AbortController();
  const asking = askCredentials(() => new Promise(() => {}), {
    timeoutMs: 60_000,
    signal: controller.signal,
  });
  controller.abort(new Error("enough"));
  await assert.rejects(asking, /enough/);
});
