/**
 * What OpenTelemetry calls the parts of spans, and what there is to measure of a replica. No dependency: plain names and values.
 *
 * @see OpenTelemetry semantic conventions 1.40, "HTTP client span", "Database spans", "Instrument naming"
 * @module
 */
import type { ReplicaStats } from "../replica_stats.ts";
import type { RequestSpan, TransactionSpan } from "./span.ts";

/** The value of an attribute. */
export type AttributeValue = string | number | boolean;

/** A low-cardinality name for a request's span: the HTTP method, else what was asked for, such as `"read"`. */
export function requestSpanName({ http, kind, source }: RequestSpan): string {
  return http?.method ?? (source === "disk" ? "read from disk" : kind);
}

/**
 * A request's attributes: `http.*`, `url.*`, `server.*` and `error.type` by the conventions for HTTP clients, whose span kind is
 * `CLIENT`, all else as `litestream.*`. Values that are not known are left out.
 */
export function requestAttributes(span: RequestSpan): Record<string, AttributeValue> {
  const { kind, purpose, place, source, key, range, queuedMs, bytesReceived, bytesSent } = span;
  return {
    ...httpAttributes(span),
    ...errorAttributes(span),
    "litestream.replica": place,
    "litestream.request.kind": kind,
    "litestream.request.purpose": purpose,
    "litestream.request.source": source,
    "litestream.request.key": key,
    ...(range && {
      "litestream.request.range.offset": range.offset,
      "litestream.request.range.size": range.size,
    }),
    "litestream.request.queued_ms": queuedMs,
    "litestream.request.hedge": span.isHedge,
    "litestream.request.outcome": span.outcome,
    ...(span.transaction !== undefined && { "litestream.transaction": span.transaction }),
    ...(span.roundTrip !== undefined && { "litestream.round_trip": span.roundTrip }),
    "http.response.body.size": bytesReceived,
    ...(bytesSent > 0 && { "http.request.body.size": bytesSent }),
  };
}

const PORTS: Readonly<Record<string, number>> = { "http:": 80, "https:": 443 };

function httpAttributes({ http, attempt, isRepeat }: RequestSpan): Record<string, AttributeValue> {
  if (http === undefined) return {};
  const resends = attempt - 1 + (isRepeat ? 1 : 0);
  const url = URL.canParse(http.url) ? new URL(http.url) : undefined;
  return {
    "http.request.method": http.method,
    ...(http.status !== undefined && { "http.response.status_code": http.status }),
    ...(resends > 0 && { "http.request.resend_count": resends }),
    ...(url && {
      "url.full": http.url,
      "server.address": url.hostname,
      "server.port": url.port ? Number(url.port) : PORTS[url.protocol] ?? 0,
    }),
  };
}

/** The status where that is the fault, else the error's class. */
function errorAttributes({ outcome, http, error }: RequestSpan): Record<string, AttributeValue> {
  if (outcome !== "failed") return {};
  const isStatus = http?.status !== undefined && http.status >= 400;
  return {
    "error.type": isStatus ? String(http.status) : error?.code || (error?.name ?? "_OTHER"),
    ...(error?.code && { "litestream.error.code": error.code }),
  };
}

/** A transaction's attributes; its span's kind is `CLIENT`, its name `"transaction"` or what you like better. */
export function transactionAttributes(span: TransactionSpan): Record<string, AttributeValue> {
  return {
    "db.system.name": "sqlite",
    "db.namespace": span.place,
    "litestream.replica": span.place,
    "litestream.transaction": span.transaction,
    "litestream.txid": span.txid.toString(16).padStart(16, "0"),
    "litestream.transaction.write": span.isWrite,
    "litestream.pages.hits": span.hits,
    "litestream.pages.misses": span.misses,
    "litestream.pages.local": span.localReads,
    "litestream.pages.ahead": span.aheadPages,
    "litestream.pages.ahead_hits": span.aheadHits,
    "litestream.requests": span.getRequests,
    "litestream.bytes": span.bytes,
    "litestream.bytes_used": span.bytesUsed,
    "litestream.round_trips": span.roundTrips,
  };
}

/** One measurement. */
export interface Metric {
  /** The instrument's name. */
  readonly name: string;
  /** Its unit in UCUM, as OpenTelemetry wants it. */
  readonly unit: string;
  /** What it tells. */
  readonly description: string;
  /** `"counter"` only rises while the replica is open, `"gauge"` goes both ways. */
  readonly kind: "counter" | "gauge";
  /** Its value now. */
  readonly value: number;
  /** What tells it from others of the same name. */
  readonly attributes: Readonly<Record<string, AttributeValue>>;
}

/** What {@link replicaMetrics} reads; a `Replica` has it. */
export interface MeasuredReplica {
  /** Without secrets. */
  readonly name: string;
  /** See `Replica.lagMs`. */
  readonly lagMs: number;
  /** See `Replica.stats`. */
  stats(): ReplicaStats;
}

type Row = readonly [
  name: string,
  unit: string,
  description: string,
  stat: keyof ReplicaStats,
  attributes?: Record<string, string>,
];

const COUNTERS: readonly Row[] = [
  ["requests", "{request}", "Requests to storage", "getRequests", { "litestream.request.kind": "read" }],
  ["requests", "{request}", "Requests to storage", "listRequests", { "litestream.request.kind": "list" }],
  ["requests.retries", "{request}", "Attempts beyond the first of a request", "retries"],
  ["requests.hedges", "{request}", "Reads that were asked a second time", "hedges"],
  ["io", "By", "Bytes of bodies received", "bytes"],
  ["disk.reads", "{read}", "Ranges read from the disk cache", "diskReads"],
  ["disk.io", "By", "Bytes read from the disk cache", "diskBytes"],
  ["transactions", "{transaction}", "Transactions begun", "transactions"],
  ["pages", "{page}", "Pages read", "hits", { "litestream.page.source": "memory" }],
  ["pages", "{page}", "Pages read", "misses", { "litestream.page.source": "storage" }],
  ["pages", "{page}", "Pages read", "localReads", { "litestream.page.source": "local" }],
  ["pages.ahead", "{page}", "Pages loaded before anybody asked for them", "aheadPages"],
  ["pages.ahead_wasted", "{page}", "Pages loaded ahead and dropped unread", "aheadWasted"],
  ["pages.evicted", "{page}", "Pages dropped from memory to make room", "pagesEvicted"],
  ["polls", "{poll}", "Looks at the replica for new transactions", "polls"],
  ["polls.failed", "{poll}", "Looks that failed", "failedPolls"],
];

const GAUGES: readonly Row[] = [
  ["pool.size", "By", "Decoded pages in memory, of all replicas of the process", "poolBytes"],
  ["transactions.open", "{transaction}", "Transactions that are open", "pinned"],
];

/** All that can be measured of a replica, as it is now: for observable instruments, which ask when they export. */
export function replicaMetrics(replica: MeasuredReplica): Metric[] {
  const stats = replica.stats();
  const own = { "litestream.replica": replica.name };
  const metric = (kind: Metric["kind"]) => ([name, unit, description, stat, attributes]: Row): Metric => ({
    name: `litestream.${name}`,
    unit,
    description,
    kind,
    value: stats[stat],
    attributes: { ...own, ...attributes },
  });
  const lag: Metric = {
    name: "litestream.lag",
    unit: "s",
    description: "Time since the replica was last seen",
    kind: "gauge",
    value: replica.lagMs / 1000,
    attributes: own,
  };
  const seen = Number.isFinite(replica.lagMs) ? [lag] : []; // after closing there is none
  return [...COUNTERS.map(metric("counter")), ...GAUGES.map(metric("gauge")), ...seen];
}
