/**
 * Headers that tell how an object is stored: its key, its class, its time.
 *
 * @module
 */

import { quotedEtag } from "./etag.ts";
import type { PutOptions } from "./object_store.ts";
import type { S3Location } from "./replica_url.ts";

/** Sent with all that reads or writes an object's bytes; empty where the location names no key. */
export function customerKeyHeaders({ customerKey }: S3Location): Record<string, string> {
  if (customerKey === undefined) return {};
  return {
    "x-amz-server-side-encryption-customer-algorithm": customerKey.algorithm,
    "x-amz-server-side-encryption-customer-key": customerKey.key,
    "x-amz-server-side-encryption-customer-key-md5": customerKey.keyMd5,
  };
}

/** Sent with what makes an object, whole or in parts. */
export function objectHeaders(location: S3Location, { timestampMs }: PutOptions): Record<string, string> {
  const { storageClass, kmsKeyId } = location;
  return {
    "content-type": "application/octet-stream",
    ...(timestampMs === undefined ? {} : { "x-amz-meta-litestream-timestamp": formatTimestamp(timestampMs) }),
    ...(storageClass === "" ? {} : { "x-amz-storage-class": storageClass }),
    ...(kmsKeyId === "" ? {} : {
      "x-amz-server-side-encryption": "aws:kms",
      "x-amz-server-side-encryption-aws-kms-key-id": kmsKeyId,
    }),
    ...customerKeyHeaders(location),
  };
}

/** Sent with what makes an object appear: that there must be none, or that one, unless it is to be replaced. */
export function conditionHeaders({ replace, ifMatch }: PutOptions): Record<string, string> {
  if (ifMatch !== undefined) return { "if-match": quotedEtag(ifMatch) };
  return replace ? {} : { "if-none-match": "*" };
}

/** As Litestream spells it: RFC 3339, the fraction of a second without zeros at its end. */
export function formatTimestamp(ms: number): string {
  return new Date(ms).toISOString().replace(/\.?0+Z$/, "Z");
}
