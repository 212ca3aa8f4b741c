/**
 * A `fetch` that goes wrong by a seed: a {@link ChaosLane} before a {@link MemoryBucket}, without a network in between, so that
 * faults cost next to nothing.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { FetchFunction } from "../../src/storage/fetch_function.ts";
import type { HttpRequest } from "../support/request_reader.ts";
import type { Delivery } from "./answer_fault.ts";
import type { ChaosLane } from "./chaos_lane.ts";

const HEAD_END = "\r\n\r\n";

/** The fetch whose requests a lane answers. */
export function chaosFetch(lane: ChaosLane): FetchFunction {
  return (url, init) =>
    new Promise<Response>((resolve, reject) => {
      const { signal } = init;
      signal?.throwIfAborted();
      signal?.addEventListener("abort", () => reject(signal.reason));
      lane.serve(requestOf(url, init), async (delivery) => {
        const { pieces, pauseMs } = delivery;
        if (pauseMs > 0) await pause(pauseMs);
        const sent = Buffer.concat(pieces as Buffer[]);
        const end = sent.indexOf(HEAD_END);
        if (end < 0) fail(delivery, reject);
        else resolve(responseOf(sent, end, { delivery, signal: signal ?? undefined }));
      }).catch(reject);
    });
}

function requestOf(url: string, init: RequestInit): HttpRequest {
  const { pathname, search } = new URL(url);
  const headers = new Map(new Headers(init.headers).entries());
  const body = init.body === undefined || init.body === null
    ? Buffer.alloc(0)
    : Buffer.from(init.body as Uint8Array);
  return { method: init.method ?? "GET", target: pathname + search, headers, body };
}

/** Not even a head came. */
function fail({ then }: Delivery, reject: (reason: unknown) => void): void {
  if (then !== "stall") reject(new TypeError("connection reset"));
}

/** What a client makes of the bytes that came, as HTTP says. */
function responseOf(
  sent: Buffer,
  end: number,
  { delivery, signal }: { delivery: Delivery; signal: AbortSignal | undefined },
): Response {
  const [first = "", ...lines] = sent.toString("latin1", 0, end).split("\r\n");
  const status = Number(first.split(" ")[1]);
  const headers = new Headers(lines.map((line) => line.split(": ", 2) as [string, string]));
  const size = Number(headers.get("content-length") ?? 0);
  const body = new Uint8Array(sent.subarray(end + HEAD_END.length, end + HEAD_END.length + size));
  if (status === 204 || status === 304) return new Response(null, { status, headers });
  if (body.length === size && delivery.then !== "stall" && delivery.pieces.length < 3) {
    return new Response(body, { status, headers });
  }
  return new Response(streamOf(body, { size, delivery, signal }), { status, headers });
}

/** A body that comes in parts, and may never be whole. */
function streamOf(
  body: Uint8Array,
  { size, delivery, signal }: { size: number; delivery: Delivery; signal: AbortSignal | undefined },
): ReadableStream<Uint8Array> {
  const part = Math.max(1, Math.ceil(body.length / Math.max(1, delivery.pieces.length - 1)));
  let offset = 0;
  return new ReadableStream<Uint8Array>({
    start: (controller) => {
      signal?.addEventListener("abort", () => {
        try {
          controller.error(signal.reason);
        } catch {
          // it has ended already
        }
      });
    },
    pull: async (controller) => {
      if (offset < body.length) {
        if (delivery.pauseMs > 0) await pause(delivery.pauseMs);
        if (signal?.aborted) return;
        controller.enqueue(body.slice(offset, offset + part));
        offset += part;
      } else if (body.length === size) controller.close();
      else if (delivery.then === "stall") await new Promise(() => {});
      else controller.error(new TypeError("connection closed before message completed"));
    },
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
