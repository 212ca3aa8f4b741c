/**
 * ObjectCatalog: the objects of a bucket as they were last listed, so that a further listing asks for changes
 * only.
 *
 * Each version of an object, and its removal, is one message, and takes the place of the object's one before:
 * what lies behind the last message seen is what has changed. That last one is asked for again. It has to
 * come, or a later one of its object in a stream that was made when the listed one was: otherwise the stream is
 * another one, and all is listed anew.
 *
 * @module
 */

import { StorageError } from "../../errors.ts";
import type { Asked } from "../http_fault.ts";
import { OBJECTS_MAX } from "../listing_bound.ts";
import type { StorageRequest } from "../storage.ts";
import { wrongMessage } from "./nats_fault.ts";
import { decodeMeta, type ObjectMeta } from "./object_meta.ts";
import type { ObjectStream, StreamMessage } from "./object_stream.ts";

type Place = Omit<StreamMessage, "data">;

const MESSAGES_AT_ONCE = 1_000;

/** The objects of one bucket. */
export class ObjectCatalog {
  readonly #stream: ObjectStream;
  #objects = new Map<string, ObjectMeta>();
  /** The last message listed. */
  #last: Place | undefined;
  /** When the stream was made; undefined where that was not needed yet. */
  #madeAt: string | undefined;

  constructor(stream: ObjectStream) {
    this.#stream = stream;
  }

  /** All objects there are, in no order. */
  async list(asked: Asked, request: StorageRequest): Promise<Iterable<ObjectMeta>> {
    const [objects, last] = [this.#objects, this.#last];
    if (last !== undefined) {
      const changes = await this.#messagesFrom(last.sequence, asked, request);
      const isStill = changes.some((change) => isSame(change, last)) ||
        changes.some((change) => isLater(change, last)) && await this.#isSameStream(asked, request);
      // Changes are of no use to what was forgotten meanwhile, or listed anew.
      if (isStill && this.#objects === objects) {
        this.#apply(changes, asked);
        return objects.values();
      }
    }
    const messages = await this.#messagesFrom(1, asked, request);
    this.#objects = new Map();
    this.#last = undefined;
    this.#apply(messages, asked);
    return this.#objects.values();
  }

  /** What is known of an object, which may be replaced or removed by now. */
  get(key: string): ObjectMeta | undefined {
    return this.#objects.get(key);
  }

  /** Keeps what was learned by other ways than listing. */
  remember(meta: ObjectMeta): void {
    // What a listing has been past stands as it left it: a removal there leaves nothing.
    if (meta.sequence > (this.#last?.sequence ?? 0)) this.#keep(meta);
  }

  /** The next listing is whole: something was not as it is known here. */
  forgetAll(): void {
    this.#objects = new Map();
    this.#last = undefined;
  }

  /** Whether the stream was made when the listed one was; false where that is not known. */
  async #isSameStream(asked: Asked, request: StorageRequest): Promise<boolean> {
    const before = this.#madeAt;
    this.#madeAt = await this.#stream.madeAt(asked, request).catch((error) => {
      // Not everybody may ask that.
      if (error instanceof StorageError && error.status === 403) return undefined;
      throw error;
    });
    return this.#madeAt !== undefined && this.#madeAt === before;
  }

  async #messagesFrom(sequence: number, asked: Asked, request: StorageRequest): Promise<StreamMessage[]> {
    const subject = this.#stream.metaSubject();
    const messages: StreamMessage[] = [];
    for (let from = sequence;;) {
      const range = { subject, sequence: from, count: MESSAGES_AT_ONCE };
      const found = await this.#stream.messages(range, asked, request);
      for (const message of found) messages.push(message);
      if (messages.length > OBJECTS_MAX) {
        throw wrongMessage(asked, `more than ${OBJECTS_MAX} objects`, "as many as a replica has");
      }
      const end = found.at(-1);
      if (end === undefined || end.pending === 0) return messages;
      from = end.sequence + 1;
    }
  }

  /** A listing that began before another one and ended after it has nothing new up to where that one came. */
  #apply(messages: readonly StreamMessage[], asked: Asked): void {
    const seen = this.#last?.sequence ?? 0;
    for (const message of messages) {
      if (message.sequence <= seen) continue;
      const meta = decodeMeta(message, asked);
      if (meta !== undefined) this.#keep(meta);
      const { subject, sequence, timeMs } = message;
      this.#last = { subject, sequence, timeMs };
    }
  }

  #keep(meta: ObjectMeta): void {
    const known = this.#objects.get(meta.key);
    const isNews = known === undefined || known.sequence < meta.sequence ||
      known.modifiedMs !== meta.modifiedMs;
    if (meta.isRemoved) this.#objects.delete(meta.key);
    else if (isNews) this.#objects.set(meta.key, meta);
  }
}

function isSame(a: Place, b: Place): boolean {
  return a.sequence === b.sequence && a.subject === b.subject && a.timeMs === b.timeMs;
}

function isLater(a: Place, b: Place): boolean {
  return a.sequence > b.sequence && a.subject === b.subject;
}
