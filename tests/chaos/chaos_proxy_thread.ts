/**
 * The thread of a {@link ChaosProxy}: one port a lane, each with a schedule of its own.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createServer, type Socket } from "node:net";
import { parentPort, workerData } from "node:worker_threads";
import { RequestReader } from "../support/request_reader.ts";
import type { Delivery } from "./answer_fault.ts";
import { ChaosLane } from "./chaos_lane.ts";
import { ChaosMemory } from "./chaos_memory.ts";
import { ListingHistory } from "./listing_page.ts";
import { Upstream } from "./upstream.ts";

/** How the thread begins. */
export interface ProxyStart {
  readonly target: string;
  readonly seed: number;
  readonly lanes: number;
  readonly buffer: SharedArrayBuffer;
}

/** Between what is sent before a reset and the reset, in ms. */
const RESET_MS = 2;

/** Connections that are open, each with how many requests it has under way. */
const connections = new Map<Socket, number>();

/** Listens on a free port, which it gives. */
async function listen(lane: ChaosLane): Promise<number> {
  const server = createServer((socket) => accept(socket, lane));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as { port: number }).port;
}

function accept(socket: Socket, lane: ChaosLane): void {
  socket.setNoDelay(true);
  socket.on("error", () => {}); // the client has gone, which is its own affair
  connections.set(socket, 0);
  socket.once("close", () => connections.delete(socket));
  const count = (change: number) => {
    const asked = connections.get(socket);
    if (asked !== undefined) connections.set(socket, asked + change);
  };
  let turn = Promise.resolve();
  new RequestReader(socket).onRequest = (request) => {
    count(1);
    turn = turn.then(() => lane.serve(request, (delivery) => deliver(delivery, socket)))
      .catch(() => void socket.destroy())
      .finally(() => count(-1));
  };
}

/** Ends the connections that nothing is asked on. */
function hangUp(): void {
  for (const [socket, asked] of connections) if (asked === 0) socket.end();
}

async function deliver({ pieces, pauseMs, then }: Delivery, socket: Socket): Promise<void> {
  for (const piece of pauseMs > 0 ? pieces : [Buffer.concat(pieces)]) {
    if (pauseMs > 0) await pause(pauseMs);
    if (!socket.destroyed && piece.length > 0) socket.write(piece);
  }
  if (then === "end") socket.end();
  if (then === "reset") {
    if (pieces.length > 0) await pause(RESET_MS); // what was sent is on its way
    socket.resetAndDestroy();
  }
  if (then === "stall" && !socket.destroyed) {
    await new Promise<void>((resolve) => socket.once("close", () => resolve()));
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

const { target, seed, lanes, buffer } = workerData as ProxyStart;
const memory = new ChaosMemory(buffer);
const upstream = new Upstream(target);
const history = new ListingHistory();
memory.tick();
const ports = await Promise.all(
  Array.from({ length: lanes }, (_, number) =>
    listen(
      new ChaosLane({
        number,
        seed,
        memory,
        history,
        ask: (request) => upstream.ask(request),
      }),
    )),
);
parentPort!.on("message", hangUp); // it is told nothing else
parentPort!.postMessage(ports);
