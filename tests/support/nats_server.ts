/**
 * A NATS server with JetStream, alone for the tests that start it, and buckets of object store in it.
 *
 * @module
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type ConnectionOptions, type NatsConnection } from "@nats-io/transport-node";
import type { BackendContext } from "../../src/storage/backend.ts";
import type { NatsLocation } from "../../src/storage/backend_location.ts";
import { open } from "../../src/storage/nats/nats_storage.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { freePort, program, start, untilReady } from "./real.ts";

/** The server, or NATS_SERVER_BIN. */
export function natsServerBinary(): string | undefined {
  return program(process.env.NATS_SERVER_BIN, "nats-server-2.15.1/bin/nats-server");
}

/** One whose direct gets give one message each, or NATS_SERVER_OLD_BIN. */
export function natsServerOldBinary(): string | undefined {
  return program(process.env.NATS_SERVER_OLD_BIN, "nats-server-2.10.26/bin/nats-server");
}

/** How the server is started. */
export interface NatsServerOptions {
  readonly binary?: string | undefined;
  /** Further lines of its configuration. `FOLDER` stands for a folder of its own. */
  readonly config?: readonly string[];
  /** Files in that folder, by name. */
  readonly files?: Readonly<Record<string, string>>;
  /** How the tests themselves sign in. */
  readonly admin?: ConnectionOptions;
}

/** A running server. */
export interface NatsServer {
  readonly host: string;
  readonly folder: string;
  /** A connection of its own, for looking and making. */
  connect(): Promise<NatsConnection>;
  /** Makes a bucket, as the `nats` command does; `config` goes into its stream. */
  makeBucket(bucket: string, config?: Readonly<Record<string, unknown>>): Promise<void>;
  /** Ends it, and starts it again on the same port with the same content. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

/** Starts one on a free loopback port, over a temporary folder. */
export async function startNatsServer(options: NatsServerOptions = {}): Promise<NatsServer> {
  const binary = options.binary ?? natsServerBinary();
  if (binary === undefined) throw new Error("Cannot start a NATS server: none in .tools/");
  const folder = await mkdtemp(join(tmpdir(), "nats-"));
  const host = `127.0.0.1:${await freePort()}`;
  const config = join(folder, "nats.conf");
  const lines = [`listen: "${host}"`, `jetstream { store_dir: "FOLDER/store" }`, ...options.config ?? []];
  await writeFile(config, lines.join("\n").replaceAll("FOLDER", folder));
  for (const [name, content] of Object.entries(options.files ?? {})) {
    await writeFile(join(folder, name), content);
  }
  const { tls } = options.admin ?? {};
  const connectOnce = () => {
    const named = tls && { tls: { ...tls, host: "127.0.0.1" } as typeof tls };
    return connect({ servers: host, reconnect: false, ...options.admin, ...named });
  };
  const run = async () => {
    const running = start(binary, ["-c", config]);
    await untilReady("NATS server answers", running, folder, async () => {
      const connection = await connectOnce().catch(() => undefined);
      const answer = await connection?.request("$JS.API.INFO", "", { timeout: 1_000 }).catch(() => undefined);
      await connection?.close();
      return answer !== undefined;
    });
    return running;
  };
  let running = await run();
  return {
    host,
    folder,
    connect: connectOnce,
    async makeBucket(bucket, more = {}) {
      const connection = await connectOnce();
      await jetStream(connection, `STREAM.CREATE.OBJ_${bucket}`, {
        name: `OBJ_${bucket}`,
        subjects: [`$O.${bucket}.C.>`, `$O.${bucket}.M.>`],
        discard: "new",
        allow_rollup_hdrs: true,
        allow_direct: true,
        storage: "file",
        num_replicas: 1,
        ...more,
      });
      await connection.close();
    },
    async restart() {
      await running.stop("SIGTERM");
      running = await run();
    },
    async close() {
      await running.stop("SIGTERM");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Asks JetStream's API, and returns what it answers. */
export async function jetStream(
  connection: NatsConnection,
  subject: string,
  payload: unknown = {},
  // deno-lint-ignore no-explicit-any
): Promise<any> {
  const message = await connection.request(`$JS.API.${subject}`, JSON.stringify(payload), {
    timeout: 10_000,
  });
  // deno-lint-ignore no-explicit-any
  const answer = message.json<any>();
  if (answer.error) throw new Error(`Cannot ask ${subject}: ${JSON.stringify(answer.error)}`);
  return answer;
}

/** The bucket of a URL as the core opens it, with no environment but `env`. */
export async function natsStorage(url: string, env: BackendContext["env"] = {}): Promise<Storage> {
  return await open(parseReplicaUrl(url) as unknown as NatsLocation, {
    env,
    credentials: undefined,
    fetch: undefined,
    fetchInit: undefined,
    now: Date.now,
    log: undefined,
    readFile: (path) => readFile(path, "utf8"),
  });
}
