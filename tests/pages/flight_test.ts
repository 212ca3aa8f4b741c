import assert from "node:assert/strict";
import { test } from "node:test";
import { Flight, type FlightGroup } from "../../src/pages/flight.ts";
import type { PlanFile } from "../../src/view/plan_file.ts";
import { Random } from "../support/random.ts";

const FILE = {} as PlanFile;

/** A flight of frames of these sizes, from frame 100 on. */
function flightOf(sizes: readonly number[]): Flight {
  const frames = sizes.map((size, i) => ({ pgno: i + 1, size, cached: false, current: true }));
  return new Flight({ file: FILE, first: 100, frames, viewId: 1, connection: 2, depth: 3 });
}

/** Waits for a frame; what became of it stands in `outcomes`. */
function watch(flight: Flight, frame: number, outcomes: Map<number, unknown>): Promise<void> {
  return flight.wait(frame).then(() => void outcomes.set(frame, "there"), (error) => {
    outcomes.set(frame, error);
  });
}

/** Lets those who wait hear of it. */
const heard = () => new Promise((resolve) => setTimeout(resolve, 0));

test("Flight makes groups of 16 frames, in their order and without holes", () => {
  const flight = flightOf(Array(40).fill(1000));
  assert.deepEqual(flight.groups, [
    { first: 100, count: 16, start: 0, end: 16_000 },
    { first: 116, count: 16, start: 16_000, end: 32_000 },
    { first: 132, count: 8, start: 32_000, end: 40_000 },
  ]);
  assert.deepEqual([flight.first, flight.count, flight.size], [100, 40, 40_000]);
});

test("Flight ends a group with the frame that makes it 64 KiB", () => {
  const counts = (sizes: number[]) => flightOf(sizes).groups.map(({ count }) => count);
  assert.deepEqual(counts(Array(5).fill(30_000)), [3, 2]);
  assert.deepEqual(counts(Array(4).fill(32_768)), [2, 2]);
  assert.deepEqual(counts([70_000, 10, 70_000]), [1, 2]);
  assert.deepEqual(counts([65_535, 1, 1]), [2, 1]);
});

test("Flight's groups hold each frame once, whatever the sizes", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = new Random(seed);
    const sizes = Array.from(
      { length: 1 + random.next(100) },
      () => 1 + random.next(random.next(70_000) + 1),
    );
    const { groups, size } = flightOf(sizes);
    let [frame, at] = [100, 0];
    for (const { first, count, start, end } of groups) {
      assert.deepEqual([first, start], [frame, at], `seed ${seed}`);
      const bytes = sizes.slice(first - 100, first - 100 + count).reduce((sum, size) => sum + size, 0);
      assert.equal(end - start, bytes, `seed ${seed}`);
      assert.ok(count >= 1 && count <= 16, `seed ${seed}`);
      assert.ok(bytes - sizes[first - 100 + count - 1]! < 65_536, `seed ${seed}`);
      [frame, at] = [frame + count, end];
    }
    assert.deepEqual([frame - 100, at], [sizes.length, size], `seed ${seed}`);
  }
});

test("Flight.land() enters a group when it has come whole, each once", () => {
  const flight = flightOf(Array(40).fill(1000));
  const bytes = new Uint8Array(40_000).map((_, i) => i / 1000);
  const entered: [FlightGroup, number, number][] = [];
  const enter = (group: FlightGroup, part: Uint8Array) => void entered.push([group, part[0]!, part.length]);
  flight.land(bytes.subarray(0, 15_999), enter);
  assert.equal(entered.length, 0);
  flight.land(bytes.subarray(0, 16_000), enter);
  flight.land(bytes.subarray(0, 16_000), enter);
  assert.deepEqual(entered, [[flight.groups[0]!, 0, 16_000]]);
  flight.land(bytes, enter);
  flight.land(bytes, enter);
  assert.deepEqual(entered.slice(1), [[flight.groups[1]!, 16, 16_000], [flight.groups[2]!, 32, 8000]]);
});

test("Flight.land() answers those whose group has come, and no others", async () => {
  const flight = flightOf(Array(40).fill(1000));
  const outcomes = new Map<number, unknown>();
  for (const frame of [100, 115, 116, 139]) void watch(flight, frame, outcomes);
  flight.land(new Uint8Array(16_000), () => {});
  await heard();
  assert.deepEqual([...outcomes], [[100, "there"], [115, "there"]]);
  flight.land(new Uint8Array(40_000), () => {});
  await heard();
  assert.equal(outcomes.size, 4);
});

test("Flight.land() gives a group's fault to those who wait in it; the next group lands", async () => {
  const flight = flightOf(Array(40).fill(1000));
  const outcomes = new Map<number, unknown>();
  for (const frame of [101, 117, 118, 133]) void watch(flight, frame, outcomes);
  const fault = new Error("odd bytes");
  const entered: number[] = [];
  flight.land(new Uint8Array(40_000), ({ first }) => {
    if (first === 116) throw fault;
    entered.push(first);
  });
  await heard();
  assert.deepEqual([...outcomes].sort(), [[101, "there"], [117, fault], [118, fault], [133, "there"]]);
  assert.deepEqual(entered, [100, 132]);
});

test("Flight.land() goes on where it was when a retry begins anew with fewer bytes", async () => {
  const flight = flightOf(Array(40).fill(1000));
  const outcomes = new Map<number, unknown>();
  void watch(flight, 120, outcomes);
  const entered: number[] = [];
  const land = (size: number) => flight.land(new Uint8Array(size), ({ first }) => void entered.push(first));
  for (const size of [17_000, 0, 500, 16_500, 31_999]) land(size);
  assert.deepEqual(entered, [100]);
  await heard();
  assert.equal(outcomes.size, 0);
  for (const size of [32_000, 3, 40_000]) land(size);
  assert.deepEqual(entered, [100, 116, 132]);
  await heard();
  assert.deepEqual([...outcomes], [[120, "there"]]);
});

test("Flight.end() fails those who still wait; without a fault they look again", async () => {
  for (const fault of [{ error: new Error("down") }, undefined]) {
    const flight = flightOf(Array(40).fill(1000));
    const outcomes = new Map<number, unknown>();
    for (const frame of [100, 116, 139]) void watch(flight, frame, outcomes);
    flight.land(new Uint8Array(16_000), () => {});
    flight.end(fault);
    await heard();
    const rest = fault?.error ?? "there";
    assert.deepEqual([...outcomes], [[100, "there"], [116, rest], [139, rest]]);
  }
});
