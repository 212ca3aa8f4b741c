/**
 * The lease on a replica: an object `lock.json` that names its only writer, and until when. Litestream's own leaser knows it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { hostname } from "node:os";
import process from "node:process";
import { ConflictError, ObjectExistsError, ObjectGoneError, ReplicaError, StorageError } from "../errors.ts";
import { anyObject, type WritableStore } from "../storage/object_store.ts";

const KEY = "lock.json";

/** How long a lease lasts, in ms: as Litestream's. */
const TTL_MS = 30_000;

/** A renewal is due after a third: two may fail. */
const RENEWAL_MS = TTL_MS / 3;

/** Readings of lock.json until two in a row agree, at most. */
const READINGS_MAX = 6;

/** A lock.json larger than this is none. */
const SIZE_MAX = 64 * 1024;

/** What lock.json says. */
interface Claim {
  /** Counts the leases that there were. */
  readonly generation: number;
  /** RFC 3339. */
  readonly expires_at: string;
  readonly owner: string;
}

/** Where a lease lies. */
export interface LeaseOptions {
  readonly store: WritableStore;
  readonly signal: AbortSignal;
  /** Told when the lease is another's by now. */
  readonly onLost: (found: string) => void;
}

/** A lease that was taken, and is renewed until it is given up. */
export class Lease {
  readonly #options: LeaseOptions;
  readonly #owner: string;
  readonly #generation: number;
  #etag: string;
  #expiresMs: number;
  #renewing: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ended = false;

  private constructor(
    options: LeaseOptions,
    taken: { owner: string; generation: number; etag: string },
    ms: number,
  ) {
    this.#options = options;
    this.#owner = taken.owner;
    this.#generation = taken.generation;
    this.#etag = taken.etag;
    this.#expiresMs = ms;
    this.#schedule();
  }

  /**
   * Takes the lease: there is none, or it has expired by this machine's clock.
   *
   * @throws {ConflictError} another writer holds it, or was faster
   */
  static async take(options: LeaseOptions): Promise<Lease> {
    const { store, signal } = options;
    const found = await read(options);
    if (found && Date.parse(found.claim.expires_at) > Date.now()) {
      const { owner, expires_at } = found.claim;
      throw new ConflictError(
        `Cannot write to ${store.name}: the lease is held by ${
          JSON.stringify(owner)
        } until ${expires_at} ("${KEY}")`,
      );
    }
    const owner = `${hostname()}:${process.pid}:${crypto.randomUUID().slice(0, 8)}`; // one process may have several
    const generation = (found?.claim.generation ?? 0) + 1;
    const expiresMs = Date.now() + TTL_MS;
    try {
      const { etag } = await store.put(KEY, encode({ generation, owner }, expiresMs), {
        signal,
        ifMatch: found?.etag,
      });
      return new Lease(options, { owner, generation, etag }, expiresMs);
    } catch (error) {
      if (!(error instanceof ObjectExistsError)) throw error;
      throw new ConflictError(
        `Cannot write to ${store.name}: another writer has just taken the lease ("${KEY}")`,
        {
          cause: error,
        },
      );
    }
  }

  /**
   * Renews the lease where that is due; it lasts for a while when this returns.
   *
   * @throws {ConflictError} it is another's by now
   * @throws {StorageError} it cannot be renewed right now
   */
  async hold(): Promise<void> {
    if (this.#expiresMs - Date.now() > TTL_MS - RENEWAL_MS) return;
    this.#renewing ??= this.#renew().finally(() => this.#renewing = undefined);
    await this.#renewing;
  }

  async #renew(): Promise<void> {
    const expiresMs = Date.now() + TTL_MS;
    await this.#put(expiresMs);
    this.#expiresMs = expiresMs;
  }

  async #put(expiresMs: number): Promise<void> {
    const { store, signal, onLost } = this.#options;
    const claim = { generation: this.#generation, owner: this.#owner };
    try {
      this.#etag = (await store.put(KEY, encode(claim, expiresMs), { signal, ifMatch: this.#etag })).etag;
    } catch (error) {
      const isLost = error instanceof ObjectExistsError ||
        (error instanceof StorageError && error.status === 404);
      if (!isLost) throw error;
      const held = await read(this.#options);
      if (held?.claim.owner === this.#owner) {
        if (held.etag === this.#etag) throw refused(store.name, error);
        this.#etag = held.etag; // ours, whose answer was lost
        return await this.#put(expiresMs);
      }
      const found = await this.#holder();
      onLost(found);
      throw new ConflictError(`Cannot write to ${store.name}: ${found}`, { cause: error });
    }
  }

  async #holder(): Promise<string> {
    const found = await read(this.#options).catch(() => undefined);
    const who = found ? `by ${JSON.stringify(found.claim.owner)}` : "or removed";
    return `the lease was taken ${who} ("${KEY}")`;
  }

  #schedule(): void {
    if (this.#ended) return;
    this.#timer = setTimeout(async () => {
      // What fails here is told of when something is to be stored.
      await this.hold().catch(() => {});
      this.#schedule();
    }, RENEWAL_MS);
  }

  /** Gives the lease up: it has expired for the next one. */
  async release(): Promise<void> {
    this.#ended = true;
    clearTimeout(this.#timer);
    await this.#renewing?.catch(() => {});
    await this.#put(Date.now() - 1);
  }
}

/** It is ours as we know it, and could not be put all the same. */
function refused(name: string, cause: StorageError): StorageError {
  const { message, status, code } = cause;
  const text = `Cannot renew the lease on ${name}, which nobody else has taken: ${message}`;
  return new StorageError(text, { key: KEY, status, code, retryable: true, cause });
}

function encode({ generation, owner }: { generation: number; owner: string }, expiresMs: number): Uint8Array {
  const claim: Claim = { generation, expires_at: new Date(expiresMs).toISOString(), owner };
  return new TextEncoder().encode(JSON.stringify(claim));
}

/**
 * What lock.json says; undefined where there is none. Two readings in a row must agree: by one that was damaged on its way a
 * lease would be taken that another holds.
 *
 * @throws {ReplicaError} it is no claim
 * @throws {StorageError} it comes otherwise each time
 */
async function read(options: LeaseOptions): Promise<{ claim: Claim; etag: string } | undefined> {
  let last = await readOnce(options);
  for (let reading = 2; reading <= READINGS_MAX; reading++) {
    const found = await readOnce(options);
    if (found?.text === last?.text && found?.etag === last?.etag) {
      return found && { claim: decode(found.text, options.store.name), etag: found.etag };
    }
    last = found;
  }
  throw new StorageError(
    `Cannot read "${KEY}" in ${options.store.name}: ${READINGS_MAX} readings all differ, expected two in a row alike`,
    { key: KEY, status: 0, code: "Damaged", retryable: true },
  );
}

async function readOnce(
  { store, signal }: LeaseOptions,
): Promise<{ text: string; etag: string } | undefined> {
  try {
    const { bytes, etag } = await store.read(anyObject(KEY), { offset: 0, size: SIZE_MAX }, { signal });
    return { text: Buffer.from(bytes).toString("utf8"), etag };
  } catch (error) {
    if (error instanceof ObjectGoneError) return undefined;
    throw error;
  }
}

function decode(text: string, name: string): Claim {
  try {
    const { generation, expires_at, owner } = JSON.parse(text) as Claim;
    const isClaim = Number.isSafeInteger(generation) && !Number.isNaN(Date.parse(expires_at)) &&
      typeof owner === "string";
    if (isClaim) return { generation, expires_at, owner };
  } catch {
    // said below
  }
  throw new ReplicaError(
    `Cannot take the lease on ${name}: "${KEY}" is ${JSON.stringify(text.slice(0, 100))}, ` +
      "expected an object of generation, expires_at and owner",
  );
}
