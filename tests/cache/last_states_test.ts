import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { CacheFolder, hashOf } from "../../src/cache/cache_folder.ts";
import { type LastState, LastStates } from "../../src/cache/last_states.ts";
import type { ReplicaFile } from "../../src/view/restore_plan.ts";

const HERE = "s3://bucket/db\n\ndb/";

interface Place {
  readonly folder: CacheFolder;
  readonly notices: string[];
  /** Another process's, as it were. */
  make(place?: string): LastStates;
}

async function withFolder(use: (place: Place) => Promise<void>): Promise<void> {
  const path = mkdtempSync(join(tmpdir(), "last-states-"));
  const folder = new CacheFolder(path);
  const notices: string[] = [];
  try {
    await use({
      folder,
      notices,
      make: (place = HERE) => new LastStates(folder, place, (text) => void notices.push(text)),
    });
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
}

function file(level: number, minTxid: number, maxTxid: number): ReplicaFile {
  const key = `000${level}/${minTxid}-${maxTxid}.ltx`;
  return {
    level,
    key,
    etag: `"${maxTxid}"`,
    size: maxTxid * 1000,
    modifiedMs: 1_700_000_000_000 + maxTxid,
    minTxid: BigInt(minTxid),
    maxTxid: BigInt(maxTxid),
  };
}

const SNAPSHOT = file(9, 1, 3);
const PLAN = [SNAPSHOT, file(0, 4, 4), file(0, 5, 5)];
const STATE = { txid: 5n, plan: PLAN, files: [...PLAN, file(1, 1, 4), { ...SNAPSHOT }] };

async function written(states: LastStates, state: Omit<LastState, "seenMs">, seenMs: number): Promise<void> {
  states.changed(() => state);
  states.seen(seenMs);
  await states.close();
}

test("LastStates gives what another process kept last, each file once, those of the plan first", () =>
  withFolder(async ({ make }) => {
    assert.equal(await make().load(), undefined);
    await written(make(), STATE, 1_000);
    assert.deepEqual(await make().load(), {
      txid: 5n,
      plan: PLAN,
      files: [...PLAN, file(1, 1, 4)],
      seenMs: 1_000,
    });
    const next = { txid: 6n, plan: [SNAPSHOT, file(1, 4, 6)], files: [SNAPSHOT, file(1, 4, 6)] };
    await written(make(), next, 2_000);
    assert.deepEqual(await make().load(), { ...next, seenMs: 2_000 });
    assert.equal(await make("s3://bucket/other\n\nother/").load(), undefined);
  }));

test("LastStates keeps nothing that was not seen, and no state without files", () =>
  withFolder(async ({ make }) => {
    const unseen = make();
    unseen.changed(() => STATE);
    await unseen.close();
    await written(make(), { txid: 0n, plan: [], files: [] }, 1_000);
    assert.equal(await make().load(), undefined);
  }));

test("LastStates: that a state is still the newest is kept beside it, and counts for that state alone", () =>
  withFolder(async ({ make, folder }) => {
    const path = folder.planPath(HERE, ".seen");
    await written(make(), STATE, 1_000);
    const seal = (text: string) => writeFileSync(path, `${hashOf(text)}\n${text}`);
    const checksum = readFileSync(folder.planPath(HERE, ".json"), "utf8").slice(0, 64);
    const seenMs = async () => (await make().load())?.seenMs;
    seal(`${checksum} 9000`);
    assert.equal(await seenMs(), 9_000);
    seal(`${checksum} 500`);
    assert.equal(await seenMs(), 1_000);
    seal(`${hashOf("another state")} 9000`);
    assert.equal(await seenMs(), 1_000);
    seal(`${checksum} soon`);
    assert.equal(await seenMs(), 1_000);
    writeFileSync(path, `${hashOf(`${checksum} 9000`)}\n${checksum} 9001`);
    assert.equal(await seenMs(), 1_000);
  }));

test("LastStates of a process that saw it again writes that, and not the state, when it ends", () =>
  withFolder(async ({ make, folder }) => {
    const states = make();
    states.changed(() => STATE);
    states.seen(1_000);
    await states.flush();
    const { ino } = statSync(folder.planPath(HERE, ".json"));
    states.seen(7_000);
    await states.close();
    assert.equal(statSync(folder.planPath(HERE, ".json")).ino, ino);
    assert.equal((await make().load())?.seenMs, 7_000);
    assert.deepEqual(readdirSync(folder.unfinished), []);
  }));

test("LastStates does not believe a file of which any byte was flipped, or that was cut anywhere", () =>
  withFolder(async ({ make, folder }) => {
    await written(make(), STATE, 1_000);
    const path = folder.planPath(HERE, ".json");
    const whole = readFileSync(path);
    for (let at = 0; at < whole.length; at++) {
      const damaged = Buffer.from(whole);
      damaged[at]! ^= 1 << (at % 8);
      writeFileSync(path, damaged);
      assert.equal(await make().load(), undefined, `byte ${at}`);
      writeFileSync(path, whole.subarray(0, at));
      assert.equal(await make().load(), undefined, `${at} bytes`);
    }
    for (const text of ["", "{}", "junk", `{"format":"litestream-vfs last state 2"}`]) {
      writeFileSync(path, `${hashOf(text)}\n${text}`);
      assert.equal(await make().load(), undefined, text);
    }
    await written(make(), STATE, 2_000);
    assert.equal((await make().load())?.seenMs, 2_000);
  }));

test("LastStates that cannot be written is told once, and fails nothing", () =>
  withFolder(async ({ make, folder, notices }) => {
    writeFileSync(join(folder.path, "plans"), "in the way");
    const states = make();
    states.changed(() => STATE);
    states.seen(1_000);
    await states.flush();
    states.changed(() => STATE);
    await states.close();
    assert.equal(notices.length, 1);
    assert.match(notices[0]!, /^The last state is not kept: /);
  }));

const NEXT = { txid: 6n, plan: [SNAPSHOT, file(1, 4, 6)], files: [SNAPSHOT, file(1, 4, 6)] };

test("LastStates leaves what another process has seen later", () =>
  withFolder(async ({ make }) => {
    const [server, other] = [make(), make()];
    other.changed(() => STATE);
    other.seen(1_000);
    await written(server, NEXT, 2_000);
    await other.close();
    assert.deepEqual(await make().load(), { ...NEXT, seenMs: 2_000 });
  }));

test("LastStates writes its state anew where another process has put an older one in its place", () =>
  withFolder(async ({ make }) => {
    const server = make();
    server.changed(() => NEXT);
    server.seen(2_000);
    await server.flush();
    await written(make(), STATE, 3_000); // as of a process that is behind
    server.seen(4_000);
    await server.flush();
    assert.deepEqual(await make().load(), { ...NEXT, seenMs: 4_000 });
    await server.close();
  }));

test("LastStates of processes that see the same state write it once, and the latest time counts", () =>
  withFolder(async ({ make, folder }) => {
    const path = folder.planPath(HERE, ".json");
    await written(make(), STATE, 1_000);
    const { ino } = statSync(path);
    const seenMs = async () => (await make().load())?.seenMs;
    const [a, b] = [make(), make()];
    a.changed(() => ({ ...STATE, files: [...PLAN] }));
    a.seen(5_000);
    await a.flush();
    assert.equal(await seenMs(), 5_000);
    b.changed(() => STATE);
    b.seen(4_000);
    await b.flush();
    assert.equal(await seenMs(), 5_000);
    b.seen(6_000);
    await b.flush();
    a.seen(5_500); // of a look that ended long ago
    await a.close();
    assert.equal(await seenMs(), 6_000);
    assert.equal(statSync(path).ino, ino);
    await b.close();
  }));

test("LastStates believes no time that has not come yet", () =>
  withFolder(async ({ make }) => {
    const soonMs = Date.now() + 3_600_000;
    await written(make(), STATE, soonMs);
    await written(make(), NEXT, 2_000);
    assert.deepEqual(await make().load(), { ...NEXT, seenMs: 2_000 });
  }));
