/**
 * Reads from the disk cache as spans.
 *
 * @module
 */
import type { TellRead } from "../cache/caching_store.ts";
import type { TellRequest } from "../storage/observed_store.ts";
import { WallClock } from "./wall_clock.ts";

/** What a disk cache tells of its reads, as requests that were none. */
export function diskReads(place: string, tell: TellRequest): TellRead {
  const clock = new WallClock();
  return (key, range, { purpose = "open", reader }) => {
    const startMs = clock.now();
    return () =>
      tell({
        kind: "read",
        purpose,
        place,
        source: "disk",
        key,
        range,
        startMs,
        endMs: clock.now(),
        queuedMs: 0,
        attempt: 1,
        isRepeat: false,
        isHedge: false,
        bytesReceived: range.size,
        bytesSent: 0,
        outcome: "ok",
        ...(reader && { transaction: reader.transaction, roundTrip: reader.depth }),
      });
  };
}
