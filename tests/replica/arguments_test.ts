/** What openReplica() and restore() say of arguments that TypeScript would have refused. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { momentText } from "../../src/as_of.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { tableSql } from "./drivers.ts";

/** For arguments of any kind. */
const open = openReplica as (...given: unknown[]) => ReturnType<typeof openReplica>;

test("openReplica() refuses arguments of another kind, whatever replica the environment names", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(tableSql(10));
    folder.snapshot();
    const before = process.env.LITESTREAM_REPLICA_URL;
    process.env.LITESTREAM_REPLICA_URL = folder.url;
    try {
      const given: [given: unknown[], words: string][] = [
        [
          [new URL("s3://another/bucket")],
          "first argument is an object (URL), expected a string, such as url.href",
        ],
        [[5], "first argument is a number, expected a URL as a string, or options"],
        [[null], "first argument is null, expected a URL as a string, or options"],
        [[[folder.url]], "first argument is an array, expected a URL as a string, or options"],
        [[folder.url, null], "second argument is null, expected an object with options"],
        [[folder.url, "s3://b/p"], "second argument is a string, expected an object with options"],
        [
          [{}, { pollIntervalMs: 0 }],
          "second argument is an object (Object), expected nothing behind options",
        ],
      ];
      for (const [args, words] of given) {
        await assert.rejects(open(...args), {
          name: "TypeError",
          message: `Cannot open replica: the ${words}`,
        });
      }
      for (const args of [[], [undefined], [{}], [undefined, { pollIntervalMs: 0 }]]) {
        await using replica = await open(...args);
        assert.equal(replica.txid, 1n);
      }
    } finally {
      if (before === undefined) delete process.env.LITESTREAM_REPLICA_URL;
      else process.env.LITESTREAM_REPLICA_URL = before;
    }
  }));

test("openReplica() refuses a signal and a log that are none", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(tableSql(10));
    folder.snapshot();
    const given: [options: object, words: string][] = [
      [{ signal: null }, "signal: null, expected an AbortSignal"],
      [{ signal: new AbortController() }, "signal: an object (AbortController), expected an AbortSignal"],
      [{ log: {} }, "log: an object (Object), expected a function"],
      [{ log: null }, "log: null, expected a function"],
    ];
    for (const [options, words] of given) {
      const error = await open(folder.url, options).then(() => undefined, (error) => error);
      assert.ok(error instanceof TypeError, words);
      assert.equal(error.message, `Cannot use option ${words}`);
    }
  }));

test("restore() overwrites no file unless force is true itself", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(tableSql(10));
    folder.snapshot();
    await using replica = await openReplica(folder.url);
    const path = join(folder.path, "mine.db");
    writeFileSync(path, "mine");
    for (const force of ["false", 1, null]) {
      await assert.rejects(
        replica.restore(path, { force: force as unknown as boolean }),
        { name: "TypeError", message: /^Cannot use option force: .*, expected true or false$/ },
      );
    }
    await assert.rejects(
      replica.restore(path, { force: true, onProgress: {} as () => void }),
      { name: "TypeError", message: "Cannot use option onProgress: an object (Object), expected a function" },
    );
    assert.equal(readFileSync(path, "utf8"), "mine");
  }));

test("momentText() tells of a TXID that is none in the words of asOf", () => {
  for (const txid of [0n, -1n]) {
    assert.throws(() => momentText(txid), {
      name: "RangeError",
      message: `Cannot use asOf: TXID ${txid}, expected one from 1 on`,
    });
  }
  assert.throws(
    () => momentText(2n ** 64n),
    /^RangeError: Cannot use asOf: TXID \d+, expected one below 2\^64$/,
  );
  assert.equal(momentText(2n ** 64n - 1n), "txid:ffffffffffffffff");
});
