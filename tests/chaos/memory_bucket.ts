/**
 * MemoryBucket: an S3 bucket as a function from requests to answers, without a server around it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { HttpRequest } from "../support/request_reader.ts";
import { ABSENT } from "./answer_fault.ts";
import type { WireAnswer } from "./upstream.ts";

interface StoredObject {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly modified: string;
}

/** The bucket. It looks at no signature. */
export class MemoryBucket {
  readonly #objects = new Map<string, StoredObject>();

  put(key: string, bytes: Uint8Array): string {
    const etag = `"${createHash("md5").update(bytes).digest("hex")}"`;
    this.#objects.set(key, { bytes: Buffer.from(bytes), etag, modified: new Date().toISOString() });
    return etag;
  }

  /** What is answered to a request. */
  answer({ method, target, headers, body }: HttpRequest): WireAnswer {
    const url = new URL(target, "http://s3");
    const key = decodeURIComponent(url.pathname).split("/").slice(2).join("/");
    if (url.searchParams.has("list-type")) return this.#list(url.searchParams);
    if (method === "PUT") return this.#put(key, headers, body);
    if (method === "POST") return this.#removeAll(String(body));
    if (method === "DELETE") {
      this.#objects.delete(key);
      return answer(204);
    }
    return this.#get(key, headers);
  }

  #get(key: string, headers: HttpRequest["headers"]): WireAnswer {
    const object = this.#objects.get(key);
    if (object === undefined) return ABSENT;
    const { bytes, etag } = object;
    const wanted = headers.get("if-match");
    if (wanted !== undefined && wanted !== etag) return answer(412, {}, errorXml("PreconditionFailed"));
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.get("range") ?? "")?.map(Number) ?? [];
    if (first === undefined || last === undefined) return answer(200, { etag }, bytes);
    if (first >= bytes.length) return answer(416, {}, errorXml("InvalidRange"));
    const part = bytes.subarray(first, last + 1);
    const range = `bytes ${first}-${first + part.length - 1}/${bytes.length}`;
    return answer(206, { etag, "content-range": range }, part);
  }

  #put(key: string, headers: HttpRequest["headers"], body: Buffer): WireAnswer {
    if (headers.get("if-none-match") === "*" && this.#objects.has(key)) {
      return answer(412, {}, errorXml("PreconditionFailed"));
    }
    return answer(200, { etag: this.put(key, body) });
  }

  #removeAll(document: string): WireAnswer {
    for (const [, key] of document.matchAll(/<Key>([^<]*)<\/Key>/g)) this.#objects.delete(key!);
    return answer(200, {}, "<DeleteResult></DeleteResult>");
  }

  #list(query: URLSearchParams): WireAnswer {
    const [prefix, after] = [query.get("prefix") ?? "", query.get("start-after") ?? ""];
    const keys = [...this.#objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
    const elements = keys.map((key) => {
      const { bytes, etag, modified } = this.#objects.get(key)!;
      return `<Contents><Key>${key}</Key><LastModified>${modified}</LastModified><ETag>${
        etag.replaceAll('"', "&quot;")
      }</ETag><Size>${bytes.length}</Size></Contents>`;
    });
    return answer(
      200,
      {},
      `<ListBucketResult><KeyCount>${keys.length}</KeyCount><IsTruncated>false</IsTruncated>${
        elements.join("")
      }</ListBucketResult>`,
    );
  }
}

function answer(
  status: number,
  headers: Record<string, string> = {},
  body: string | Buffer = Buffer.alloc(0),
): WireAnswer {
  return { status, headers: new Map(Object.entries(headers)), body: Buffer.from(body) };
}

function errorXml(code: string): string {
  return `<Error><Code>${code}</Code><Message>no</Message></Error>`;
}
