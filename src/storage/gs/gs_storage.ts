/**
 * GsStorage: a bucket of Google Cloud Storage, over its JSON interface.
 *
 * What tells objects apart is their generation: a number that each content of a key has for itself, the same
 * in listings and on what is read.
 *
 * @see https://cloud.google.com/storage/docs/json_api/v1
 * @module
 */

import type { BackendContext, BackendCredentials, OpenBackend } from "../backend.ts";
import type { GsLocation } from "../backend_location.ts";
import { noCredentials } from "../credentials.ts";
import { type HttpAsk, HttpClient } from "../http_client.ts";
import { wrongAnswer } from "../http_fault.ts";
import type { PartUploads, RequestCounts } from "../object_store.ts";
import { removeEach } from "../removal.ts";
import type { Storage, StorageList, StoragePut, StorageRead, StorageRequest } from "../storage.ts";
import type { StoredBytes, StoredNow, StoredObject } from "../storage.ts";
import { type GsAddress, gsAddress } from "./gs_address.ts";
import { expectedOf, explain } from "./gs_fault.ts";
import { OddAnswers } from "../odd_answers.ts";
import { parsePage } from "./gs_listing.ts";
import { GsSignIn } from "./gs_sign_in.ts";
import { GsUploads } from "./gs_uploads.ts";

/** As many as the interface gives at once. */
const PAGE_OBJECTS_MAX = 1000;
const LISTING_BYTES_MAX = 16 * 1024 * 1024;
const LISTED_FIELDS = "nextPageToken,items(name,size,generation,timeCreated,metadata)";
const REMOVED_AT_ONCE_MAX = 16;

/**
 * Opens it as whom the options, the URL or the environment name; by a pair of keys over the XML interface.
 */
export const open: OpenBackend<GsLocation> = async (location, context) => {
  const address = gsAddress(location, context.env);
  const file = location.parameters.credentialsFile ?? location.parameters["credentials-file"] ?? "";
  const isPublic = context.credentials === "anonymous" || address.isEmulator;
  const keys = isPublic ? undefined : keysOf(context, file);
  if (keys !== undefined) {
    const { GsXmlStorage } = await import("./gs_xml_storage.ts");
    return new GsXmlStorage(address, keys, context);
  }
  const signIn = isPublic || !isSafe(address, file) ? undefined : new GsSignIn({ ...context, file });
  return new GsStorage(address, signIn, context);
};

/** Keys of a user or a service account, as {@link BackendCredentials} or the environment hold them. */
function keysOf(
  { credentials, env }: BackendContext,
  file: string,
): Exclude<BackendCredentials, "anonymous"> | undefined {
  if (typeof credentials === "object") return credentials;
  const { GS_ACCESS_KEY_ID: accessKeyId = "", GS_SECRET_ACCESS_KEY: secretAccessKey = "" } = env;
  if (file !== "" || (accessKeyId === "" && secretAccessKey === "")) return undefined;
  if (accessKeyId !== "" && secretAccessKey !== "") return { accessKeyId, secretAccessKey };
  throw noCredentials("only one of GS_ACCESS_KEY_ID and GS_SECRET_ACCESS_KEY is set", "both or none");
}

/** Whether a token may be sent there: without TLS everybody on the way could take it. */
function isSafe({ origin }: GsAddress, file: string): boolean {
  if (!origin.startsWith("http:")) return true;
  if (file === "") return false;
  throw noCredentials(`a credentials file for "${origin}", which has no TLS`, "an endpoint with https");
}

/** A bucket. */
export class GsStorage implements Storage {
  readonly traits = { conditionalPut: true, conditionalReplace: true } as const;
  readonly counts: RequestCounts;
  readonly #address: GsAddress;
  readonly #client: HttpClient;
  readonly #odd = new OddAnswers();
  readonly #uploads: GsUploads;
  readonly #signIn: GsSignIn | undefined;

  /** Without `signIn` requests are those of anybody. */
  constructor(
    address: GsAddress,
    signIn: GsSignIn | undefined,
    { fetch, fetchInit, now }: Partial<BackendContext>,
  ) {
    this.#address = address;
    this.#signIn = signIn;
    this.#client = new HttpClient({
      authorize: (ask, request) => signIn?.authorize(ask, request) ?? { ...ask.headers },
      renew: (fault, ask) => signIn?.renew(fault, ask) ?? false,
      identity: (headers) => headers.get("x-goog-generation") ?? undefined,
      explain,
      expected: (fault, asked) => expectedOf(fault, asked, { ...address, isSignedIn: signIn !== undefined }),
      redact: (text) => withoutSessions(signIn?.redact(text) ?? text),
      fetch,
      fetchInit,
      now,
    });
    this.counts = this.#client.counts;
    this.#uploads = new GsUploads(address, this.#client);
  }

  get parts(): PartUploads {
    return this.#uploads;
  }

  async *list(prefix: string, request: StorageList): AsyncGenerator<StoredObject[], void, undefined> {
    const { after } = request;
    let token = "";
    do {
      const page = await this.#listPage({
        prefix,
        ...(after === undefined ? {} : { startOffset: after }),
        ...(token === "" ? {} : { pageToken: token }),
      }, request);
      if (page.objects.length > 0) yield page.objects;
      if (token !== "" && page.nextPageToken === token) {
        throw wrongAnswer(this.#listed(prefix), "the same page token twice", "pages that end");
      }
      token = page.nextPageToken;
    } while (token !== "");
  }

  async read(
    key: string,
    { offset, size }: { readonly offset: number; readonly size: number },
    request: StorageRead,
  ): Promise<StoredBytes | undefined> {
    const { etag } = request;
    const query = { alt: "media", ...(etag === undefined ? {} : { ifGenerationMatch: etag }) };
    const ask = {
      what: `read bytes ${offset}-${offset + size - 1} of "${key}" in ${this.#address.name}`,
      key,
      url: this.#address.object(key, query),
    };
    return await this.#client.read(ask, { offset, size, etag }, request);
  }

  async put(key: string, bytes: Uint8Array, request: StoragePut): Promise<StoredNow | undefined> {
    return await this.#uploads.putWhole(key, bytes, request);
  }

  async remove(keys: readonly string[], request: StorageRequest): Promise<void> {
    const removal = { place: this.#address.name, keys, count: REMOVED_AT_ONCE_MAX, signal: request.signal };
    await removeEach(removal, (key) => this.#removeOne(key, request));
  }

  close(): void {
    this.#client.close();
    this.#signIn?.close();
  }

  async #listPage(query: Record<string, string>, request: StorageRequest) {
    const asked = this.#listed(query.prefix ?? "");
    const ask: HttpAsk = {
      ...asked,
      method: "GET",
      url: this.#address.objects({ maxResults: String(PAGE_OBJECTS_MAX), fields: LISTED_FIELDS, ...query }),
    };
    const response = await this.#client.send(ask, request);
    return parsePage(await this.#client.collect(response, ask, request, LISTING_BYTES_MAX), asked, this.#odd);
  }

  async #removeOne(key: string, request: StorageRequest): Promise<void> {
    const ask: HttpAsk = {
      what: `remove "${key}" from ${this.#address.name}`,
      key,
      kind: "remove",
      method: "DELETE",
      url: this.#address.object(key),
      accepts: [404],
    };
    await this.#client.discard(await this.#client.send(ask, request));
  }

  #listed(prefix: string): Pick<HttpAsk, "what" | "key" | "kind"> {
    return { what: `list "${prefix}" in ${this.#address.name}`, key: prefix, kind: "list" };
  }
}

/** Whoever has the name of an upload may go on with it. */
function withoutSessions(text: string): string {
  return text.replace(/upload_id=[^&\s"')]+/g, "upload_id=…");
}
