/**
 * The replica that the environment names.
 *
 * @module
 */
import { orAllowed } from "./drivers/permissions.ts";
import { cleanRegion } from "./storage/region.ts";

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The replica that the environment names. */
export function environmentUrl(environment: Environment): string {
  if (environment.LITESTREAM_REPLICA_URL) return environment.LITESTREAM_REPLICA_URL;
  const bucket = environment.LITESTREAM_S3_BUCKET;
  if (!bucket) {
    throw new TypeError(
      "Cannot open replica: no URL given, expected one as argument, as replica_url in the database URI, or in the " +
        "environment as LITESTREAM_REPLICA_URL (or LITESTREAM_S3_BUCKET and LITESTREAM_S3_PATH)" +
        orAllowed("LITESTREAM_REPLICA_URL", "LITESTREAM_S3_BUCKET", "LITESTREAM_S3_PATH"),
    );
  }
  const path = (environment.LITESTREAM_S3_PATH ?? "").replace(/^\/+/, "").split("/").map(encodeURIComponent)
    .join("/");
  const query = Object.entries({
    region: cleanRegion("LITESTREAM_S3_REGION", environment.LITESTREAM_S3_REGION ?? ""),
    forcePathStyle: environment.LITESTREAM_S3_FORCE_PATH_STYLE,
    skipVerify: environment.LITESTREAM_S3_SKIP_VERIFY,
  }).filter((entry): entry is [string, string] => !!entry[1]).map(([k, v]) =>
    `${k}=${encodeURIComponent(v)}`
  );
  return `s3://${bucket}/${path}${query.length > 0 ? `?${query.join("&")}` : ""}`;
}

/**
 * Variables of the environment that contradict each other, in words; `url` is the one that was given, which stands over
 * the environment's.
 */
export function environmentWarnings(url: string | undefined, environment: Environment): string[] {
  const warnings: string[] = [];
  const replicaUrl = environment.LITESTREAM_REPLICA_URL;
  if (url === undefined && replicaUrl) {
    const others = ["BUCKET", "PATH", "REGION", "FORCE_PATH_STYLE", "SKIP_VERIFY"]
      .map((name) => `LITESTREAM_S3_${name}`).filter((name) => environment[name]);
    if (others.length > 0) {
      warnings.push(
        `${
          others.join(", ")
        } and LITESTREAM_REPLICA_URL are set: only the URL is used, expected one of both ways`,
      );
    }
  }
  const [aws, own] = ["AWS", "LITESTREAM"].map((prefix) => environment[`${prefix}_ACCESS_KEY_ID`]);
  if (aws && own && aws !== own && environment.AWS_SECRET_ACCESS_KEY) {
    warnings.push(
      "AWS_ACCESS_KEY_ID and LITESTREAM_ACCESS_KEY_ID name different keys: AWS_… is used, expected one of both",
    );
  }
  return warnings;
}
