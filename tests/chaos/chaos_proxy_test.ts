import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { AwsClient } from "aws4fetch";
import { until } from "../replica/following.ts";
import { FakeS3 } from "../support/fake_s3.ts";

import { ChaosProxy } from "./chaos_proxy.ts";
import {
  canMeet,
  ChaosSchedule,
  evenRates,
  FAULT_KINDS,
  type FaultKind,
  type RequestClass,
} from "./fault_schedule.ts";

const CLASSES: readonly RequestClass[] = ["list", "read", "put", "remove"];

test("ChaosSchedule draws the same faults for the same seed, and each kind as often as its rate says", () => {
  const rates = evenRates(0.5);
  const drawn = (seed: number, lane: number, requested: RequestClass) => {
    const schedule = new ChaosSchedule(seed, lane);
    return Array.from({ length: 4_000 }, (_, number) => {
      const fault = schedule.at(number, requested, rates);
      return fault && `${fault.kind} ${fault.dice.next(1000)}`;
    });
  };
  for (const requested of CLASSES) {
    const first = drawn(7, 0, requested);
    assert.deepEqual(drawn(7, 0, requested), first);
    assert.notDeepEqual(drawn(8, 0, requested), first);
    assert.notDeepEqual(drawn(7, 1, requested), first);
    for (const kind of FAULT_KINDS) {
      const count = first.filter((fault) => fault?.startsWith(`${kind} `)).length;
      const wanted = canMeet(kind, requested) ? rates[kind]! * first.length : 0;
      assert.ok(Math.abs(count - wanted) <= 6 * Math.sqrt(wanted), `${count} ${kind}, expected ${wanted}`);
    }
  }
});

/** What came of a request. */
interface Seen {
  /** Whether the body is the one that the server itself gives, where the request changes nothing. */
  readonly isTrue?: boolean;
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
  /** Why it failed; empty where it did not. */
  readonly failure: string;
}

/** Kinds under which no answer may come. */
const STALLING: readonly FaultKind[] = ["stall", "late write", "unacknowledged"];

const OBJECT = "0123456789".repeat(40);
const RANGE = { range: "bytes=100-199" };

/** A bucket, and a signed request of each class to it through a proxy. */
class Bucket {
  readonly #server: FakeS3;
  readonly #origin: string;
  readonly #client: AwsClient;
  /** Ends requests. */
  patience = new AbortController();

  constructor(server: FakeS3, origin: string) {
    const { accessKeyId, secretAccessKey, region } = server.options;
    this.#server = server;
    this.#origin = origin;
    this.#client = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 0 });
  }

  /** Puts what is there at the beginning, and nothing else. */
  reset(): void {
    for (const key of ["db/new", "db/put"]) this.#server.remove(key);
    for (const key of ["a", "b", "c", "d"]) this.#server.put(`db/${key}`, Buffer.from(OBJECT));
  }

  /** Whether what was to be written or removed is. */
  isDone(requested: RequestClass): boolean {
    return requested === "put"
      ? this.#server.get("db/put") !== undefined
      : this.#server.get("db/d") === undefined;
  }

  put(key: string): void {
    this.#server.put(key, Buffer.from("later"));
  }

  /** Whether a body is what the server itself answers. */
  async isTrue(requested: RequestClass, init: RequestInit, body: string): Promise<boolean> {
    return (await this.ask(requested, init, this.#server.endpoint)).body === body;
  }

  async ask(requested: RequestClass, init: RequestInit = {}, origin = this.#origin): Promise<Seen> {
    const targets = {
      list: ["GET", "?list-type=2&prefix=db%2F"],
      read: ["GET", "/db/a"],
      put: ["PUT", "/db/put"],
      remove: ["DELETE", "/db/d"],
    };
    const [method, target] = targets[requested] as [string, string];
    const body = method === "PUT" ? { body: "new" } : {};
    const { signal } = this.patience;
    let response: Response | undefined;
    try {
      const url = `${origin}/${this.#server.options.bucket}${target}`;
      response = await this.#client.fetch(url, { method, signal, ...body, ...init });
      return { ...of(response), body: await response.text(), failure: "" };
    } catch (error) {
      return { ...of(response), body: "", failure: String(error) };
    }
  }
}

function of(response: Response | undefined): Pick<Seen, "status" | "headers"> {
  return { status: response?.status ?? 0, headers: response?.headers ?? new Headers() };
}

/** Holds where a kind has happened, to what was seen of a request and to the bucket. */
const SIGNS: Readonly<Record<FaultKind, (seen: Seen, bucket: Bucket, requested: RequestClass) => unknown>> = {
  latency: ({ status }) => status < 300,
  stall: ({ failure }) => failure.includes("given up"),
  "reset before": ({ status, failure }) => status === 0 && failure,
  "reset in headers": ({ status, failure }) => status === 0 && failure,
  "reset in body": ({ failure }) => failure,
  "cut body": ({ failure, isTrue }) => failure || !isTrue,
  // the client may have cut off what is too much, and the connection with it
  "padded body": ({ failure, isTrue, body }) => failure || !isTrue || body === OBJECT.slice(100, 200),
  "other range": ({ headers, body }) => headers.get("content-range") !== "bytes 0-399/400" || body !== OBJECT,
  "range ignored": ({ status, body }) => status === 200 && body === OBJECT,
  "wrong content-range": ({ headers }) => headers.get("content-range") !== "bytes 100-199/400",
  "403": ({ status }) => status === 403,
  "404": ({ status }) => status === 404,
  "412": ({ status }) => status === 412,
  "416": ({ status }) => status === 416,
  "429": ({ status, headers }) => status === 429 && headers.has("retry-after"),
  "500": ({ status }) => status === 500,
  "503": ({ status }) => status === 503,
  "stale listing": ({ isTrue, body }) => !isTrue && body.includes("<Key>db/a<"),
  "incomplete listing": ({ body }) => (body.match(/<Key>/g) ?? []).length < 5,
  reordered: ({ status }) => status < 300,
  deleted: ({ status }) => status === 404,
  flipped: ({ isTrue }) => !isTrue,
  "clock skew": ({ headers, body }) => headers.has("date") || body.includes("RequestTimeTooSkewed"),
  drip: ({ status }) => status < 300,
  "late write": isDoneUnsaid,
  unacknowledged: isDoneUnsaid,
};

function isDoneUnsaid({ status, failure }: Seen, bucket: Bucket, requested: RequestClass): boolean {
  return bucket.isDone(requested) && (status >= 500 || failure !== "");
}

/** Asks for a whole object where a kind needs one, else for a range. */
async function meet(kind: FaultKind, requested: RequestClass, bucket: Bucket): Promise<Seen> {
  if (requested === "put" || requested === "remove") return await bucket.ask(requested);
  const isWhole = kind === "flipped" || kind === "other range";
  const range = isWhole ? { range: `bytes=0-${OBJECT.length - 1}` } : RANGE;
  const init = requested === "read" ? { headers: range } : {};
  const seen = await bucket.ask(requested, init);
  return { ...seen, isTrue: await bucket.isTrue(requested, init, seen.body) };
}

test("ChaosProxy has each kind of fault happen to each request that it can happen to, and counts it", async () => {
  await using server = await FakeS3.start();
  await using proxy = await ChaosProxy.start({ target: server.endpoint, seed: 3, rates: {}, lanes: 2 });
  const bucket = new Bucket(server, proxy.origins[1]!);
  let metCount = 0;
  for (const kind of FAULT_KINDS) {
    proxy.calm();
    bucket.reset();
    await bucket.ask("list");
    bucket.put("db/new");
    const before = proxy.counts();
    const able = CLASSES.filter((requested) => canMeet(kind, requested));
    for (const requested of able) {
      proxy.storm({ [kind]: 1 });
      const { [kind]: metBefore } = proxy.counts(1);
      const asked = meet(kind, requested, bucket);
      if (kind === "reordered") await overtake(proxy, bucket);
      if (STALLING.includes(kind)) await giveUp(bucket, () => proxy.counts(1)[kind] > metBefore);
      const seen = await asked;
      proxy.calm();
      if (kind === "late write") await until("it is written", () => bucket.isDone(requested));
      assert.ok(SIGNS[kind](seen, bucket, requested), `${kind} ${requested}: ${JSON.stringify(seen)}`);
    }
    metCount += able.length;
    const { [kind]: count, ...others } = proxy.counts();
    // fetch itself asks again where a connection that it had kept was reset
    assert.ok(count - before[kind] >= able.length, `${count} ${kind}`);
    assert.deepEqual({ ...others, [kind]: before[kind] }, before);
    const calm = await bucket.ask("read", { headers: RANGE });
    assert.deepEqual([calm.status, calm.body], [206, OBJECT.slice(100, 200)], `after ${kind}`);
  }
  assert.equal(metCount, 69);
  assert.ok(Object.values(proxy.counts(0)).every((count) => count === 0));
});

test("ChaosProxy hangs up where nothing is asked, and nowhere else", async () => {
  await using server = await FakeS3.start();
  server.options.latencyMs = 300;
  await using proxy = await ChaosProxy.start({ target: server.endpoint, seed: 3, rates: {} });
  const open = async () => {
    const socket = connect(Number(new URL(proxy.origin).port), "127.0.0.1");
    await once(socket, "connect");
    return socket;
  };
  const [idle, asking] = [await open(), await open()];
  const before = proxy.requests;
  asking.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  await until("it is asked", () => proxy.requests > before);
  const ended: string[] = [];
  idle.once("end", () => ended.push("idle")).resume();
  asking.once("end", () => ended.push("asking"));
  proxy.hangUp();
  const [answer] = await once(asking, "data") as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1\.1 /);
  await until("it hangs up", () => ended.length > 0);
  assert.deepEqual(ended, ["idle"]);
  proxy.hangUp();
  await until("it hangs up there too", () => ended.length > 1);
  for (const socket of [idle, asking]) socket.destroy();
});

/** Sends a request that nothing happens to, which overtakes the one before. */
async function overtake(proxy: ChaosProxy, bucket: Bucket): Promise<void> {
  const before = proxy.requests;
  while (proxy.requests === before) await new Promise((resolve) => setTimeout(resolve, 1));
  proxy.calm();
  await bucket.ask("list");
}

/** Ends a request once its fault has happened: no answer may ever come. */
async function giveUp(bucket: Bucket, hasMet: () => boolean): Promise<void> {
  while (!hasMet()) await new Promise((resolve) => setTimeout(resolve, 1));
  await new Promise((resolve) => setTimeout(resolve, 50));
  bucket.patience.abort(new Error("given up"));
  bucket.patience = new AbortController();
}
