/**
 * ObjectStream: the stream behind a bucket of object store, by JetStream's own requests.
 *
 * Messages of a subject come by a batched direct get (servers from 2.11 on). Where a server does not know
 * that, or the bucket does not allow it, they come by a short-lived consumer, which is two requests more.
 *
 * @see NATS ADR-31 "JetStream Direct Get", ADR-20 "JetStream based Object Stores"
 * @module
 */

import { Buffer } from "node:buffer";
import type { Msg } from "@nats-io/transport-node";
import type { StorageError } from "../../errors.ts";
import type { Asked } from "../http_fault.ts";
import type { StorageRequest } from "../storage.ts";
import type { NatsClient } from "./nats_client.ts";
import { type ApiError, apiFault, NO_MESSAGE, WRONG_LAST_SEQUENCE, wrongMessage } from "./nats_fault.ts";

/** A message that the stream keeps. */
export interface StreamMessage {
  readonly subject: string;
  readonly sequence: number;
  readonly timeMs: number;
  /** A part of what came over the connection: to be copied where it is kept. */
  readonly data: Uint8Array;
}

/** One of several, with how many of its subject lie behind it. */
export interface PendingMessage extends StreamMessage {
  readonly pending: number;
}

/** Which messages are wanted. */
export interface MessageRange {
  /** May end in a wildcard. */
  readonly subject: string;
  /** From this one on. */
  readonly sequence: number;
  readonly count: number;
  /** Whether the subject has one message at most. */
  readonly isOnly?: boolean;
}

interface ApiAnswer {
  readonly error?: ApiError;
}

interface StreamInfo extends ApiAnswer {
  readonly created?: string;
  readonly config?: { readonly allow_direct?: boolean };
}

const NOT_FOUND = 404;
const END_OF_BATCH = 204;
const NO_CODE = 0;
/** A consumer that nobody removed ends by itself after so long. */
const CONSUMER_INACTIVE_NS = 30_000_000_000;

/** The stream of one bucket. */
export class ObjectStream {
  readonly bucket: string;
  readonly #client: NatsClient;
  readonly #name: string;
  /** Whether direct gets are answered, and whether in batches; undefined: not known yet. */
  #isDirect: boolean | undefined;
  #isBatched = true;

  constructor(client: NatsClient, bucket: string) {
    this.#client = client;
    this.bucket = bucket;
    this.#name = `OBJ_${bucket}`;
  }

  /** Subject of an object's chunks. */
  chunkSubject(nuid: string): string {
    return `$O.${this.bucket}.C.${nuid}`;
  }

  /** Subject of an object's description; of all of them where no key is given. */
  metaSubject(key?: string): string {
    const token = key === undefined
      ? ">"
      : Buffer.from(key).toString("base64").replaceAll("+", "-").replaceAll("/", "_");
    return `$O.${this.bucket}.M.${token}`;
  }

  /** When the stream was made, as the server writes it: no other one of its name was made then. */
  async madeAt(asked: Asked, request: StorageRequest): Promise<string> {
    return (await this.#info(asked, request)).created ?? "";
  }

  /** The last message of a subject, as the stream's leader has it. */
  async lastOf(subject: string, asked: Asked, request: StorageRequest): Promise<StreamMessage | undefined> {
    const answer = await this.#api<
      ApiAnswer & { message?: { subject: string; seq: number; time: string; data?: string } }
    >(`STREAM.MSG.GET.${this.#name}`, { last_by_subj: subject }, asked, request);
    if (answer.error?.err_code === NO_MESSAGE) return undefined;
    const { message } = this.#checked(answer, asked);
    if (message === undefined) throw wrongMessage(asked, "no message", "one");
    return {
      subject: message.subject,
      sequence: message.seq,
      timeMs: parseTime(message.time),
      data: Buffer.from(message.data ?? "", "base64"),
    };
  }

  /**
   * Messages in the order of the stream: `count`, or all there are, or fewer where the server likes to pause.
   */
  async messages(range: MessageRange, asked: Asked, request: StorageRequest): Promise<PendingMessage[]> {
    if (this.#isDirect !== false && (this.#isBatched || range.isOnly)) {
      const found = await this.#messagesDirect(range, asked, request);
      if (found !== undefined) return found;
    }
    return await this.#messagesConsumed(range, asked, request);
  }

  /**
   * Stores a message; returns its sequence, undefined where `lastSequence` is not that of the subject's last
   * message (0: there is none).
   */
  async publish(
    subject: string,
    { data, rollsUp = false, lastSequence }: {
      data: Uint8Array | string;
      /** Whether it takes the place of the subject's others. */
      rollsUp?: boolean;
      lastSequence?: number;
    },
    asked: Asked,
    request: StorageRequest,
  ): Promise<number | undefined> {
    const headers = {
      ...(rollsUp && { "Nats-Rollup": "sub" }),
      ...(lastSequence !== undefined && { "Nats-Expected-Last-Subject-Sequence": String(lastSequence) }),
    };
    const message = await this.#client.ask({ ...asked, subject, payload: data, headers }, request);
    const answer = parseAnswer<ApiAnswer & { seq?: number }>(message, asked);
    if (answer.error?.err_code === WRONG_LAST_SEQUENCE) return undefined;
    return this.#checked(answer, asked).seq;
  }

  /** Removes all messages of a subject. */
  async purge(subject: string, asked: Asked, request: StorageRequest): Promise<void> {
    this.#checked(
      await this.#api(`STREAM.PURGE.${this.#name}`, { filter: subject }, asked, request),
      asked,
    );
  }

  /** Undefined where the server or the bucket has no such thing. */
  async #messagesDirect(
    { subject, sequence, count, isOnly = false }: MessageRange,
    asked: Asked,
    request: StorageRequest,
  ): Promise<PendingMessage[] | undefined> {
    const found: PendingMessage[] = [];
    let isKnown = true;
    const ask = {
      ...asked,
      subject: `$JS.API.DIRECT.GET.${this.#name}`,
      payload: JSON.stringify({ seq: sequence, next_by_subj: subject, batch: count }),
    };
    const take = (message: Msg): boolean => {
      const { headers } = message;
      const code = headers?.code ?? NO_CODE;
      if (code === NOT_FOUND || code === END_OF_BATCH) return true;
      if (code !== NO_CODE) throw this.#fault(asked, { code, description: headers!.description });
      const pending = headers?.get("Nats-Num-Pending") ?? "";
      isKnown = pending !== "" || isOnly;
      if (isKnown) found.push({ ...directMessage(message, asked), pending: Number(pending) });
      return pending === "";
    };
    try {
      await this.#client.askMany(ask, request, take);
      this.#isDirect = true;
    } catch (error) {
      if ((error as { code?: string }).code !== "NoResponders" || await this.#allowsDirect(asked, request)) {
        throw error;
      }
      return undefined;
    }
    if (!isKnown) this.#isBatched = false;
    return isKnown ? found : undefined;
  }

  /** Asked where nobody answered a direct get. */
  async #allowsDirect(asked: Asked, request: StorageRequest): Promise<boolean> {
    this.#isDirect = (await this.#info(asked, request)).config?.allow_direct === true;
    return this.#isDirect;
  }

  async #info(asked: Asked, request: StorageRequest): Promise<StreamInfo> {
    return this.#checked(await this.#api<StreamInfo>(`STREAM.INFO.${this.#name}`, {}, asked, request), asked);
  }

  async #messagesConsumed(
    { subject, sequence, count }: MessageRange,
    asked: Asked,
    request: StorageRequest,
  ): Promise<PendingMessage[]> {
    const config = {
      deliver_policy: "by_start_sequence",
      opt_start_seq: sequence,
      filter_subject: subject,
      ack_policy: "explicit", // Older servers take no other of who pulls; nothing is acknowledged.
      max_ack_pending: -1,
      replay_policy: "instant",
      inactive_threshold: CONSUMER_INACTIVE_NS,
      mem_storage: true,
      num_replicas: 1,
    };
    const { name = "", num_pending = 0 } = this.#checked(
      await this.#api<ApiAnswer & { name?: string; num_pending?: number }>(
        `CONSUMER.CREATE.${this.#name}`,
        { stream_name: this.#name, config },
        asked,
        request,
      ),
      asked,
    );
    try {
      return await this.#pull(name, Math.min(count, num_pending), asked, request);
    } finally {
      // Nobody waits for that: it would end by itself.
      this.#api(`CONSUMER.DELETE.${this.#name}.${name}`, {}, asked, request).catch(() => {});
    }
  }

  async #pull(
    consumer: string,
    count: number,
    asked: Asked,
    request: StorageRequest,
  ): Promise<PendingMessage[]> {
    const found: PendingMessage[] = [];
    if (count === 0) return found;
    const ask = {
      ...asked,
      subject: `$JS.API.CONSUMER.MSG.NEXT.${this.#name}.${consumer}`,
      payload: JSON.stringify({ batch: count, no_wait: true }),
    };
    await this.#client.askMany(ask, request, (message) => {
      const code = message.headers?.code ?? NO_CODE;
      if (code !== NO_CODE) return true; // Removed in the meantime: fewer came.
      found.push(consumedMessage(message, asked));
      return found.length === count;
    });
    return found;
  }

  async #api<T extends ApiAnswer>(
    subject: string,
    payload: unknown,
    asked: Asked,
    request: StorageRequest,
  ): Promise<T> {
    const ask = { ...asked, subject: `$JS.API.${subject}`, payload: JSON.stringify(payload) };
    return parseAnswer<T>(await this.#client.ask(ask, request), asked);
  }

  #checked<T extends ApiAnswer>(answer: T, asked: Asked): T {
    if (answer.error !== undefined) throw this.#fault(asked, answer.error);
    return answer;
  }

  #fault(asked: Asked, { description = "", ...error }: ApiError): StorageError {
    return apiFault(asked, { ...error, description: this.#client.redacted(String(description)) });
  }
}

function parseAnswer<T>(message: Msg, asked: Asked): T {
  try {
    return message.json<T>();
  } catch (cause) {
    throw wrongMessage(
      asked,
      `${message.data.length} bytes that are no JSON`,
      "an answer of JetStream's",
      cause,
    );
  }
}

/** A direct get's answer has the message's own place in its headers. */
function directMessage({ headers, data }: Msg, asked: Asked): StreamMessage {
  const sequence = Number(headers?.get("Nats-Sequence"));
  const subject = headers?.get("Nats-Subject") ?? "";
  const timeMs = parseTime(headers?.get("Nats-Time-Stamp") ?? "");
  if (!Number.isSafeInteger(sequence) || sequence < 1 || subject === "" || Number.isNaN(timeMs)) {
    throw wrongMessage(
      asked,
      `sequence "${headers?.get("Nats-Sequence")}" of "${subject}"`,
      "a message's place",
    );
  }
  return { subject, sequence, timeMs, data };
}

/**
 * A consumer's message has it in the subject for acknowledgements, which newer servers begin with two tokens
 * more.
 */
function consumedMessage({ subject, reply = "", data }: Msg, asked: Asked): PendingMessage {
  const tokens = reply.split(".");
  const first = tokens.length >= 11 ? 4 : 2;
  const [sequence, timeNs, pending] = [first + 3, first + 5, first + 6].map((at) => Number(tokens[at])) as [
    number,
    number,
    number,
  ];
  if (![sequence, timeNs, pending].every((number) => Number.isFinite(number))) {
    throw wrongMessage(asked, `reply "${reply}"`, "a message's place");
  }
  return { subject, sequence, timeMs: Math.floor(timeNs / 1e6), data, pending };
}

/** A time of Go's, which may have nine digits behind the dot, in ms; NaN where it is none. */
export function parseTime(text: string): number {
  return Date.parse(text.replace(/(\.\d{3})\d+/, "$1"));
}
