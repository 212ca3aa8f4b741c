/** What is done again and again leaves nothing that a runtime keeps for ever. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { lateCalls } from "../../ffi/late_calls.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { IS_BUN, IS_WASM, tableSql, valueOf } from "./drivers.ts";

const skip = IS_BUN || IS_WASM ? "Deno's permissions, asked by its own SQLite's driver" : false;
if (skip) console.error(`skipped: ${skip}`);

test(
  "connect() asks Deno about the same paths each time: it remembers each for ever",
  { skip },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(tableSql(10));
      folder.snapshot();
      await using replica = await openReplica(folder.url);
      replica.connect().close();
      const { permissions } = (globalThis as unknown as {
        Deno: { permissions: { querySync(of: { name: string; path?: string }): unknown } };
      }).Deno;
      const asked = new Set<string>();
      const real = permissions.querySync;
      permissions.querySync = (of) => {
        asked.add(`${of.name} ${of.path}`);
        return real.call(permissions, of);
      };
      try {
        for (let i = 0; i < 20; i++) {
          const db = replica.connect();
          assert.equal(valueOf(db, "SELECT count(*) FROM t"), 10);
          db.close();
        }
      } finally {
        permissions.querySync = real;
      }
      assert.ok(asked.size <= 1, [...asked].join("\n"));
    }),
);

test("lateCalls() binds a function when it is first wanted, and once", () => {
  const bound: string[] = [];
  const calls = lateCalls((name) => {
    bound.push(name);
    return () => bound.length;
  });
  assert.deepEqual(bound, ["ls_abi"]);
  calls.ls_stamp();
  calls.ls_stamp();
  assert.deepEqual(bound, ["ls_abi", "ls_stamp"]);
});
