/** Threads of a shim in WASM agree on the time, whatever happens to the time of day. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SharedClock } from "../../ffi/wasm_clock.ts";

/** A machine whose time of day can be set, and threads that each count from their own start. */
class Machine {
  readonly #words = new BigInt64Array(new SharedArrayBuffer(8 * SharedClock.WORDS));
  #ranMs = 5_000;
  #aheadMs = 1_700_000_000_000;

  constructor() {
    SharedClock.begin(this.#words, this.#ranMs + this.#aheadMs);
  }

  /** Time goes by. */
  pass(ms: number): void {
    this.#ranMs += ms;
  }

  /** The time of day is set. */
  set(ms: number): void {
    this.#aheadMs += ms;
  }

  thread(): SharedClock {
    const startMs = this.#ranMs;
    return new SharedClock(this.#words, {
      now: () => this.#ranMs - startMs,
      date: () => Math.floor(this.#ranMs + this.#aheadMs),
    });
  }
}

for (const stepMs of [3_600_000, -3_600_000]) {
  test(`a thread that starts after the time of day was set by ${stepMs} ms agrees with the others`, () => {
    const machine = new Machine();
    const first = machine.thread();
    const began = first.nowMs();
    machine.pass(250.5);
    machine.set(stepMs);
    machine.pass(1_000);
    first.nowMs(); // a core looks at its clock every so often
    machine.pass(300);
    const second = machine.thread();
    for (let i = 0; i < 3; i++) {
      machine.pass(100);
      assert.ok(Math.abs(second.nowMs() - first.nowMs()) <= 2);
    }
    assert.ok(Math.abs(first.nowMs() - began - 1_850.5) <= 2, `${first.nowMs() - began} ms, expected 1850.5`);
  });
}

test("a thread that starts just after the time of day was set back is behind no other", () => {
  const machine = new Machine();
  const first = machine.thread();
  machine.pass(400);
  first.nowMs();
  machine.set(-60_000);
  machine.pass(20);
  const second = machine.thread();
  for (let i = 0; i < 5; i++) {
    machine.pass(30);
    const told = first.nowMs();
    assert.ok(second.nowMs() >= told);
    assert.ok(second.nowMs() - told <= 1);
  }
});

test("what one thread was told no other is told less than, and each goes on at the pace of time", () => {
  const machine = new Machine();
  const threads = [machine.thread()];
  let latest = threads[0]!.nowMs();
  const began = latest;
  for (let i = 1; i <= 2_000; i++) {
    machine.pass((i * 7919 % 1_000) / 100);
    if (i % 200 === 0) machine.set((i % 400 === 0 ? -1 : 1) * 7_000);
    if (i % 20 === 0) threads.push(machine.thread());
    const now = threads[(i * 31) % threads.length]!.nowMs();
    assert.ok(now >= latest);
    latest = now;
  }
  const passed = Array.from({ length: 2_000 }, (_, i) => ((i + 1) * 7919 % 1_000) / 100)
    .reduce((sum, ms) => sum + ms, 0);
  // A step between the last look of any thread and the start of another may move the clock by it, forwards alone.
  assert.ok(latest - began >= passed - 2);
  assert.ok(latest - began <= passed + 10 * 7_000);
});
