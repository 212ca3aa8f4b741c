/**
 * moto, a second S3 server: another implementation, which checks signatures with Amazon's own Python library.
 *
 * It answers one request after the other, since what it does on a condition is not done at once.
 *
 * @module
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AwsClient } from "aws4fetch";
import { freePort, program, start, TOOLS, untilReady } from "./real.ts";

/** The folder that Python finds it in, or MOTO_FOLDER. */
export function motoFolder(): string | undefined {
  return program(process.env.MOTO_FOLDER, "moto-5.2.5");
}

/** A running server with one bucket. */
export interface MotoServer {
  readonly endpoint: string;
  readonly region: string;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly bucket: string;
  /** What Litestream and ours read the keys from. */
  readonly env: Record<string, string>;
  /** The replica URL for a path in the bucket, in the form Litestream takes. */
  url(path: string): string;
  close(): Promise<void>;
}

const SERVE = `
import sys
from werkzeug.serving import run_simple
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=False)
`;
/** Requests before keys are checked: those that make the keys. */
const UNCHECKED = 3;
/** Keys of a listing page: few requests make more than one. */
const PAGE_KEYS = 100;
const REGION = "us-east-1";
const BUCKET = "replicas";

/** Starts it on a free loopback port; what is stored is in its memory. */
export async function startMoto(): Promise<MotoServer> {
  const library = motoFolder();
  if (library === undefined) throw new Error("Cannot start moto: none in .tools/");
  const folder = await mkdtemp(join(tmpdir(), "moto-"));
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  const server = start(join(TOOLS, "python", "bin", "python"), ["-c", SERVE, String(port)], {
    PYTHONPATH: library,
    HOME: folder,
    INITIAL_NO_AUTH_ACTION_COUNT: String(UNCHECKED),
    MOTO_S3_DEFAULT_MAX_KEYS: String(PAGE_KEYS),
  });
  await untilReady("moto answers", server, folder, async () => {
    const answer = await fetch(`${endpoint}/moto-api/data.json`).catch(() => undefined);
    await answer?.body?.cancel();
    return answer?.ok === true;
  });
  const { accessKey, secretKey } = await makeKeys(endpoint);
  const client = new AwsClient({
    accessKeyId: accessKey,
    secretAccessKey: secretKey,
    region: REGION,
    service: "s3",
  });
  const made = await client.fetch(`${endpoint}/${BUCKET}`, { method: "PUT" });
  if (!made.ok) throw new Error(`Cannot make a bucket: ${await made.text()}`);
  return {
    endpoint,
    region: REGION,
    accessKey,
    secretKey,
    bucket: BUCKET,
    env: { LITESTREAM_ACCESS_KEY_ID: accessKey, LITESTREAM_SECRET_ACCESS_KEY: secretKey },
    url(path) {
      const query = new URLSearchParams({ endpoint, region: REGION, forcePathStyle: "true" });
      return `s3://${BUCKET}/${path}?${query}`;
    },
    async close() {
      await server.stop("SIGTERM");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A user who may do all that S3 can; from then on nobody else may do anything. */
async function makeKeys(endpoint: string): Promise<{ accessKey: string; secretKey: string }> {
  const UserName = "writer";
  const Statement = [{ Effect: "Allow", Action: "s3:*", Resource: "*" }];
  const PolicyDocument = JSON.stringify({ Version: "2012-10-17", Statement });
  await ask(endpoint, { Action: "CreateUser", UserName });
  await ask(endpoint, { Action: "PutUserPolicy", UserName, PolicyName: "all", PolicyDocument });
  const answer = await ask(endpoint, { Action: "CreateAccessKey", UserName });
  const [accessKey = "", secretKey = ""] = ["AccessKeyId", "SecretAccessKey"].map((name) =>
    new RegExp(`<${name}>([^<]*)<`).exec(answer)?.[1]
  );
  return { accessKey, secretKey };
}

async function ask(endpoint: string, parameters: Record<string, string>): Promise<string> {
  const client = new AwsClient({
    accessKeyId: "any",
    secretAccessKey: "any",
    region: REGION,
    service: "iam",
  });
  const answer = await client.fetch(endpoint, {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ Version: "2010-05-08", ...parameters }).toString(),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`Cannot ${parameters.Action}: ${text}`);
  return text;
}
