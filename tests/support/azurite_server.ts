/**
 * Azurite: Microsoft's stand-in for Azure Blob Storage, and what tests need of it: containers and SAS tokens.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { open } from "../../src/storage/abs/abs_storage.ts";
import { SharedKey } from "../../src/storage/abs/shared_key.ts";
import type { BackendContext } from "../../src/storage/backend.ts";
import type { AbsLocation } from "../../src/storage/backend_location.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { freePort, program, start, untilReady } from "./real.ts";

const AZURITE_VERSION = "3.37.0";
/** The account that Azurite has where nothing is said; its key is in its documentation. */
const ACCOUNT = "devstoreaccount1";
const KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const VERSION = "2026-02-06";

/** What runs Azurite's blob service with node, or AZURITE_BIN. */
export function azuriteProgram(): string | undefined {
  const path = `azurite-${AZURITE_VERSION}/node_modules/azurite/dist/src/blob/main.js`;
  return program(process.env.AZURITE_BIN, path);
}

/** A running server, alone for the file that started it. */
export interface AzuriteServer {
  readonly account: string;
  readonly key: string;
  /** Such as `http://127.0.0.1:40123/devstoreaccount1`. */
  readonly endpoint: string;
  /** A replica's URL, for our own use. */
  url(container: string, path?: string): string;
  /** Makes a new container and returns its name. */
  makeContainer(options?: { isPublic?: boolean }): Promise<string>;
  /** A SAS token of the account for the next hour, or until `expiresMs`. */
  sas(permissions: string, expiresMs?: number): string;
  close(): Promise<void>;
}

/** What a backend is given: these variables and the machine's clock, where `more` says nothing else. */
export function contextOf(
  env: Record<string, string>,
  more: Partial<BackendContext> = {},
): BackendContext {
  return {
    env,
    credentials: undefined,
    fetch: undefined,
    fetchInit: undefined,
    now: Date.now,
    log: undefined,
    readFile: (path) => readFile(path, "utf8"),
    ...more,
  };
}

/** The storage that an `abs://` URL names. */
export async function openAbs(url: string, context: BackendContext): Promise<Storage> {
  return await open(parseReplicaUrl(url) as AbsLocation, context);
}

/** Starts a server on a free loopback port, over a temporary folder. */
export async function startAzurite(): Promise<AzuriteServer> {
  const main = azuriteProgram();
  if (main === undefined) throw new Error("Cannot start Azurite: none in .tools/");
  const folder = await mkdtemp(join(tmpdir(), "azurite-"));
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}/${ACCOUNT}`;
  const flags = ["--silent", "--disableTelemetry"];
  const server = start("node", [main, "--blobPort", String(port), "--location", folder, ...flags]);
  await untilReady("Azurite answers", server, folder, async () => {
    const answer = await send("GET", `${endpoint}/?comp=list`).catch(() => undefined);
    return answer?.ok === true;
  });
  return {
    account: ACCOUNT,
    key: KEY,
    endpoint,
    url: (container, path = "") =>
      `abs://${ACCOUNT}@${container}/${path}?endpoint=${encodeURIComponent(endpoint)}`,
    async makeContainer({ isPublic = false } = {}) {
      const name = `c${crypto.randomUUID()}`;
      const headers: Record<string, string> = isPublic ? { "x-ms-blob-public-access": "container" } : {};
      const answer = await send("PUT", `${endpoint}/${name}?restype=container`, headers);
      if (!answer.ok) throw new Error(`Cannot make container: status ${answer.status}`);
      return name;
    },
    sas: (permissions, expiresMs = Date.now() + 3_600_000) => sasOf(permissions, expiresMs),
    async close() {
      await server.stop("SIGTERM");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function send(method: string, url: string, more: Record<string, string> = {}): Promise<Response> {
  const headers: Record<string, string> = {
    ...more,
    "x-ms-date": new Date().toUTCString(),
    "x-ms-version": VERSION,
  };
  headers.authorization = await new SharedKey(ACCOUNT, KEY).authorization({
    method,
    url,
    headers,
    bodySize: 0,
  });
  const response = await fetch(url, { method, headers });
  await response.body?.cancel();
  return response;
}

/** @see https://learn.microsoft.com/rest/api/storageservices/create-account-sas */
function sasOf(permissions: string, expiresMs: number): string {
  const expires = `${new Date(expiresMs).toISOString().slice(0, 19)}Z`;
  const fields = { sv: "2021-12-02", ss: "b", srt: "sco", sp: permissions, se: expires };
  const { sv, ss, srt, sp, se } = fields;
  const text = [ACCOUNT, sp, ss, srt, "", se, "", "", sv, "", ""].join("\n");
  const sig = createHmac("sha256", Buffer.from(KEY, "base64")).update(text).digest("base64");
  return new URLSearchParams({ ...fields, sig }).toString();
}
