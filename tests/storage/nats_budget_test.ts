import assert from "node:assert/strict";
import { test } from "node:test";
import { ByteBudget } from "../../src/storage/nats/byte_budget.ts";

const NEVER = new AbortController().signal;

/** Work that ends when it is told to, and which of it has begun. */
function works() {
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const start = (name: string) => () => {
    begun.push(name);
    return new Promise<void>((resolve) => ends.set(name, resolve));
  };
  return { begun, start, end: (name: string) => ends.get(name)!() };
}

test("ByteBudget lets begin what fits, in the order it came", async () => {
  const budget = new ByteBudget(10);
  const { begun, start, end } = works();
  const sizes: [name: string, size: number][] = [["a", 6], ["b", 4], ["c", 6], ["d", 1], ["e", 99]];
  const running = new Map(sizes.map(([name, size]) => [name, budget.run(size, NEVER, start(name))]));
  const finish = async (name: string) => {
    end(name);
    await running.get(name);
    await Promise.resolve();
    return begun.join("");
  };
  await Promise.resolve();
  assert.equal(begun.join(""), "ab");
  assert.equal(await finish("b"), "ab", "d would fit, and waits behind c");
  assert.equal(await finish("a"), "abcd");
  assert.equal(await finish("c"), "abcd");
  assert.equal(await finish("d"), "abcde", "what is larger than all has it to itself");
  await finish("e");
});

test("ByteBudget frees what failed and what no longer waits", async () => {
  const budget = new ByteBudget(10);
  const { begun, start, end } = works();
  const reason = new Error("enough");
  const controller = new AbortController();
  const first = budget.run(10, NEVER, start("first"));
  const given = budget.run(10, controller.signal, start("given up"));
  const third = budget.run(10, NEVER, () => Promise.reject(reason));
  const last = budget.run(10, NEVER, () => Promise.resolve("done"));
  controller.abort(reason);
  await assert.rejects(given, reason);
  end("first");
  await first;
  await assert.rejects(third, reason);
  assert.equal(await last, "done");
  assert.deepEqual(begun, ["first"]);
  await assert.rejects(budget.run(1, controller.signal, start("too late")), reason);
});
