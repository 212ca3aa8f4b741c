import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeError, encodeError, reworded } from "../../src/bridge/error_text.ts";
import { SQLITE, sqliteCode } from "../../src/bridge/sqlite_code.ts";
import {
  ConflictError,
  DeadlineError,
  LocalFileError,
  LtxFormatError,
  ObjectExistsError,
  ObjectGoneError,
  ReplicaClosedError,
  ReplicaError,
  RestorePlanError,
  ShimError,
  StorageError,
  WriteLogError,
} from "../../src/errors.ts";

/** What the shim keeps of a text. */
const SHIM_BYTES = 1023;

/** The text as it comes out of the shim. */
function throughShim(text: string): string {
  return new TextDecoder().decode(new TextEncoder().encode(text).subarray(0, SHIM_BYTES));
}

const details = { key: "0009/x.ltx", status: 503, code: "SlowDown", retryable: true };

const samples: Error[] = [
  new ReplicaError("Cannot a: b"),
  new StorageError("Cannot read: status 503", details),
  new ObjectGoneError("Cannot read: gone", { key: "k", status: 404, code: "NoSuchKey", retryable: false }),
  new LtxFormatError("Cannot decode: bad", { key: "ltx/0/y.ltx", offset: 4096 }),
  new LtxFormatError("Cannot decode: bad"),
  new RestorePlanError("Cannot plan: gap", "gap"),
  new RestorePlanError("Cannot plan: none", "empty"),
  new RestorePlanError("Cannot plan: old", "v0.3"),
  new RestorePlanError("Cannot plan: far", "unreachable"),
  new ObjectExistsError("Cannot put: there", { key: "k", status: 412, code: "x", retryable: false }),
  new ConflictError("Cannot store: another"),
  new WriteLogError("Cannot open: no disk"),
  new LocalFileError("Cannot open: taken", { isTaken: true }),
  new LocalFileError("Cannot read: cut", { isCut: true }),
  new DeadlineError("Cannot open: late"),
  new ReplicaClosedError("Cannot read: closed"),
  new ShimError("Cannot load: no file"),
  new TypeError("Cannot use: not a URL"),
  new RangeError("Cannot use: -1"),
];

test("reworded() gives an error of the same class and facts, with the other as its cause", () => {
  for (const error of samples) {
    const other = reworded(error, `Cannot go on: ${error.message}`);
    assert.equal(other.constructor, error.constructor);
    assert.equal(other.message, `Cannot go on: ${error.message}`);
    assert.equal(other.cause, error);
    for (
      const fact of [
        "name",
        "key",
        "status",
        "code",
        "retryable",
        "offset",
        "fault",
        "isTaken",
        "isCut",
      ] as const
    ) {
      const valueIn = (of: Error) => (of as Partial<Record<typeof fact, unknown>>)[fact];
      assert.equal(valueIn(other), valueIn(error), fact);
    }
  }
});

for (const error of samples) {
  const faults = error instanceof RestorePlanError ? ` (${error.fault})` : "";
  test(`decodeError(encodeError()) gives back a ${error.name}${faults}, its facts and its message`, () => {
    const back = decodeError(throughShim(encodeError(error)));
    assert.equal(back.constructor, error.constructor);
    assert.equal(back.name, error.name);
    assert.equal(back.message, error.message);
    for (const name of ["key", "status", "code", "retryable", "offset", "fault"] as const) {
      assert.equal(
        (back as unknown as Record<string, unknown>)[name],
        (error as unknown as Record<string, unknown>)[name],
      );
    }
    assert.equal(back.cause, undefined);
  });
}

test("encodeError() puts name and message on the first line, whatever the message holds", () => {
  const text = encodeError(
    new StorageError("Cannot read:\r\n  two\nlines", { ...details, key: "a\nstatus=1" }),
  );
  assert.equal(text.split("\n")[0], "StorageError: Cannot read: two lines");
  assert.equal((decodeError(text) as StorageError).status, 503);
});

test("decodeError() gives back chains of causes, each of its class", () => {
  const inner = new TypeError("fetch failed");
  const middle = new StorageError("Cannot read: refused", { ...details, cause: inner });
  const back = decodeError(encodeError(new DeadlineError("Cannot open: late", { cause: middle })));
  assert.ok(back instanceof DeadlineError);
  assert.ok(back.cause instanceof StorageError);
  assert.equal((back.cause as Error).message, "Cannot read: refused");
  const { key, status, code, retryable } = back.cause as StorageError;
  assert.deepEqual({ key, status, code, retryable }, details);
  assert.ok((back.cause as Error).cause instanceof TypeError);
  const empty = new DeadlineError("Cannot open: late", {
    cause: new RestorePlanError("Cannot plan: none", "empty"),
  });
  assert.equal((decodeError(encodeError(empty)).cause as RestorePlanError).fault, "empty");
});

test("encodeError() ends a chain of causes that goes round", () => {
  const error = new Error("a");
  error.cause = error;
  assert.ok(encodeError(error).length < 200);
});

test("encodeError() writes what is no error, and errors of other classes, as a ReplicaError", () => {
  assert.equal(encodeError("text"), "ReplicaError: text");
  assert.equal(encodeError(undefined), "ReplicaError: undefined");
  const back = decodeError(encodeError(new SyntaxError("odd")));
  assert.ok(back instanceof ReplicaError);
  assert.equal(back.name, "SyntaxError");
  assert.equal(back.message, "odd");
});

test("decodeError() takes text without a name", () => {
  assert.equal(decodeError("no colon here").message, "no colon here");
  assert.equal(decodeError("").message, "");
});

test("an error cut at 1023 bytes keeps its class and true facts", () => {
  for (let length = 700; length < 1100; length++) {
    const message = `Cannot read: ${"x".repeat(length)}`;
    const cause = new Error("y".repeat(300));
    const back = decodeError(
      throughShim(encodeError(new StorageError(message, { ...details, status: 404, cause }))),
    );
    assert.ok(back instanceof StorageError);
    assert.ok(message.startsWith(back.message.replace(/…$/, "")), back.message);
    assert.deepEqual([back.key, back.status, back.code, back.retryable], [
      "0009/x.ltx",
      404,
      "SlowDown",
      true,
    ]);
    const format = decodeError(
      throughShim(encodeError(new LtxFormatError(message, { key: "k", offset: 123_456 }))),
    );
    assert.equal((format as LtxFormatError).offset, 123_456);
  }
});

test("an error cut at 1023 bytes is cut between characters", () => {
  for (let length = 240; length < 400; length++) {
    const text = encodeError(
      new StorageError(`Cannot read: ${"€𝄞".repeat(length)}`, { ...details, key: "é".repeat(300) }),
    );
    assert.ok(new TextEncoder().encode(text).length <= SHIM_BYTES);
    assert.ok(!throughShim(text).includes("\ufffd"));
    assert.ok(decodeError(throughShim(text)) instanceof StorageError);
  }
});

test("sqliteCode() tells damage, failed openings and failed reads apart", () => {
  for (const act of ["open", "read"] as const) {
    assert.equal(sqliteCode(new LtxFormatError("x"), act), SQLITE.IOERR_DATA);
    assert.equal(sqliteCode(new StorageError("x", details), act), SQLITE.IOERR_READ);
    assert.equal(sqliteCode(new DeadlineError("x"), act), SQLITE.IOERR_READ);
    assert.equal(sqliteCode("x", act), SQLITE.IOERR_READ);
  }
  for (const error of [new RestorePlanError("x", "gap"), new TypeError("x"), new RangeError("x")]) {
    assert.equal(sqliteCode(error, "open"), SQLITE.CANTOPEN);
    assert.equal(sqliteCode(error, "read"), SQLITE.IOERR_READ);
  }
  for (const error of [new LtxFormatError("x"), new StorageError("x", details), "x"]) {
    assert.equal(sqliteCode(error, "move"), SQLITE.ERROR); // a PRAGMA failed, not the transaction
  }
});

test("encodeError() takes whatever anybody throws", () => {
  const silent = Object.assign(new Error(), { message: null, name: undefined });
  const thrown = [silent, Object.create(null), null, undefined, 7, Symbol("s"), { message: "m" }, {
    toString: 1,
  }];
  for (const one of thrown) {
    assert.match(encodeError(one), /^[A-Za-z]*: /);
    const text = encodeError(new StorageError("Cannot read: it failed", { ...details, cause: one }));
    assert.equal(decodeError(text).message, "Cannot read: it failed");
  }
});
