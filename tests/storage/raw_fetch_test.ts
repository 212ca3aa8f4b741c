import assert from "node:assert/strict";
import { createServer } from "node:net";
import { test } from "node:test";
import { rawFetch } from "../../src/storage/raw_fetch.ts";

test("rawFetch() fails where a server's status is none, and nothing else does", async () => {
  const server = createServer((socket) => {
    socket.on("error", () => {}); // it is hung up on
    socket.once("data", () => socket.end("HTTP/1.1 999 Nothing\r\ncontent-length: 0\r\n\r\n"));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const request = {
    method: "GET",
    headers: {},
    body: undefined,
    signal: undefined,
    rejectUnauthorized: true,
  };
  await assert.rejects(rawFetch(`http://127.0.0.1:${port}`, "/./key", request), /status|999/i);
  await new Promise((resolve) => server.close(resolve));
});
