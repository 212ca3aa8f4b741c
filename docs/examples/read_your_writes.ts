/**
 * What one process has written is read by another one: the writer tells the TXID, the reader waits for it.
 *
 *     deno run -A docs/examples/read_your_writes.ts s3://bucket/sandwiches
 *     bun docs/examples/read_your_writes.ts s3://bucket/sandwiches
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { openReplica } from "@x/litestream-vfs";

const [, , url, role] = process.argv;

/** Writes what comes in, a line each, and answers with the TXID under which it is stored. */
async function write(): Promise<void> {
  await using replica = await openReplica(url, { write: true });
  const db = replica.connect();
  for await (const sandwich of createInterface({ input: process.stdin })) {
    db.prepare("INSERT INTO ratings (sandwich, stars) VALUES (?, 5)").all(sandwich);
    console.log(String(await replica.sync()));
  }
  db.close();
}

/** Has another process write, and reads it. */
async function read(): Promise<void> {
  await using replica = await openReplica(url);
  const db = replica.connect();
  const args = "Deno" in globalThis ? ["run", "-A"] : [];
  const writer = spawn(process.execPath, [...args, fileURLToPath(import.meta.url), url!, "writer"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const told = createInterface({ input: writer.stdout! })[Symbol.asyncIterator]();
  for (const sandwich of ["reuben", "monte cristo"]) {
    writer.stdin!.write(`${sandwich}\n`);
    const { value } = await told.next();
    await replica.waitFor(BigInt(value!), { timeoutMs: 10_000 });
    console.log(JSON.stringify(db.prepare("SELECT sandwich FROM ratings ORDER BY id DESC LIMIT 1").get()));
  }
  writer.stdin!.end();
  await once(writer, "exit");
  db.close();
}

await (role === "writer" ? write() : read());
