import assert from "node:assert/strict";
import { test } from "node:test";
import { formatEntry, Log, type LogEntry, logLevel, tellSafely } from "../src/log.ts";

const NOW_MS = Date.parse("2026-11-21T02:15:56.242Z");

function logAt(level: LogEntry["level"]): { log: Log; entries: LogEntry[] } {
  const entries: LogEntry[] = [];
  return { log: new Log((entry) => entries.push(entry), level, () => NOW_MS), entries };
}

test("logLevel() takes the environment's level in any case, and warn where there is none", () => {
  for (const level of ["debug", "info", "warn", "error"] as const) {
    for (const given of [level, level.toUpperCase()]) {
      assert.deepEqual(logLevel({ LITESTREAM_LOG_LEVEL: given }), { level });
    }
  }
  assert.deepEqual(logLevel({}), { level: "warn" });
  assert.deepEqual(logLevel({ LITESTREAM_LOG_LEVEL: "" }), { level: "warn" });
});

test("logLevel() says which levels there are", () => {
  assert.deepEqual(logLevel({ LITESTREAM_LOG_LEVEL: "loud" }), {
    level: "warn",
    fault: 'Cannot use LITESTREAM_LOG_LEVEL: "loud", expected one of debug, info, warn, error',
  });
});

test("Log tells what is at its level or above", () => {
  for (const [level, count] of [["debug", 4], ["info", 3], ["warn", 2], ["error", 1]] as const) {
    const { log, entries } = logAt(level);
    log.debug("d");
    log.info("i");
    log.warn("w");
    log.error("e");
    assert.deepEqual(entries.map(({ message }) => message), ["d", "i", "w", "e"].slice(-count));
  }
});

test("Log gives entries that can be posted to another thread, of one line each", () => {
  const { log, entries } = logAt("warn");
  log.warn("Cannot poll:\n  no answer\r\n");
  assert.deepEqual(structuredClone(entries), [
    { level: "warn", message: "Cannot poll: no answer", time: new Date(NOW_MS) },
  ]);
});

test("Log.of() tells a level that is none to its sink, once", () => {
  const entries: LogEntry[] = [];
  const log = Log.of((entry) => entries.push(entry), { LITESTREAM_LOG_LEVEL: "loud" });
  log.info("not told");
  log.warn("told");
  assert.deepEqual(entries.map(({ level }) => level), ["warn", "warn"]);
  assert.match(entries[0]?.message ?? "", /LITESTREAM_LOG_LEVEL/);
});

test("formatEntry() gives one line", () => {
  const entry: LogEntry = { level: "error", message: "Cannot poll: no answer", time: new Date(NOW_MS) };
  assert.equal(formatEntry(entry), "2026-11-21T02:15:56.242Z ERROR litestream-vfs: Cannot poll: no answer");
});

test("a sink that throws ends nothing", () => {
  const entry: LogEntry = { level: "debug", message: "m", time: new Date(NOW_MS) };
  let taken = 0;
  tellSafely(() => taken++, entry);
  assert.equal(taken, 1);
});
