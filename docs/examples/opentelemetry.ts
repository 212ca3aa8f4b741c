/**
 * Spans and metrics of a replica by OpenTelemetry's API, each request beneath the span of the query that it was for:
 *
 *     OTEL_DENO=true deno run -A docs/examples/opentelemetry.ts s3://bucket/sandwiches
 *     bun --preload ./your_sdk.ts docs/examples/opentelemetry.ts s3://bucket/sandwiches
 */
import process from "node:process";
import {
  type Context,
  context,
  metrics,
  type Observable,
  type ObservableResult,
  SpanKind,
  SpanStatusCode,
  trace,
} from "@opentelemetry/api";
import {
  openReplica,
  type Replica,
  type ReplicaDatabase,
  replicaMetrics,
  type ReplicaObserver,
  requestAttributes,
  requestSpanName,
  transactionAttributes,
} from "@x/litestream-vfs";

const tracer = trace.getTracer("sandwiches");

/** Whose transactions they are, the newest of them: spans come once the query is over and the loop turns again. */
const parents = new Map<string, Context>();
const PARENTS_MAX = 1_000;

const observer: ReplicaObserver = {
  request(span) {
    const parent = parents.get(span.transaction ?? "") ?? context.active();
    const options = {
      kind: SpanKind.CLIENT,
      attributes: requestAttributes(span),
      startTime: new Date(span.startMs),
    };
    const own = tracer.startSpan(requestSpanName(span), options, parent);
    if (span.error) own.setStatus({ code: SpanStatusCode.ERROR, message: span.error.message });
    own.end(new Date(span.endMs));
  },
  transaction(span) {
    const parent = parents.get(span.transaction) ?? context.active();
    const options = {
      kind: SpanKind.CLIENT,
      attributes: transactionAttributes(span),
      startTime: new Date(span.startMs),
    };
    tracer.startSpan("transaction", options, parent).end(new Date(span.endMs));
  },
};

/** Runs a query within a span, and says whose its transaction was. */
function query(replica: Replica, db: ReplicaDatabase, sql: string): unknown[] {
  return tracer.startActiveSpan("query", { attributes: { "db.query.text": sql } }, (span) => {
    try {
      return db.prepare(sql).all();
    } finally {
      const transaction = replica.transactionOf(db);
      if (transaction) parents.set(transaction, trace.setSpan(context.active(), span));
      if (parents.size > PARENTS_MAX) parents.delete(parents.keys().next().value!);
      span.end();
    }
  });
}

/** Has all that can be measured exported; one instrument for each name. */
function measure(replica: Replica): void {
  const meter = metrics.getMeter("sandwiches");
  const instruments = new Map<string, Observable>();
  for (const { name, kind, unit, description } of replicaMetrics(replica)) {
    if (instruments.has(name)) continue;
    const options = { unit, description };
    const instrument = kind === "counter"
      ? meter.createObservableCounter(name, options)
      : meter.createObservableGauge(name, options);
    instruments.set(name, instrument);
    instrument.addCallback((result: ObservableResult) => {
      for (const { name: own, value, attributes } of replicaMetrics(replica)) {
        if (own === name) result.observe(value, attributes);
      }
    });
  }
}

await using replica = await openReplica(process.argv[2], { observe: observer });
measure(replica);
const db = replica.connect();
console.log(
  JSON.stringify(query(replica, db, "SELECT sandwich, avg(stars) AS stars FROM ratings GROUP BY 1 LIMIT 2")),
);
db.close();
