import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ABI_VERSION, type AbiType, LS, symbols } from "../../ffi/symbols.ts";
import { decodeRequest, REQUEST, REQUEST_WORDS, type ShimRequest } from "../../src/bridge/protocol.ts";
import { COUNTER } from "../../src/pages/counters.ts";

const HEADER = new URL("../../ffi/shim.h", import.meta.url);
const header = readFileSync(HEADER, "utf8").replace(/\/\*[^]*?\*\//g, "");
const table = readFileSync(new URL("../../ffi/symbols.ts", import.meta.url), "utf8");
const counters = readFileSync(new URL("../../src/pages/counters.ts", import.meta.url), "utf8");

/** A prototype of the header: `int ls_abi(void)`. */
interface Prototype {
  readonly name: string;
  readonly text: string;
  readonly parameters: readonly string[];
}

const prototypes: Prototype[] = [...header.matchAll(/^LS_API (int (\w+)\(([^)]*)\));$/gm)].map(
  ([, text, name, list]) => ({
    name: name!,
    text: text!,
    parameters: list === "void" ? [] : list!.split(/,\s*/),
  }),
);

/** Every `#define NAME number` of the header. */
const constants = new Map(
  [...header.matchAll(/^#define (LS_\w+)\s+\(?(-?\d+)\)?\s*$/gm)].map(([, name, value]) => [
    name!,
    Number(value),
  ]),
);

/** The ABI type of a C parameter such as `const uint8_t *aByte`. */
function abiType(parameter: string): AbiType {
  if (parameter.includes("*")) return parameter.startsWith("const ") ? "bytes" : "buffer";
  const type = /^(\w+) \w+$/.exec(parameter)?.[1];
  if (type === "int") return "i32";
  if (type === "uint32_t") return "u32";
  if (type === "uint64_t") return "u64";
  throw new Error(
    `Cannot map parameter "${parameter}": its type is ${type}, expected int, uint32_t or uint64_t`,
  );
}

/** The names under a prefix with their values. */
function constantsOf(prefix: string): Record<string, number> {
  const found = [...constants].filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(found.map(([name, value]) => [name.slice(prefix.length), value]));
}

test("shim.h is understood: every LS_API line is a prototype", () => {
  const lines = header.split("\n").filter((line) => line.startsWith("LS_API "));
  assert.ok(lines.length > 40);
  assert.equal(prototypes.length, lines.length);
});

test("symbols has the functions of shim.h, no more and no fewer, in its order", () => {
  assert.deepEqual(Object.keys(symbols), prototypes.map(({ name }) => name));
});

for (const { name, text, parameters } of prototypes) {
  test(`symbols.${name} has the parameters of its prototype`, () => {
    const symbol = symbols[name as keyof typeof symbols];
    assert.deepEqual([...symbol.parameters], parameters.map(abiType));
    assert.equal(symbol.result, "i32");
    assert.ok(
      table.includes(`  // ${text}\n  ${name}: `),
      `expected the line "// ${text}" above ${name} in symbols.ts`,
    );
  });
}

test("ABI_VERSION is LS_ABI_VERSION", () => {
  assert.equal(ABI_VERSION, constants.get("LS_ABI_VERSION"));
});

test("LS has every negative result of shim.h", () => {
  const negative = Object.entries(constantsOf("LS_")).filter(([, value]) => value < 0);
  assert.deepEqual({ ...LS }, Object.fromEntries(negative));
});

test("REQUEST has the kinds of shim.h", () => {
  const kinds = Object.entries(constantsOf("LS_REQUEST_")).map((
    [name, value],
  ) => [name.toLowerCase(), value]);
  assert.deepEqual({ ...REQUEST }, Object.fromEntries(kinds));
});

test("decodeRequest() reads the words of LsRequest in their order", () => {
  const body = /typedef struct LsRequest \{([^}]*)\}/.exec(header)![1]!;
  const fields = [...body.matchAll(/uint32_t (\w+);/g)].map(([, name]) => name!);
  assert.equal(fields.length, REQUEST_WORDS);
  const members: Record<string, keyof ShimRequest> = {
    eKind: "kind",
    iSlot: "slot",
    iGen: "generation",
    iReplica: "replicaId",
    iView: "viewId",
    iPgno: "pgno",
    iObject: "objectId",
    iFrame: "frame",
    iConnection: "connection",
    iIndexLeaf: "indexLeaf",
  };
  const words = Uint32Array.from({ length: 3 * REQUEST_WORDS }, (_, i) => 4_000_000_000 + i);
  const request = decodeRequest(words, 1);
  assert.deepEqual(Object.keys(request).length, REQUEST_WORDS);
  fields.forEach((field, i) => {
    assert.equal(request[members[field]!], 4_000_000_000 + REQUEST_WORDS + i, field);
  });
});

test("LsFrame has the four words that the page loader reads", () => {
  const body = /typedef struct LsFrame \{([^}]*)\}/.exec(header)![1]!;
  const fields = [...body.matchAll(/uint32_t (\w+);/g)].map(([, name]) => name!);
  assert.deepEqual(fields, ["iPgno", "nByte", "bCached", "bCurrent"]);
});

test("COUNTER agrees with the shim's own indexes and stays in bounds", () => {
  assert.equal(COUNTER.hits, constants.get("LS_STAT_HIT"));
  assert.equal(COUNTER.misses, constants.get("LS_STAT_MISS"));
  assert.equal(COUNTER.transactions, constants.get("LS_STAT_TRANSACTION"));
  assert.equal(COUNTER.bytesUsed, constants.get("LS_STAT_USED"));
  assert.equal(COUNTER.aheadHits, constants.get("LS_STAT_AHEAD"));
  assert.equal(COUNTER.localReads, constants.get("LS_STAT_LOCAL"));
  assert.equal(COUNTER.getRequests, constants.get("LS_STAT_GET"));
  assert.equal(COUNTER.bytes, constants.get("LS_STAT_BYTE"));
  assert.equal(COUNTER.roundTrips, constants.get("LS_STAT_ROUND_TRIP"));
  assert.equal(COUNTER.aheadPages, constants.get("LS_STAT_AHEAD_PAGE"));
  const first = constants.get("LS_STAT_CORE")!;
  const count = constants.get("LS_STAT_COUNT")!;
  const shims = ["hits", "misses", "transactions", "bytesUsed", "aheadHits", "localReads"];
  for (const [name, index] of Object.entries(COUNTER)) {
    assert.ok(shims.includes(name) ? index < first : index >= first && index < count, name);
  }
  assert.equal(new Set(Object.values(COUNTER)).size, Object.keys(COUNTER).length);
  assert.match(counters, new RegExp(`COUNTER_COUNT = ${count};`));
});
