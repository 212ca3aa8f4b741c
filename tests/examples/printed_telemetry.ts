/**
 * Loaded before docs/examples/opentelemetry.ts in place of an SDK: prints each span as it ends, and with the query's all that
 * can be measured.
 *
 * @module
 */
import {
  type Context,
  type Meter,
  metrics,
  type Observable,
  type ObservableCallback,
  type Span,
  type SpanContext,
  type SpanOptions,
  trace,
  type Tracer,
} from "@opentelemetry/api";

/** A line that is printed. */
export interface PrintedSpan {
  readonly name: string;
  readonly id: string;
  readonly parent: string | undefined;
  readonly kind: number | undefined;
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Record<string, unknown>;
  readonly status: unknown;
}

/** The other kind of line. */
export interface PrintedMetric {
  readonly metric: string;
  readonly value: number;
  readonly attributes: Record<string, unknown>;
}

let lastId = 0;

function startSpan(name: string, options: SpanOptions = {}, context?: Context): Span {
  const spanId = String(++lastId).padStart(16, "0");
  const parent = context && trace.getSpan(context)?.spanContext().spanId;
  const startMs = options.startTime instanceof Date ? options.startTime.getTime() : Date.now();
  let status: unknown;
  const own: SpanContext = { traceId: "0".repeat(31) + "1", spanId, traceFlags: 1 };
  const span = {
    spanContext: () => own,
    setStatus: (given: unknown) => (status = given, span),
    end: (endTime?: unknown) => {
      const endMs = endTime instanceof Date ? endTime.getTime() : Date.now();
      const { attributes = {}, kind } = options;
      console.log(JSON.stringify({ name, id: spanId, parent, kind, startMs, endMs, attributes, status }));
      if (name === "query") exportMetrics();
    },
  };
  return span as unknown as Span;
}

const tracer = {
  startSpan,
  startActiveSpan: (name: string, options: SpanOptions, act: (span: Span) => unknown) =>
    act(startSpan(name, options)),
} as unknown as Tracer;
trace.setGlobalTracerProvider({ getTracer: () => tracer });

const callbacks = new Map<string, ObservableCallback>();
const instrument = (name: string) =>
  ({ addCallback: (callback: ObservableCallback) => callbacks.set(name, callback) }) as unknown as Observable;
const meter = { createObservableCounter: instrument, createObservableGauge: instrument } as unknown as Meter;
metrics.setGlobalMeterProvider({ getMeter: () => meter });

/** As an exporter does at times of its own. */
function exportMetrics(): void {
  for (const [metric, callback] of callbacks) {
    const observe = (value: number, attributes: object) => {
      console.log(JSON.stringify({ metric, value, attributes }));
    };
    callback({ observe } as unknown as Parameters<ObservableCallback>[0]);
  }
}
