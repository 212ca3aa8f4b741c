/**
 * Events as data: how they cross from the core to the user's thread.
 *
 * @module
 */
import type { FollowEvent } from "../follow/follow_event.ts";
import { decodeError, encodeError } from "./error_text.ts";
import type { PlainFollowEvent } from "./protocol.ts";

/** An event as data. */
export function plainEvent(event: FollowEvent): PlainFollowEvent {
  if (event.type === "error") return { ...event, error: encodeError(event.error) };
  if (event.type !== "hydration") return event;
  const { error, ...rest } = event;
  return error ? { ...rest, error: encodeError(error) } : rest;
}

/** The event that data tells of. */
export function followEvent(event: PlainFollowEvent): FollowEvent {
  if (event.type === "error") return { ...event, error: decodeError(event.error) };
  if (event.type !== "hydration") return event;
  const { error, ...rest } = event;
  return error === undefined ? rest : { ...rest, error: decodeError(error) };
}
