/**
 * The bucket that chaos is played in: a real S3 server, or one in memory, as lanes reach it and as it truly is.
 *
 * @module
 */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AwsClient } from "aws4fetch";
import type { OpenOptions } from "../../mod.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { restore, startS3Server } from "../support/real.ts";
import type { Shelf } from "./model_primary.ts";

/** A server with one bucket. */
export interface Bucket {
  /** Origin of the server itself. */
  readonly endpoint: string;
  /** Keys to it. */
  readonly access: OpenOptions;
  /** The URL of a replica at `path`, reached at an origin. */
  url(path: string, origin: string): string;
  /** Where a replica's files are put past any fault. */
  shelf(path: string): Shelf;
  /** Has Litestream restore a replica past any fault; `folder` is for what that takes. */
  restore(path: string, out: string, folder: string): Promise<void>;
  close(): Promise<void>;
}

/** A real server; each object is a file on a disk. */
export async function startRealBucket(): Promise<Bucket> {
  const server = await startS3Server();
  const { endpoint, region, accessKey: accessKeyId, secretKey: secretAccessKey, bucket } = server;
  const client = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3" });
  const ask = async (method: string, key: string, body?: Uint8Array) => {
    const init = { method, ...(body ? { body: body as Uint8Array<ArrayBuffer> } : {}) };
    const answer = await client.fetch(`${endpoint}/${bucket}/${key}`, init);
    await answer.arrayBuffer();
    if (!answer.ok) throw new Error(`Cannot ${method} ${key}: status ${answer.status}`);
  };
  return {
    endpoint,
    access: { credentials: { accessKeyId, secretAccessKey } },
    url: (path, origin) => server.url(path).replace(encodeURIComponent(endpoint), encodeURIComponent(origin)),
    shelf: (path) => ({
      layout: "s3",
      put: (key, bytes) => ask("PUT", `${path}/${key}`, bytes),
      remove: (key) => ask("DELETE", `${path}/${key}`),
    }),
    restore: (path, out) => restore(server.url(path), out, { env: server.env }),
    close: () => server.close(),
  };
}

/** A server in memory. */
export async function startFakeBucket(): Promise<Bucket> {
  const server = await FakeS3.start();
  const { accessKeyId, secretAccessKey, bucket } = server.options;
  return {
    endpoint: server.endpoint,
    access: { credentials: { accessKeyId, secretAccessKey } },
    url: (path, origin) => `s3://${bucket}/${path}?endpoint=${encodeURIComponent(origin)}`,
    shelf: (path) => ({
      layout: "s3",
      put: (key, bytes) => Promise.resolve(void server.put(`${path}/${key}`, bytes)),
      remove: (key) => Promise.resolve(server.remove(`${path}/${key}`)),
    }),
    restore: async (path, out, folder) => {
      const copy = join(folder, "stored");
      await rm(copy, { recursive: true, force: true });
      for (const key of server.keys().filter((each) => each.startsWith(`${path}/`))) {
        const [, level = "", name = ""] = /\/000(\d)\/([^/]+\.ltx)$/.exec(key) ?? [];
        if (name === "") continue;
        const file = join(copy, "ltx", level, name);
        await mkdir(dirname(file), { recursive: true });
        await writeFile(file, server.get(key)!);
      }
      await restore(`file://${copy}`, out);
    },
    close: () => server.close(),
  };
}
