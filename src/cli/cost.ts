/**
 * What a query cost, in words.
 *
 * @module
 */
import { priceOf, type ReplicaStats } from "../replica_stats.ts";
import { amountText, bytesText, dollarsText, durationText } from "./units.ts";

/** Times by what they were spent on in ms, requests, bytes and price, on one line. */
export function costText(
  spans: Readonly<Record<string, number>>,
  stats: Omit<ReplicaStats, "poolBytes" | "pinned">,
): string {
  const requests = stats.getRequests + stats.listRequests;
  const parts = [
    ...Object.entries(spans).map(([what, ms]) => `${what} ${durationText(ms)}`),
    `${amountText(requests, "request")} (${stats.getRequests} GET, ${stats.listRequests} LIST)`,
    bytesText(stats.bytes),
    amountText(stats.roundTrips, "round trip"),
    ...(stats.diskReads > 0 ? [`${bytesText(stats.diskBytes)} from the disk cache`] : []),
    `${dollarsText(priceOf(stats))} at S3 Standard's prices`,
  ];
  return parts.join(" · ");
}
