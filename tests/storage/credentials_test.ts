import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Credentials,
  CredentialsSource,
  renewalPauseMs,
  renewalTimeMs,
} from "../../src/storage/credentials.ts";

const NOW_MS = Date.parse("2026-11-21T00:00:00Z");
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const SECRET = "hush-hush";

function expiring(hours: number, accessKeyId = "AKID"): Credentials {
  return { accessKeyId, secretAccessKey: SECRET, expiresMs: NOW_MS + hours * HOUR_MS };
}

function keysOf({ accessKeyId, secretAccessKey, sessionToken }: Credentials): unknown[] {
  return [accessKeyId, secretAccessKey, sessionToken];
}

/** A source that loads K1, K2 … of an hour each; the clock, the calls and whether loading fails are the test's. */
function loading(): { source: CredentialsSource; state: { nowMs: number; calls: number; fails: boolean } } {
  const state = { nowMs: NOW_MS, calls: 0, fails: false };
  const source = new CredentialsSource(async () => {
    state.calls++;
    await Promise.resolve();
    if (state.fails) throw new Error("down");
    return { ...expiring(0, `K${state.calls}`), expiresMs: state.nowMs + HOUR_MS };
  }, { now: () => state.nowMs });
  return { source, state };
}

/** Lets renewals in the background end. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1));
}

async function idsOf(source: CredentialsSource, count = 3): Promise<string[]> {
  const all = await Promise.all(Array.from({ length: count }, () => source.current()));
  await turn();
  return all.map(({ accessKeyId }) => accessKeyId);
}

test("CredentialsSource asks ahead of the end, once, while all go on with what holds", async () => {
  const { source, state } = loading();
  assert.deepEqual(await idsOf(source), ["K1", "K1", "K1"]);
  state.nowMs += 55 * MINUTE_MS - 1;
  assert.deepEqual(await idsOf(source), ["K1", "K1", "K1"]);
  assert.equal(state.calls, 1);
  state.nowMs += 1;
  assert.deepEqual(await idsOf(source), ["K1", "K1", "K1"]);
  assert.equal(state.calls, 2);
  assert.deepEqual(await idsOf(source), ["K2", "K2", "K2"]);
  assert.equal(state.calls, 2);
});

test("CredentialsSource asks once for all who wait where the old ones have ended", async () => {
  const { source, state } = loading();
  await source.current();
  state.nowMs += 2 * HOUR_MS;
  assert.deepEqual(await idsOf(source), ["K2", "K2", "K2"]);
  assert.equal(state.calls, 2);
});

test("CredentialsSource does not let a renewal that hangs hold up what still holds", async () => {
  let calls = 0;
  let nowMs = NOW_MS;
  const source = new CredentialsSource(
    () => ++calls === 1 ? expiring(1) : new Promise<never>(() => {}),
    { now: () => nowMs },
  );
  await source.current();
  nowMs += 58 * MINUTE_MS;
  for (let i = 0; i < 3; i++) assert.equal((await source.current()).accessKeyId, "AKID");
  assert.equal(calls, 2);
});

test("CredentialsSource goes on with what holds when a renewal fails, and asks again ever more seldom", async () => {
  const told: unknown[] = [];
  let nowMs = NOW_MS;
  let calls = 0;
  let fails = false;
  const source = new CredentialsSource(() => {
    calls++;
    if (fails) throw new Error("down");
    return { ...expiring(0), expiresMs: nowMs + HOUR_MS };
  }, { now: () => nowMs, onRenewalError: (error) => told.push(String(error)) });
  await source.current();
  fails = true;
  nowMs += 56 * MINUTE_MS;
  const askedAtS: number[] = [];
  for (let second = 0; second < 100; second++, nowMs += 1000) {
    const before = calls;
    assert.deepEqual(await idsOf(source), ["AKID", "AKID", "AKID"]);
    if (calls > before) askedAtS.push(second);
  }
  assert.deepEqual(askedAtS, [0, 1, 3, 7, 15, 31, 61, 91]);
  assert.deepEqual(new Set(told), new Set(["Error: down"]));
  nowMs += 10 * MINUTE_MS;
  await assert.rejects(source.current(), /down/);
  fails = false;
  assert.equal((await source.current()).accessKeyId, "AKID");
});

test("CredentialsSource asks again for credentials that come with little of their life left", async () => {
  let nowMs = NOW_MS;
  let calls = 0;
  const source = new CredentialsSource(() => {
    calls++;
    return expiring(4 / 60); // An instance's service gives the same ones until it has others.
  }, { now: () => nowMs });
  const askedAtS: number[] = [];
  for (let second = 0; second < 240; second++, nowMs += 1000) {
    const before = calls;
    await idsOf(source, 2);
    if (calls > before) askedAtS.push(second);
  }
  assert.deepEqual(askedAtS.slice(0, 5), [0, 120, 180, 210, 225]);
  assert.ok(calls < 12, `${calls}`);
});

test("CredentialsSource refuses newer ones that have expired already", async () => {
  const source = new CredentialsSource(() => expiring(-1), { now: () => NOW_MS });
  await assert.rejects(source.current(), {
    name: "StorageError",
    code: "ExpiredToken",
    retryable: false,
    message: /they expired at 2026-11-20T23:00:00\.000Z and no newer ones have come/,
  });
});

test("CredentialsSource knows what is pushed, and says when it has expired", async () => {
  let nowMs = NOW_MS;
  const source = new CredentialsSource(undefined, { now: () => nowMs });
  await assert.rejects(source.current(), /none were given/);
  source.push(expiring(1, "FIRST"));
  nowMs += HOUR_MS - 1;
  assert.equal((await source.current()).accessKeyId, "FIRST");
  nowMs += 1;
  await assert.rejects(source.current(), {
    retryable: false,
    message: /they expired at 2026-11-21T01:00:00\.000Z and no newer ones have come/,
  });
  source.push(expiring(2, "SECOND"));
  assert.equal((await source.current()).accessKeyId, "SECOND");
});

/** A source whose credentials somebody pushes, and how often it asked for newer ones. */
function pushed(first: Credentials): { source: CredentialsSource; state: { nowMs: number; asked: number } } {
  const state = { nowMs: NOW_MS, asked: 0 };
  const source = CredentialsSource.of(first, { now: () => state.nowMs, onExpired: () => state.asked++ });
  return { source, state };
}

test("CredentialsSource asks whoever pushes once for each set that expired, and fails until it has newer ones", async () => {
  const { source, state } = pushed(expiring(1, "FIRST"));
  await source.current();
  assert.equal(state.asked, 0);
  state.nowMs += HOUR_MS;
  for (let i = 0; i < 3; i++) {
    await assert.rejects(source.current(), {
      name: "StorageError",
      code: "ExpiredToken",
      retryable: true,
      message:
        "Cannot find credentials: they expired at 2026-11-21T01:00:00.000Z, and the function that renews " +
        "them has not run (its thread is busy, querying?) or has failed, expected credentials that hold now",
    });
  }
  assert.equal(state.asked, 1);
  source.push(expiring(2, "SECOND"));
  assert.equal((await source.current()).accessKeyId, "SECOND");
  state.nowMs += HOUR_MS;
  await assert.rejects(source.current(), { retryable: true });
  assert.equal(state.asked, 2);
});

test("CredentialsSource.forget() asks whoever pushes when a server refuses, whatever the set says itself", async () => {
  const { source, state } = pushed(expiring(1, "FIRST"));
  const stale = await source.current();
  assert.equal(source.forget(stale), true);
  assert.equal(source.forget(stale), true);
  await assert.rejects(source.current(), {
    retryable: true,
    message: /the server refuses them as expired, and/,
  });
  assert.equal(state.asked, 1);
  source.push(expiring(1, "SECOND"));
  assert.equal(source.forget(stale), true, "newer ones have come meanwhile");
  assert.equal((await source.current()).accessKeyId, "SECOND");
  assert.equal(state.asked, 1);
});

test("CredentialsSource.forget() of pushed keys that a server does not know fails at once, and asks", async () => {
  const { source, state } = pushed(expiring(1, "FIRST"));
  const wrong = await source.current();
  assert.equal(source.forget(wrong, "unknown"), false);
  assert.equal(state.asked, 1);
  assert.equal((await source.current()).accessKeyId, "FIRST");
});

test("CredentialsSource.forget() tells whether others may come", async () => {
  const fixed = CredentialsSource.of({ accessKeyId: "AKID", secretAccessKey: SECRET });
  assert.equal(fixed.forget(await fixed.current()), false);
  let calls = 0;
  const loaded = new CredentialsSource(() => ({ accessKeyId: `K${++calls}`, secretAccessKey: SECRET }));
  const stale = await loaded.current();
  assert.equal(loaded.forget(stale, "unknown"), true);
  assert.equal(loaded.forget(stale), true, "newer ones are on their way");
  assert.equal((await loaded.current()).accessKeyId, "K2");
  assert.equal(loaded.forget(stale), true, "newer ones have come meanwhile");
  assert.equal((await loaded.current()).accessKeyId, "K2");
});

test("CredentialsSource.forget() drops the old ones also where a renewal fails", async () => {
  const { source, state } = loading();
  source.forget(await source.current());
  state.fails = true;
  await assert.rejects(source.current(), /down/);
  state.fails = false;
  assert.equal((await source.current()).accessKeyId, "K3");
});

test("renewalTimeMs() is five minutes before the end, or at half of a short life, a second from now at least", () => {
  const after = (leftMs: number) => renewalTimeMs({ nowMs: NOW_MS, expiresMs: NOW_MS + leftMs }) - NOW_MS;
  assert.equal(after(HOUR_MS), 55 * MINUTE_MS);
  assert.equal(after(10 * MINUTE_MS), 5 * MINUTE_MS);
  assert.equal(after(MINUTE_MS), MINUTE_MS / 2);
  assert.equal(after(500), 1000);
  assert.equal(after(-HOUR_MS), 1000);
  assert.equal(after(Infinity), Infinity);
});

test("renewalPauseMs() doubles from a second to half a minute", () => {
  const pauses = [1, 2, 3, 4, 5, 6, 7, 100, 5000].map(renewalPauseMs);
  assert.deepEqual(pauses, [1, 2, 4, 8, 16, 30, 30, 30, 30].map((seconds) => seconds * 1000));
});

test("CredentialsSource refuses malformed credentials without repeating them", () => {
  const given: Credentials[] = [
    { accessKeyId: "", secretAccessKey: "hush" },
    { accessKeyId: "AKID", secretAccessKey: "" },
    { accessKeyId: "AKID", secretAccessKey: "hu\nsh" },
    { accessKeyId: "AKID", secretAccessKey: "hush", sessionToken: "hush\r\nx: y" },
    { accessKeyId: "AKID", secretAccessKey: "hush", expiresMs: NaN },
    { accessKeyId: "AKID" } as Credentials,
  ];
  for (const credentials of given) {
    assert.throws(() => CredentialsSource.of(credentials), (error) => {
      assert.ok(error instanceof TypeError && !error.message.includes("hu"));
      return true;
    });
  }
});

test("CredentialsSource forgives a line break at the end", async () => {
  const source = CredentialsSource.of({
    accessKeyId: "AKID\n",
    secretAccessKey: ` ${SECRET}\n`,
    sessionToken: "",
  });
  assert.deepEqual(keysOf(await source.current()), ["AKID", SECRET, undefined]);
});
