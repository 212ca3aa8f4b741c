/**
 * ObjectCatalog: the objects of a bucket as they were last listed, so that a further listing asks for changes
 * only.
 *
 * Each version of an object, and its removal, is one message, and takes the place of the object's one before:
 * what lies behind the last message seen is what has changed. That last one is asked for again. It has to
 * come, or a later one of its object in a stream that was made when the listed one was: otherwise the stream is
 * another one, and all is listed anew.
 *
 * A removed object's message stays for ever, so the way through a stream may be long where there are few objects.
 * What a listing has met is kept at once; another one goes on from there.
 *
 * @module
 */

import { StorageError } from "../../errors.ts";
import type { Asked } from "../http_fault.ts";
import { OBJECTS_MAX } from "../listing_bound.ts";
import type { StorageRequest } from "../storage.ts";
import { wrongMessage } from "./nats_fault.ts";
import { decodeMeta, type ObjectMeta } from "./object_meta.ts";
import type { ObjectStream, PendingMessage, StreamMessage } from "./object_stream.ts";

type Place = Omit<StreamMessage, "data">;

const MESSAGES_AT_ONCE = 1_000;
/** After how long a listing tells that it goes on, in ms. */
const TELLING_MS = 1_000;

/** The objects of one bucket. */
export class ObjectCatalog {
  readonly #stream: ObjectStream;
  readonly #now: () => number;
  #objects = new Map<string, ObjectMeta>();
  /** The last message met. */
  #last: Place | undefined;
  /** When the stream was made; undefined where that was not needed yet. */
  #madeAt: string | undefined;

  /** `now` gives ms by a clock that nobody sets. */
  constructor(stream: ObjectStream, now: () => number = () => performance.now()) {
    this.#stream = stream;
    this.#now = now;
  }

  /** All objects there are, in no order; before them undefined, each time that the way has taken a second more. */
  async *list(
    asked: Asked,
    request: StorageRequest,
  ): AsyncGenerator<Iterable<ObjectMeta> | undefined, void, undefined> {
    let toldMs = this.#now();
    let known: Map<string, ObjectMeta> | undefined;
    for (;;) {
      const objects = this.#objects;
      const messages = await this.#nextMessages(objects === known, asked, request);
      // They are of no use to what was forgotten meanwhile.
      if (this.#objects === objects) {
        this.#apply(messages, asked);
        if (isEnd(messages)) break;
        known = objects;
      }
      if (this.#now() - toldMs < TELLING_MS) continue;
      yield undefined;
      toldMs = this.#now();
    }
    yield this.#objects.values();
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

  /** What lies behind the last message met. Where that may be another stream's, and is, all is forgotten. */
  async #nextMessages(isKnown: boolean, asked: Asked, request: StorageRequest): Promise<PendingMessage[]> {
    const [objects, last] = [this.#objects, this.#last];
    const sequence = last === undefined ? 1 : isKnown ? last.sequence + 1 : last.sequence;
    const range = { subject: this.#stream.metaSubject(), sequence, count: MESSAGES_AT_ONCE };
    const messages = await this.#stream.messages(range, asked, request);
    const isStill = last === undefined || isKnown || await this.#isStill(last, messages, asked, request);
    if (!isStill && this.#objects === objects) this.forgetAll();
    return messages;
  }

  /** Whether the stream is the one of `last`, from which on `messages` are the first ones. */
  async #isStill(
    last: Place,
    messages: readonly PendingMessage[],
    asked: Asked,
    request: StorageRequest,
  ): Promise<boolean> {
    if (messages.some((message) => isSame(message, last))) return true;
    const isReplaced = messages.some((message) => isLater(message, last)) ||
      !isEnd(messages) && await this.#hasLater(last, asked, request);
    return isReplaced && await this.#isSameStream(asked, request);
  }

  async #hasLater({ subject, sequence }: Place, asked: Asked, request: StorageRequest): Promise<boolean> {
    const range = { subject, sequence: sequence + 1, count: 1, isOnly: true };
    return (await this.#stream.messages(range, asked, request)).length > 0;
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
    if (this.#objects.size <= OBJECTS_MAX) return;
    this.forgetAll();
    throw wrongMessage(asked, `more than ${OBJECTS_MAX} objects`, "as many as a replica has");
  }

  #keep(meta: ObjectMeta): void {
    const known = this.#objects.get(meta.key);
    const isNews = known === undefined || known.sequence < meta.sequence ||
      known.modifiedMs !== meta.modifiedMs;
    if (meta.isRemoved) this.#objects.delete(meta.key);
    else if (isNews) this.#objects.set(meta.key, meta);
  }
}

/** Whether nothing lies behind them. */
function isEnd(messages: readonly PendingMessage[]): boolean {
  return (messages.at(-1)?.pending ?? 0) === 0;
}

function isSame(a: Place, b: Place): boolean {
  return a.sequence === b.sequence && a.subject === b.subject && a.timeMs === b.timeMs;
}

function isLater(a: Place, b: Place): boolean {
  return a.sequence > b.sequence && a.subject === b.subject;
}
