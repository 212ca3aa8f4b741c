/**
 * Servers of every kind that replicas lie on, with room for any number of replicas.
 *
 * @module
 */
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { azuriteProgram, type AzuriteServer, startAzurite } from "./azurite_server.ts";
import { gcsServerBinary, startGcsServer } from "./gcs_server.ts";
import { motoFolder, startMoto } from "./moto_server.ts";
import { natsServerBinary, startNatsServer } from "./nats_server.ts";
import type { PlaceServer } from "./place_suite.ts";
import { folderUrl, s3ServerBinary, startS3Server } from "./real.ts";
import { sshServerBinary, startSshServer } from "./ssh_server.ts";
import { apacheBinary, nginxBinary, startApache, startNginx } from "./web_servers.ts";

/** One kind of place. */
export interface PlaceKind {
  readonly name: string;
  /** What it needs beside Litestream, by name. */
  readonly parts: Record<string, string | undefined>;
  /** Whether ours writes there. */
  readonly writes: boolean;
  start(): Promise<PlaceServer>;
}

/** A folder. */
export async function folderPlaces(): Promise<PlaceServer> {
  const folder = await mkdtemp(join(tmpdir(), "places-"));
  return {
    place: (name) => ({
      url: folderUrl(join(folder, name)),
      replica: { url: folderUrl(join(folder, name)) },
    }),
    close: () => rm(folder, { recursive: true }),
  };
}

/** A bucket of an S3 server. */
export async function s3Places(start: typeof startS3Server | typeof startMoto): Promise<PlaceServer> {
  const server = await start();
  const { accessKey, secretKey, env } = server;
  return {
    place: (name) => ({
      url: server.url(`${name}/db`),
      options: { credentials: { accessKeyId: accessKey, secretAccessKey: secretKey } },
      replica: { url: server.url(`${name}/db`) },
      env,
    }),
    close: () => server.close(),
  };
}

/** A bucket of fake-gcs-server. */
export async function gsPlaces(): Promise<PlaceServer> {
  const server = await startGcsServer();
  const bucket = await server.newBucket();
  return {
    place: (name) => {
      const replica = { url: `gs://${bucket}/${name}` };
      return { url: `${replica.url}?endpoint=${server.endpoint}`, replica, env: server.env };
    },
    close: () => server.close(),
  };
}

/** A container of Azurite, or of the one that runs already. */
export async function absPlaces(running?: AzuriteServer): Promise<PlaceServer> {
  const azurite = running ?? await startAzurite();
  const { account, key, endpoint } = azurite;
  const container = await azurite.makeContainer();
  return {
    place: (name) => ({
      url: azurite.url(container, name),
      options: { credentials: { accessKeyId: account, secretAccessKey: key } },
      replica: { type: "abs", "account-name": account, bucket: container, path: name, endpoint },
      env: { LITESTREAM_AZURE_ACCOUNT_KEY: key },
    }),
    close: async () => {
      if (running === undefined) await azurite.close();
    },
  };
}

/** A bucket of our stand-in for OSS, on a thread of its own: a query blocks the one that asks. */
export async function ossPlaces(): Promise<PlaceServer> {
  const worker = new Worker(new URL("./fake_oss_worker.ts", import.meta.url));
  const [{ endpoint, bucket, region, accessKeyId, accessKeySecret }] = await once(worker, "message");
  return {
    place: (name) => ({
      url: `oss://${bucket}/${name}/db?endpoint=${endpoint}&region=${region}`,
      options: { credentials: { accessKeyId, secretAccessKey: accessKeySecret } },
      replica: { type: "oss", bucket, path: `${name}/db`, endpoint, region },
      env: { OSS_ACCESS_KEY_ID: accessKeyId, OSS_ACCESS_KEY_SECRET: accessKeySecret },
    }),
    close: async () => void await worker.terminate(),
  };
}

/** A user's folder on OpenSSH. */
export async function sftpPlaces(): Promise<PlaceServer> {
  const server = await startSshServer();
  const { port, user, keyPath } = server;
  // Of a server that has others too, Litestream asks for this type, whichever it was told to expect.
  const hostKey = await server.hostKey("ecdsa");
  const access = { host: `127.0.0.1:${port}`, user, "key-path": keyPath, "host-key": hostKey };
  return {
    place: (name) => ({ url: server.url(name), replica: { type: "sftp", path: name, ...access } }),
    close: () => server.close(),
  };
}

/** A folder that Apache serves by WebDAV to one account. */
export async function webdavPlaces(): Promise<PlaceServer> {
  const account = { user: "who", password: "p@ss/word" };
  const server = await startApache(account);
  const at = `${account.user}:${encodeURIComponent(account.password)}@`;
  return {
    place: (name) => {
      const url = `${server.origin.replace("http://", `webdav://${at}`)}/deep%20down/${name}`;
      return { url, replica: { url } };
    },
    close: () => server.close(),
  };
}

/** Buckets of a NATS server. */
export async function natsPlaces(): Promise<PlaceServer> {
  const server = await startNatsServer();
  return {
    place: async (name) => {
      await server.makeBucket(name);
      const url = `nats://${server.host}/${name}`;
      return { url, replica: { url } };
    },
    close: () => server.close(),
  };
}

/** A folder that nginx serves as static files, with listings of this form; Litestream writes to the folder. */
export async function httpPlaces(listings: "json" | "html"): Promise<PlaceServer> {
  const server = await startNginx(listings);
  return {
    place: (name) => ({
      url: `${server.origin}/${name}`,
      replica: { url: folderUrl(join(server.folder, name)) },
    }),
    close: () => server.close(),
  };
}

/** All of them. */
export const ALL_PLACES: readonly PlaceKind[] = [
  { name: "folder", parts: {}, writes: true, start: folderPlaces },
  {
    name: "S3 on versitygw",
    parts: { "S3 server": s3ServerBinary() },
    writes: true,
    start: () => s3Places(startS3Server),
  },
  { name: "S3 on moto", parts: { moto: motoFolder() }, writes: true, start: () => s3Places(startMoto) },
  { name: "gs", parts: { "fake-gcs-server": gcsServerBinary() }, writes: true, start: gsPlaces },
  { name: "abs", parts: { azurite: azuriteProgram() }, writes: true, start: () => absPlaces() },
  { name: "oss (a stand-in of ours)", parts: {}, writes: true, start: ossPlaces },
  { name: "sftp", parts: { sshd: sshServerBinary() }, writes: true, start: sftpPlaces },
  { name: "webdav", parts: { apache2: apacheBinary() }, writes: true, start: webdavPlaces },
  { name: "nats", parts: { "nats-server": natsServerBinary() }, writes: true, start: natsPlaces },
  {
    name: "http, nginx's json",
    parts: { nginx: nginxBinary() },
    writes: false,
    start: () => httpPlaces("json"),
  },
  {
    name: "http, nginx's html",
    parts: { nginx: nginxBinary() },
    writes: false,
    start: () => httpPlaces("html"),
  },
];
