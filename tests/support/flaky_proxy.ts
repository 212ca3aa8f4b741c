/**
 * The thread of a proxy between a replica's reader and its S3 server that goes wrong when it is told to.
 *
 * A thread of its own, so that a query may block the one that tests. It is told a {@link ProxyFault} in a message and
 * answers with its port once that holds. Requests are passed on as they came, so their signatures hold, but for those
 * with a session token.
 *
 * @module
 */
import { createServer, type Server, Socket } from "node:net";
import { parentPort, workerData } from "node:worker_threads";
import { AwsV4Signer } from "aws4fetch";

/** How all requests go wrong. */
export type ProxyFault =
  /** They do not. */
  | { kind: "none" }
  /** Connections are accepted and never answered, those that stood before too. */
  | { kind: "blackhole" }
  /** Nothing listens; connections that stood before are reset. */
  | { kind: "refuse" }
  /** Connections are reset at each request. */
  | { kind: "reset" }
  /** Answered with a status and S3's XML for `code`. */
  | { kind: "status"; status: number; code: string; message: string }
  /** The same, where the session token is one of these. */
  | { kind: "expired"; tokens: readonly string[] }
  /** A key that is missing is refused as 403 AccessDenied; listings work. */
  | { kind: "forbidMissing" }
  /** The true answer, later. */
  | { kind: "slow"; delayMs: number }
  /** Bodies end after so many bytes, fewer than Content-Length says. */
  | { kind: "cut"; after: number };

/** How a proxy begins. */
export interface ProxyStart {
  /** Origin of the server. */
  readonly endpoint: string;
  /** Its keys and region: it knows no session tokens, so requests that carry one are signed anew without. */
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly region: string;
}

/** What a proxy answers to each message. */
export interface ProxyState {
  readonly port: number;
  /** Requests that came in so far. */
  readonly requests: number;
}

const HEAD_END = "\r\n\r\n";
const { endpoint, ...keys } = workerData as ProxyStart;
const upstream = new URL(endpoint);
const sockets = new Set<Socket>();
let fault: ProxyFault = { kind: "none" };
let server: Server | undefined;
let port = 0;
let requests = 0;

/** Listens again where it listened before, so that the address stays. */
async function listen(): Promise<void> {
  if (server !== undefined) return;
  const begun = server = createServer(accept);
  for (let attempt = 1;; attempt++) {
    const error = await new Promise<Error | undefined>((resolve) => {
      begun.once("error", resolve);
      begun.listen(port, "127.0.0.1", () => resolve(undefined));
    });
    if (error === undefined) break;
    if (attempt === 50) throw error;
    await pause(20);
  }
  const address = begun.address();
  port = typeof address === "object" && address !== null ? address.port : port;
}

async function stopListening(): Promise<void> {
  const ended = server;
  server = undefined;
  for (const socket of sockets) socket.resetAndDestroy();
  if (ended) await new Promise((resolve) => ended.close(resolve));
}

function accept(socket: Socket): void {
  sockets.add(socket);
  let pending = Buffer.alloc(0);
  let answering = Promise.resolve();
  socket.on("close", () => sockets.delete(socket));
  socket.on("error", () => {}); // the client has gone, which is its own affair
  socket.on("data", (data: Buffer) => {
    pending = Buffer.concat([pending, data]);
    for (let end = pending.indexOf(HEAD_END); end >= 0; end = pending.indexOf(HEAD_END)) {
      const head = pending.toString("latin1", 0, end);
      pending = pending.subarray(end + HEAD_END.length);
      requests++;
      answering = answering.then(() => answer(socket, head)).catch(() => void socket.destroy());
    }
  });
}

async function answer(socket: Socket, head: string): Promise<void> {
  const now = fault;
  if (now.kind === "blackhole") return await forever(socket);
  if (now.kind === "reset") return void socket.resetAndDestroy();
  if (now.kind === "status") return send(socket, errorAnswer(now.status, now.code, now.message));
  if (now.kind === "expired" && now.tokens.includes(headerOf(head, "x-amz-security-token"))) {
    return send(socket, errorAnswer(400, "ExpiredToken", "The provided token has expired."));
  }
  const given = await passOn(head);
  if (now.kind === "slow") await pause(now.delayMs);
  const isMissing = /^HTTP\/1\.1 404 /.test(given.toString("latin1", 0, 16)) && !/^GET [^ ]*\?/.test(head);
  if (now.kind === "forbidMissing" && isMissing) {
    return send(socket, errorAnswer(403, "AccessDenied", "Access Denied"));
  }
  if (fault.kind === "blackhole") return await forever(socket); // the answer is lost on its way
  if (now.kind !== "cut") return send(socket, given);
  const bodyStart = given.indexOf(HEAD_END) + HEAD_END.length;
  send(socket, given.subarray(0, bodyStart + now.after));
  if (given.length > bodyStart + now.after) socket.end();
}

function send(socket: Socket, answer: Uint8Array): void {
  if (!socket.destroyed) socket.write(answer);
}

/** Fetches the answer whole over a connection of its own, and lets the client keep its own one. */
async function passOn(head: string): Promise<Buffer> {
  const connection = new Socket();
  const parts: Buffer[] = [];
  const isSignedAnew = headerOf(head, "x-amz-security-token") !== "";
  const [first, ...headers] = isSignedAnew ? await signedAnew(head) : head.split("\r\n");
  const own = headers.filter((line) => !/^(connection|keep-alive):/i.test(line));
  await new Promise<void>((resolve, reject) => {
    connection.on("data", (data: Buffer) => parts.push(data));
    connection.on("end", resolve);
    connection.on("error", reject);
    connection.on("close", () => resolve());
    connection.connect(Number(upstream.port), upstream.hostname, () => {
      connection.write([first, ...own, "Connection: close"].join("\r\n") + HEAD_END, "latin1");
    });
  });
  connection.destroy();
  const given = Buffer.concat(parts);
  const end = given.indexOf(HEAD_END);
  if (end < 0) throw new Error("Cannot pass on request: the server gave no answer");
  const givenHead = given.toString("latin1", 0, end).replace(/\r\nconnection: *close/i, "");
  return Buffer.concat([Buffer.from(givenHead, "latin1"), given.subarray(end)]);
}

/** The lines of a request's head as the server's own keys sign it. */
async function signedAnew(head: string): Promise<string[]> {
  const [first = ""] = head.split("\r\n");
  const headers: Record<string, string> = { "x-amz-content-sha256": "UNSIGNED-PAYLOAD" };
  for (const name of ["range", "if-match"]) {
    const value = headerOf(head, name);
    if (value !== "") headers[name] = value;
  }
  const url = endpoint + first.split(" ")[1];
  const signer = new AwsV4Signer({ ...keys, method: "GET", url, headers, service: "s3" });
  const signed = await signer.sign();
  return [
    first,
    `host: ${upstream.host}`,
    ...[...signed.headers].map(([name, value]) => `${name}: ${value}`),
  ];
}

function headerOf(head: string, name: string): string {
  const line = head.split("\r\n").find((each) => each.toLowerCase().startsWith(`${name}:`));
  return line?.slice(name.length + 1).trim() ?? "";
}

function errorAnswer(status: number, code: string, message: string): Buffer {
  const body =
    `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message></Error>`;
  const head = [
    `HTTP/1.1 ${status} Error`,
    "Content-Type: application/xml",
    `Content-Length: ${body.length}`,
  ];
  return Buffer.from(head.join("\r\n") + HEAD_END + body, "latin1");
}

function forever(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

const commands = parentPort!;
commands.on("message", async (next: ProxyFault) => {
  fault = next;
  if (fault.kind === "refuse") await stopListening();
  else await listen();
  commands.postMessage({ port, requests } satisfies ProxyState);
});
