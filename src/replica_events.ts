/**
 * What happens to a replica, on the thread that opened it.
 *
 * @module
 */
import type { FollowEvent } from "./follow/follow_event.ts";

/** Anything that is told of a replica. */
export type ReplicaEvent = FollowEvent;

type Listener = (event: ReplicaEvent) => void;

/** Who listens to one replica. */
export class ReplicaEvents {
  readonly #listeners = new Map<ReplicaEvent["type"], Set<Listener>>();
  /** Why the local copy was given up; undefined unless it was. */
  copyFault: Error | undefined;

  /** Adds a listener; gives a function that removes it. */
  on<T extends ReplicaEvent["type"]>(
    type: T,
    listener: (event: Extract<ReplicaEvent, { type: T }>) => void,
  ): () => void {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners);
    const added: Listener = (event) => listener(event as Extract<ReplicaEvent, { type: T }>);
    listeners.add(added);
    return () => void listeners.delete(added);
  }

  /** Calls the listeners. One that throws keeps the others from nothing: its error is thrown on its own. */
  tell(event: ReplicaEvent): void {
    if (event.type === "hydration") this.copyFault = event.error;
    for (const listener of [...this.#listeners.get(event.type) ?? []]) {
      try {
        listener(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
