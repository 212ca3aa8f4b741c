/** lagMs counts from when it was asked what there is: what is stored while the answer is being fetched may be missing. */
import assert from "node:assert/strict";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { openReplica, type Replica } from "../../mod.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { ASKED, OFTEN, pause, stepValue, takeAway, until } from "./following.ts";
import { gateOf, waitingOf } from "./gated_storage.ts";

const HELD_MS = 400;

test("lagMs and litestream_lag count the time that an opening, or a look, takes after its listing", () =>
  withReplicaFolder({}, async (folder) => {
    const held = async <T>(act: () => Promise<T>): Promise<T> => {
      writeFileSync(gateOf(folder.path, "read"), "");
      const acting = act();
      await until("a read waits", () => existsSync(waitingOf(folder.path, "read")));
      await pause(HELD_MS);
      rmSync(gateOf(folder.path, "read"));
      rmSync(waitingOf(folder.path, "read"));
      return await acting;
    };
    const assertOld = (replica: Replica) =>
      assert.ok(replica.lagMs >= HELD_MS && replica.lagMs < 60_000, String(replica.lagMs));
    stepValue(folder, 3);
    const module = new URL("./gated_storage.ts", import.meta.url);
    const storage = { module, options: { folder: folder.path } };
    await using replica = await held(() => openReplica({ ...ASKED, storage }));
    assertOld(replica);
    const beganMs = performance.now();
    await replica.refresh();
    const { lagMs } = replica;
    assert.ok(lagMs <= performance.now() - beganMs + 1, String(lagMs));
    folder.step("UPDATE v SET x = 4");
    assert.equal(await held(() => replica.refresh()), 4n);
    assertOld(replica);
  }));

test("A folder that is away is not seen: lagMs grows, the error says so, and it is followed again", () =>
  withReplicaFolder({}, async (folder) => {
    stepValue(folder, 3);
    await using replica = await openReplica(folder.url, OFTEN);
    const putBack = takeAway(folder);
    await until("a look has failed", () => replica.lastError !== undefined);
    assert.match(replica.lastError!.message, /its folder is not there, expected the replica's$/);
    const { lagMs } = replica;
    await pause(HELD_MS);
    assert.ok(replica.lagMs >= lagMs + HELD_MS - 1, `${lagMs} ${replica.lagMs}`);
    assert.equal(replica.txid, 3n);
    putBack();
    folder.step("UPDATE v SET x = 4");
    assert.equal(await replica.waitFor(4n), 4n);
  }));
