/**
 * What queries and the follower do while the world is broken, and after: the replica stays open all the time.
 *
 * LONG=1 has each fault last a minute, with default options, and prints a table.
 */
import assert from "node:assert/strict";
import process from "node:process";
import { after, test } from "node:test";
import type { ProxyFault } from "../support/flaky_proxy.ts";
import { litestreamBinary, s3ServerBinary, skipWithout } from "../support/real.ts";
import { noClock, SetClock } from "./outage_clock.ts";
import {
  type ChildSettings,
  type ColdAnswer,
  Observer,
  type PinnedAnswer,
  type Recovery,
  type Status,
  World,
} from "./outage_world.ts";

const LONG = process.env.LONG === "1";
/** How long a fault lasts, at least. */
const FAULT_MS = LONG ? 60_000 : 2_500;
/** By what time an error must be told, with default options too. */
const ERROR_MS_MAX = 10_000;
/** Looks until a new state is seen after a fault: the one that was under way, and two. */
const POLLS_MAX = 3;

/** A stop is noticed in the middle of a request, too, that is longer than the request may take and two seconds, in ms. */
const STOP_MS = 6_000;
const RECOVERY_MS_MAX = 30_000;
const TEST_MS_MAX = LONG ? 600_000 : 60_000;
/** Default options take the place of these in the long form. */
const OPTIONS: ChildSettings["options"] = LONG ? {} : { pollIntervalMs: 500, requestTimeoutMs: 1_500 };
const MAX_STALE_MS = LONG ? 15_000 : 1_500;

const skip: string | false = skipWithout({ litestream: litestreamBinary(), "S3 server": s3ServerBinary() });

/** One line of the long form's table. */
interface Line {
  readonly fault: string;
  readonly query: ColdAnswer | undefined;
  readonly poll: { readonly ms: number; readonly text: string } | undefined;
  readonly stale: number | undefined;
  readonly recovery: Recovery;
}

const table: Line[] = [];

/** Plays that may go on at once: they mostly wait. Each test begins the next ones ahead. */
const LANES = LONG ? 6 : 3;
const plays: (() => Promise<void>)[] = [];
const started: Promise<void>[] = [];

/** A test that plays; `why` is why it cannot, `false` when it can. */
function outageTest(name: string, act: () => Promise<void>, why: string | false = skip): void {
  const index = plays.push(why === false ? act : () => Promise.resolve()) - 1;
  test(name, { skip: why, timeout: TEST_MS_MAX }, async () => {
    for (let i = index; i < Math.min(index + LANES, plays.length); i++) {
      started[i] ??= plays[i]!();
      started[i]!.catch(() => {}); // its own test is told
    }
    await started[index];
  });
}

after(async () => {
  // One that hangs has failed its own test by now.
  await Promise.race([Promise.allSettled(started.filter((each) => each !== undefined)), pause(20_000)]);
  if (!LONG) return;
  for (const { fault, query, poll, stale, recovery } of table) {
    const { ms, polls, failedPolls } = recovery;
    console.log(`## ${fault}`);
    console.log(
      `  query: ${query ? `${query.ms} ms, ${query.driver || "no error"}: ${query.error}` : "none asked"}`,
    );
    console.log(`  look: ${poll ? `${poll.ms} ms: ${poll.text}` : "no error"}`);
    console.log(`  stale: ${stale === undefined ? "not told" : `${stale} ms`}`);
    console.log(`  recovery: ${ms} ms, ${polls} looks over, ${failedPolls} of them failed`);
  }
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function until<T>(what: string, find: () => Promise<T | undefined>, timeoutMs = 20_000): Promise<T> {
  for (const endMs = performance.now() + timeoutMs; performance.now() < endMs; await pause(50)) {
    const found = await find();
    if (found !== undefined) return found;
  }
  throw new Error(`Waited ${timeoutMs} ms for ${what}`);
}

interface Played {
  readonly world: World;
  readonly observer: Observer;
}

interface PlayOptions {
  readonly settings?: Partial<ChildSettings>;
  readonly daemon?: object;
  /** The environment of the process that reads, out of a folder for its files. */
  readonly env?: (folder: string) => Record<string, string>;
}

/** Plays a test: a world, and a process that has the replica open and ends by itself afterwards. */
function play(options: PlayOptions, act: (played: Played) => Promise<void>): Promise<void> {
  return World.with(async (world) => {
    const observer = await Observer.start({
      url: world.url,
      accessKeyId: world.server.accessKey,
      secretAccessKey: world.server.secretKey,
      options: OPTIONS,
      maxStaleMs: MAX_STALE_MS,
      ...options.settings,
    }, options.env?.(world.folder));
    try {
      await recovered(observer, await world.commit());
      assert.equal((await cold(observer)).error, "");
      await until("queries from memory", async () => (await observer.status()).hot.count > 0 || undefined);
      await act({ world, observer });
      const { hot, unhandled } = await observer.status();
      assert.deepEqual([hot.faults, unhandled], [[], []]);
      assert.ok(hot.count > 0);
      const { how, closeMs, printed } = await observer.end();
      assert.deepEqual([how, printed], ["0", ""], "the process ends by itself");
      assert.ok(closeMs < 5_000, `closed after ${closeMs} ms`);
    } finally {
      observer.kill();
    }
  }, options.daemon);
}

function cold(observer: Observer): Promise<ColdAnswer> {
  return observer.ask<ColdAnswer>({ kind: "cold" });
}

function recovered(observer: Observer, txid: bigint): Promise<Recovery> {
  return observer.ask<Recovery>({ kind: "recover", txid: String(txid), timeoutMs: RECOVERY_MS_MAX });
}

/** What a look failed with first since the mark. */
function toldError(observer: Observer): Promise<{ ms: number; text: string }> {
  return until("an error of the follower", async () => {
    const { told } = await observer.status();
    return told.find(({ by, type }) => by === "plain" && type === "error");
  });
}

interface Outage {
  readonly name: string;
  /** Has it begin and end. */
  readonly begin: (world: World) => Promise<unknown>;
  readonly end: (world: World) => Promise<unknown>;
  /** What a query that needs a page says, and what a look says. */
  readonly query: RegExp;
  readonly look: RegExp;
}

/** Has a fault come and go, and asserts all that is promised for the time between. */
async function endure({ world, observer }: Played, { name, begin, end, query, look }: Outage): Promise<void> {
  await begin(world);
  await observer.ask({ kind: "mark" });
  const beganMs = performance.now();
  const asked = cold(observer);
  const txid = await world.commit(5);
  const answers = [await asked];
  const told = await toldError(observer);
  await until("a stale event", async () => {
    return (await observer.status()).told.find(({ by, type }) => by === "strict" && type === "stale");
  }, MAX_STALE_MS + 20_000);
  do {
    await pause(LONG ? 2_000 : 200);
    answers.push(await cold(observer));
  } while (performance.now() - beganMs < FAULT_MS);
  const status = await observer.status();
  assertOutage(status, { query, look, txid, lastedMs: performance.now() - beganMs });
  assert.match(told.text, look);
  assert.ok(told.ms <= ERROR_MS_MAX, `a look's error is told after ${told.ms} ms`);
  for (const { ms, error } of answers) {
    assert.match(error, query);
    assert.ok(ms <= ERROR_MS_MAX, `a query fails after ${ms} ms`);
  }

  await end(world);
  const recovery = await recovered(observer, txid);
  const stale = status.told.find(({ by, type }) => by === "strict" && type === "stale");
  table.push({ fault: name, query: answers[0], poll: told, stale: stale?.ms, recovery });
  assert.ok(recovery.polls <= POLLS_MAX, `${recovery.polls} looks until TXID ${txid} is seen`);
  assert.equal((await cold(observer)).error, "");
  const { hot } = await observer.status();
  assert.deepEqual(hot.faults, []);
}

/** How the process that reads must be while nothing can be read. */
function assertOutage(
  { hot, told, lagMs, lastError, pragmaError, txid: seen }: Status,
  { query, look, txid, lastedMs }: { query: RegExp; look: RegExp; txid: bigint; lastedMs: number },
): void {
  assert.ok(BigInt(seen) < txid, "nothing new is seen");
  assert.deepEqual(hot.faults, [], "pages in memory are served");
  assert.ok(hot.count > 10, `${hot.count} queries from memory`);
  assert.ok(lagMs >= Math.min(lastedMs - 1_500, lastedMs / 2), `a lag of ${lagMs} ms after ${lastedMs} ms`);
  assert.ok(hot.staleCount > 0, "maxStaleMs holds");
  assert.match(
    hot.staleText,
    /^StaleError: Cannot begin a transaction: the replica was last seen \d+ ms ago/,
  );
  assert.ok(query.test(lastError) || look.test(lastError) || lastError.startsWith("StaleError"), lastError);
  assert.ok(query.test(pragmaError) || look.test(pragmaError), pragmaError);
  const errors = told.filter(({ by, type }) => by === "plain" && type === "error");
  // A reason, or two that take turns at the beginning, each told once.
  assert.ok(errors.length <= 4, `${errors.length} errors told: ${errors.map(({ text }) => text).join("\n")}`);
}

function proxyOutage(name: string, fault: ProxyFault, query: RegExp, look = query): void {
  outageTest(
    `${name}: errors with words in time, memory is served, and it goes on`,
    () =>
      play({}, (played) =>
        endure(played, {
          name,
          begin: (world) => world.set(fault),
          end: (world) => world.set({ kind: "none" }),
          query,
          look,
        })),
  );
}

proxyOutage(
  "the network is gone",
  { kind: "blackhole" },
  /^DeadlineError: Cannot read bytes .* expected one within .*(nothing arrived|the time was over)/,
  /^StorageError: Cannot (read|list) .*: nothing arrived for 3(\.\d)? s, expected a whole answer/,
);

proxyOutage(
  "connections are refused",
  { kind: "refuse" },
  /^DeadlineError: Cannot read bytes .*the last failure: .*(refused|connect|connection)/i,
  /^StorageError: Cannot (read|list) .*(refused|connect|connection)/i,
);

proxyOutage(
  "connections are reset",
  { kind: "reset" },
  /^DeadlineError: Cannot read bytes .*the last failure: .*(reset|closed|connection)/i,
  /^StorageError: Cannot (read|list) .*(reset|closed|connection)/i,
);

proxyOutage(
  "503 for everything",
  { kind: "status", status: 503, code: "SlowDown", message: "Please reduce your request rate." },
  /^DeadlineError: Cannot read bytes .*the last failure: .*status 503 SlowDown \(Please reduce your request rate\.\)/,
  /^StorageError: Cannot (read|list) .*status 503 SlowDown/,
);

proxyOutage(
  "the right to read is taken away",
  { kind: "status", status: 403, code: "AccessDenied", message: "Access Denied" },
  /^StorageError: Cannot read bytes .*status 403 AccessDenied .*expected permission for s3:ListBucket and s3:GetObject/,
  /^StorageError: Cannot (read|list) .*status 403 AccessDenied .*expected permission for s3:ListBucket and s3:GetObject/,
);

outageTest(
  "keys expire and the function that renews them gives expired ones for a while",
  () =>
    play({ settings: { lifeMs: [0], maxStaleMs: 0 } }, async ({ world, observer }) => {
      const { credentialsCalls } = await observer.status();
      assert.equal(credentialsCalls, 1);
      const expired = Array.from({ length: LONG ? 30 : 3 }, (_, i) => `token-${i + 1}`);
      await world.set({ kind: "expired", tokens: expired });
      await observer.ask({ kind: "mark" });
      const told = await toldError(observer);
      const query = await cold(observer);
      const recovery = await recovered(observer, await world.commit(3));
      table.push({ fault: "keys expire", query, poll: told, stale: undefined, recovery });
      assert.match(told.text, /refuses? them as expired|status 400 ExpiredToken/);
      assert.ok(told.ms <= ERROR_MS_MAX && query.ms <= ERROR_MS_MAX, `${told.ms} ms, ${query.ms} ms`);
      if (query.error !== "") assert.match(query.error, /expired/);
      assert.ok(recovery.pollsSinceKeys <= POLLS_MAX, `${recovery.pollsSinceKeys} looks with new keys`);
      assert.equal((await cold(observer)).error, "");
      assert.equal((await observer.status()).credentialsCalls, expired.length + 1);
    }),
);

outageTest(
  "keys that expire while a query blocks the thread of their function fail it with words; the next one works",
  () =>
    play({ settings: { lifeMs: [0], maxStaleMs: 0 } }, async ({ world, observer }) => {
      await world.set({ kind: "expired", tokens: ["token-1"] });
      const query = await observer.ask<ColdAnswer>({ kind: "blocked" });
      assert.match(
        query.error,
        /^DeadlineError: Cannot read .*the server refuses them as expired, and the function that renews them has not run \(its thread is busy, querying\?\)/,
      );
      assert.ok(query.ms <= ERROR_MS_MAX, `${query.ms} ms`);
      const recovery = await recovered(observer, await world.commit());
      table.push({
        fault: "keys expire under a blocked thread",
        query,
        poll: undefined,
        stale: undefined,
        recovery,
      });
      assert.ok(recovery.pollsSinceKeys <= POLLS_MAX, `${recovery.pollsSinceKeys} looks with new keys`);
      assert.equal((await observer.ask<ColdAnswer>({ kind: "blocked" })).error, "");
      assert.equal((await observer.status()).credentialsCalls, 2);
    }),
);

/** Plays with a wall clock that the test sets. */
function playWithClock(
  settings: Partial<ChildSettings>,
  act: (played: Played & { clock: SetClock }) => Promise<void>,
): Promise<void> {
  let clock: SetClock | undefined;
  const env = (folder: string) => (clock = new SetClock(folder)).env;
  return play({ settings, env }, (played) => act({ ...played, clock: clock! }));
}

function clockTest(name: string, act: () => Promise<void>): void {
  outageTest(name, act, skip || noClock);
}

for (const [name, seconds] of [["forward", 3600], ["back", -3600]] as const) {
  clockTest(
    `the clock jumps ${name} by an hour: requests fail with words until it is right again`,
    () =>
      playWithClock({}, (played) =>
        endure(played, {
          name: `the clock jumps ${name}`,
          begin: () => Promise.resolve(played.clock.set(seconds)),
          end: () => Promise.resolve(played.clock.set(0)),
          query:
            /^StorageError: Cannot read .*RequestTimeTooSkewed.*clocks that agree within 15 minutes: the server's says /,
          look:
            /^StorageError: Cannot (read|list) .*RequestTimeTooSkewed.*clocks that agree within 15 minutes/,
        })),
  );
}

clockTest(
  "a clock that jumps by minutes, forward and back, is nothing to reads and looks",
  () =>
    playWithClock({ maxStaleMs: 60_000 }, async ({ world, observer, clock }) => {
      await observer.ask({ kind: "mark" });
      for (const seconds of [300, -300, 0]) {
        clock.set(seconds);
        const { polls } = await recovered(observer, await world.commit(2));
        assert.ok(polls <= POLLS_MAX, `${polls} looks at ${seconds} s`);
        assert.equal((await cold(observer)).error, "");
      }
      const { told, hot } = await observer.status();
      assert.deepEqual([told, hot.staleCount], [[], 0]);
    }),
);

clockTest(
  "a clock that jumps back while the network is gone lets no query and no look wait longer",
  () =>
    playWithClock({}, async ({ world, observer, clock }) => {
      await world.set({ kind: "blackhole" });
      await observer.ask({ kind: "mark" });
      const asked = cold(observer);
      await pause(300);
      clock.set(-3600);
      const txid = await world.commit();
      const [query, told] = await Promise.all([asked, toldError(observer)]);
      assert.match(query.error, /^DeadlineError/);
      assert.ok(query.ms <= ERROR_MS_MAX && told.ms <= ERROR_MS_MAX, `${query.ms} ms, ${told.ms} ms`);
      clock.set(0);
      await world.set({ kind: "none" });
      const { polls } = await recovered(observer, txid);
      assert.ok(polls <= POLLS_MAX, `${polls} looks`);
    }),
);

clockTest(
  "keys that expire after the clock jumped back are renewed at once",
  () =>
    playWithClock({ lifeMs: [0], maxStaleMs: 0 }, async ({ world, observer, clock }) => {
      clock.set(-600);
      await world.set({ kind: "expired", tokens: ["token-1"] });
      const recovery = await recovered(observer, await world.commit());
      assert.ok(recovery.pollsSinceKeys <= POLLS_MAX, `${recovery.pollsSinceKeys} looks with new keys`);
      assert.equal((await observer.status()).credentialsCalls, 2);
    }),
);

outageTest(
  "a process that was stopped past level 0's retention goes on where the writer is",
  () =>
    play(LONG ? { daemon: { l0Retention: "1s" } } : {}, async ({ world, observer }) => {
      await observer.ask({ kind: "begin" });
      await observer.ask({ kind: "mark" });
      const beganMs = performance.now();
      observer.signal("SIGSTOP");
      const txid = await world.commit(6);
      await world.waitForLevels([1, 2]);
      while (performance.now() - beganMs < Math.max(FAULT_MS, STOP_MS)) {
        await world.commit();
        await pause(LONG ? 1_000 : 400);
      }
      const newest = await world.commit();
      if (LONG) {
        await until("level 0 to lose files", async () => (await world.files(0)).length <= 2 || undefined);
      } else await world.retain();
      const names = await world.files(0);
      assert.ok(
        names.every((name) => BigInt(`0x${name.slice(0, 16)}`) > txid),
        `gone: the next files of ${names}`,
      );
      observer.signal("SIGCONT");
      const recovery = await recovered(observer, newest);
      table.push({ fault: "stopped", query: undefined, poll: undefined, stale: undefined, recovery });
      assert.ok(recovery.polls <= POLLS_MAX, `${recovery.polls} looks`);
      const pinned = await observer.ask<PinnedAnswer>({ kind: "goOn" });
      assert.ok(pinned.isSame, "a transaction that was open sees what it saw");
      if (pinned.error !== "") assert.match(pinned.error, /^StateGoneError: /);
      else assert.equal(pinned.check, '[{"integrity_check":"ok"}]');
      assert.equal(await observer.ask({ kind: "check" }), '[{"integrity_check":"ok"}]');
      const { told } = await observer.status();
      assert.deepEqual(told.filter(({ type }) => type === "gap"), []);
    }),
);

outageTest(
  "where a missing key is refused as 403 and listings work, following costs no listing a look",
  () =>
    play(
      { settings: { options: LONG ? {} : { ...OPTIONS, pollIntervalMs: 200 } } },
      async ({ world, observer }) => {
        await world.set({ kind: "forbidMissing" });
        await recovered(observer, await world.commit());
        await pause(1_000);
        const before = await observer.status();
        const beganMs = performance.now();
        let txid = 0n;
        do {
          txid = await world.commit();
          const { polls } = await recovered(observer, txid);
          assert.ok(polls <= POLLS_MAX, `${polls} looks until TXID ${txid} is seen`);
          await pause(500);
        } while (performance.now() - beganMs < FAULT_MS);
        const { counts, told } = await observer.status();
        const polls = counts.polls - before.counts.polls;
        const lists = counts.listRequests - before.counts.listRequests;
        const due = 1 + Math.floor((performance.now() - beganMs) / 30_000);
        assert.ok(lists <= due * 4, `${lists} listings in ${polls} looks`);
        assert.ok(polls >= 5, `${polls} looks`);
        assert.deepEqual(told, []);

        // Now everything is refused: what the store answers where nothing is does not hide it.
        await world.set({ kind: "status", status: 403, code: "AccessDenied", message: "Access Denied" });
        await observer.ask({ kind: "mark" });
        const error = await toldError(observer);
        assert.match(error.text, /status 403 AccessDenied/);
        assert.ok(error.ms <= ERROR_MS_MAX, `${error.ms} ms`);
        await world.set({ kind: "forbidMissing" });
        const recovery = await recovered(observer, await world.commit(5));
        table.push({
          fault: "403 for all where 403 means missing",
          query: undefined,
          poll: error,
          stale: undefined,
          recovery,
        });
        assert.ok(recovery.polls <= POLLS_MAX, `${recovery.polls} looks`);
      },
    ),
);

outageTest("bodies that end early are errors, never pages", () =>
  play({}, async ({ world, observer }) => {
    await world.set({ kind: "cut", after: 120 });
    await observer.ask({ kind: "mark" });
    const txid = await world.commit(2);
    const [query, told] = await Promise.all([cold(observer), toldError(observer)]);
    assert.match(query.error, /^DeadlineError: Cannot read bytes .*the last failure: /);
    assert.match(told.text, /^StorageError: Cannot read bytes /);
    assert.ok(query.ms <= ERROR_MS_MAX && told.ms <= ERROR_MS_MAX, `${query.ms} ms, ${told.ms} ms`);
    await world.set({ kind: "none" });
    const recovery = await recovered(observer, txid);
    table.push({ fault: "bodies are cut", query, poll: told, stale: undefined, recovery });
    assert.ok(recovery.polls <= POLLS_MAX, `${recovery.polls} looks`);
    assert.equal(await observer.ask({ kind: "check" }), '[{"integrity_check":"ok"}]');
  }));

outageTest(
  "a slow network is no fault",
  () =>
    play(
      { settings: { options: LONG ? {} : { pollIntervalMs: 500 }, maxStaleMs: 8_000 } },
      async ({ world, observer }) => {
        await observer.ask({ kind: "mark" });
        await world.set({ kind: "slow", delayMs: 300 });
        const { polls } = await recovered(observer, await world.commit(2));
        assert.ok(polls <= POLLS_MAX, `${polls} looks`);
        assert.equal((await cold(observer)).error, "");
        const { told, hot } = await observer.status();
        assert.deepEqual([told, hot.staleCount], [[], 0]);
      },
    ),
);

outageTest("a replica closes, and its process ends, while the network is gone", () => {
  let asked: Promise<ColdAnswer> | undefined;
  return play({ settings: { options: {}, maxStaleMs: 8_000 } }, async ({ world, observer }) => {
    await world.set({ kind: "blackhole" });
    asked = cold(observer);
    await pause(1_500); // a look is under way too
  }).then(async () => assert.match((await asked!).error, /^ReplicaClosedError/));
});
