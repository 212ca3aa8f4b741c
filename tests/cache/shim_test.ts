/** What the cache asks of the shim. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadNative } from "../../ffi/mod.ts";
import { cString } from "../../ffi/native.ts";
import { LS } from "../../ffi/symbols.ts";
import { shimChecksum } from "../../src/cache/range_file.ts";
import { readLagMs } from "../../src/live/stale_watch.ts";
import { findShim } from "../../src/shim_path.ts";
import { Random } from "../support/random.ts";

const native = await loadNative(findShim());
const { calls } = native;

/** CRC-64/ISO a bit at a time. */
function crcOf(bytes: Uint8Array): bigint {
  let crc = 0xffff_ffff_ffff_ffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0xd800_0000_0000_0000n : crc >> 1n;
  }
  return crc ^ 0xffff_ffff_ffff_ffffn;
}

test("shimChecksum() gives CRC-64/ISO", () => {
  const checksum = shimChecksum(native);
  assert.equal(checksum(new TextEncoder().encode("123456789")), 0xb909_56c7_75a4_1001n);
  const random = new Random(3);
  for (const size of [0, 1, 7, 8, 9, 63, 1000]) {
    const bytes = random.bytes(size + 5).subarray(3, 3 + size);
    assert.equal(checksum(bytes), crcOf(bytes), `${size} bytes`);
  }
});

test("ls_replica_seen() sets when a replica was seen, before the machine was started too", () => {
  const coreId = calls.ls_core_start();
  const id = calls.ls_replica_new(coreId, 1_000);
  try {
    assert.equal(readLagMs(native, id), undefined);
    for (const msAgo of [0, 5_000, 86_400_000 * 400, 0]) {
      assert.equal(calls.ls_replica_seen(id, BigInt(msAgo)), 0);
      const lagMs = readLagMs(native, id)!;
      assert.ok(lagMs >= msAgo && lagMs < msAgo + 60_000, `${lagMs} ms, not ${msAgo}`);
      assert.equal(calls.ls_replica_polled(id, cString("NetworkError: no route")), 0);
      assert.ok(readLagMs(native, id)! >= msAgo, "a look that failed has seen nothing");
    }
    assert.equal(calls.ls_replica_seen(id, 0xffff_ffff_ffff_ffffn), 0);
    assert.ok(readLagMs(native, id)! > 2 ** 60);
    calls.ls_replica_polled(id, cString(""));
    assert.ok(readLagMs(native, id)! < 60_000);
  } finally {
    calls.ls_replica_close(id);
    calls.ls_core_stop(coreId, cString("the test has ended"));
  }
  assert.equal(calls.ls_replica_seen(id, 0n), LS.MISUSE);
});
