/**
 * A job of Deno Deploy that reads a replica: once a day, one opening a run, nothing left behind.
 *
 *     deno run -A --unstable-cron docs/examples/deno_cron.ts      (on Deploy it needs no flag)
 *
 * Deploy evaluates this module when it is deployed, to find the job: importing the package asks for nothing.
 */
import { openReplica, type StaticCredentials } from "@x/litestream-vfs";

/** What a run found, and what it cost. */
export interface Report {
  readonly txid: string;
  readonly best: readonly { sandwich: string; stars: number }[];
  readonly requests: number;
  readonly bytes: number;
  readonly ms: number;
}

/**
 * Keys for a while, as a platform gives them: this one asks a service that trades the identity of the deployment for keys. In
 * the environment `AWS_ROLE_ARN` with a web identity, or static keys, are found without a function.
 */
async function credentials(): Promise<StaticCredentials> {
  const response = await fetch(Deno.env.get("CREDENTIALS_URL")!, {
    headers: { authorization: `Bearer ${Deno.env.get("OIDC_TOKEN")}` },
  });
  if (!response.ok) throw new Error(`Cannot get credentials: status ${response.status}, expected 200`);
  const { AccessKeyId, SecretAccessKey, Token, Expiration } = await response.json();
  return {
    accessKeyId: AccessKeyId,
    secretAccessKey: SecretAccessKey,
    sessionToken: Token,
    expiration: new Date(Expiration),
  };
}

let last: Report | undefined;

/** One run. */
export async function report(): Promise<void> {
  const startMs = performance.now();
  await using replica = await openReplica(Deno.env.get("LITESTREAM_REPLICA_URL"), {
    credentials,
    pollIntervalMs: 0, // it is read once
  });
  const db = replica.connect();
  try {
    db.exec("BEGIN"); // all of it of one state
    const { txid } = db.prepare("SELECT litestream_txid() AS txid").get();
    const best = db.prepare(
      "SELECT sandwich, avg(stars) AS stars FROM ratings GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3",
    ).all();
    const { getRequests, listRequests, bytes } = replica.stats();
    last = { txid, best, requests: getRequests + listRequests, bytes, ms: performance.now() - startMs };
    console.log(JSON.stringify(last));
  } finally {
    db.close();
  }
}

Deno.cron("ratings of the day", "0 0 * * *", { backoffSchedule: [1_000, 5_000, 30_000] }, report);

Deno.serve({ port: Number(Deno.env.get("PORT") ?? 8000) }, () => {
  return last ? Response.json(last) : new Response("no run yet\n", { status: 404 });
});
