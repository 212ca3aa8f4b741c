/**
 * `fetch` for paths with dot segments.
 *
 * A replica written to `s3://bucket` without a path has keys that begin with `./`. The URL standard removes such
 * segments (also as `%2E`) before anything is sent, so `fetch` can never read them; `node:http` sends a path as it is.
 *
 * @module
 */

import type { Buffer } from "node:buffer";
import type { IncomingMessage } from "node:http";

/** What {@link rawFetch} is given beside the address. */
export interface RawRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | undefined;
  readonly signal: AbortSignal | undefined;
  /** Whether TLS certificates are verified. */
  readonly rejectUnauthorized: boolean;
}

/** Whether a URL path would lose segments in a URL parser. */
export function hasDotSegments(path: string): boolean {
  return path.split("/").some((segment) => /^(\.|%2e){1,2}$/i.test(segment));
}

/**
 * Sends a request for `path`, as it is spelled, to `origin` (scheme, host, port).
 *
 * @throws whatever the connection fails with, or the signal's reason
 */
export async function rawFetch(origin: string, path: string, request: RawRequest): Promise<Response> {
  const url = new URL(origin);
  const secure = url.protocol === "https:";
  const { request: open } = secure ? await import("node:https") : await import("node:http");
  const { method, body, signal } = request;
  const length = body === undefined ? {} : { "content-length": String(body.length) };
  signal?.throwIfAborted();
  return await new Promise<Response>((resolve, reject) => {
    const outgoing = open({
      method,
      hostname: url.hostname.replace(/^\[|\]$/g, ""),
      port: url.port || (secure ? 443 : 80),
      path,
      headers: { ...request.headers, ...length, host: url.host },
      agent: false,
      rejectUnauthorized: request.rejectUnauthorized,
    }, (incoming: IncomingMessage) => {
      try {
        resolve(responseOf(incoming, cancel));
      } catch (error) { // a status that no Response has
        reject(error);
        cancel();
      }
    });
    const cancel = () => outgoing.destroy();
    const abort = () => {
      reject(signal?.reason);
      outgoing.destroy();
    };
    signal?.addEventListener("abort", abort, { once: true });
    outgoing.on("error", reject);
    outgoing.on("close", () => signal?.removeEventListener("abort", abort));
    outgoing.end(body);
  });
}

function responseOf(incoming: IncomingMessage, cancel: () => void): Response {
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) headers.set(name, String(value));
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      incoming.on("data", (chunk: Buffer) => controller.enqueue(new Uint8Array(chunk)));
      incoming.on("end", () => closeOnce(controller));
      incoming.on("error", (error) => controller.error(error));
      incoming.on(
        "aborted",
        () => controller.error(new TypeError("connection closed before the body's end")),
      );
    },
    cancel,
  });
  const status = incoming.statusCode ?? 0;
  return new Response(status === 204 || status === 304 ? null : body, { status, headers });
}

/** A body that was cut has ended its stream already. */
function closeOnce(controller: ReadableStreamDefaultController<Uint8Array>): void {
  try {
    controller.close();
  } catch {
    // Errored before: the reader has been told.
  }
}
