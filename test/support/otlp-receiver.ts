// A receiver of traces as a collector is one: OTLP over HTTP, in protobuf. It decodes with the
// numbers of the published definitions, not with a library of the sender.
// github.com/open-telemetry/opentelemetry-proto (v1), opentelemetry/proto/trace/v1/trace.proto
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import protobuf from 'protobufjs'
import { z } from 'zod'

/** What the test looks at; fields that are not named here are skipped by protobuf itself. */
const DEFINITIONS = `
syntax = "proto3";
package otlp;
message ExportTraceServiceRequest { repeated ResourceSpans resource_spans = 1; }
message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
message Resource { repeated KeyValue attributes = 1; }
message ScopeSpans { repeated Span spans = 2; }
message Span {
  bytes trace_id = 1;
  bytes span_id = 2;
  bytes parent_span_id = 4;
  string name = 5;
  int32 kind = 6;
  repeated KeyValue attributes = 9;
  repeated Event events = 11;
  repeated Link links = 13;
  Status status = 15;
  message Event { string name = 2; }
  message Link { bytes trace_id = 1; bytes span_id = 2; repeated KeyValue attributes = 4; }
}
message Status { int32 code = 3; }
message KeyValue { string key = 1; AnyValue value = 2; }
message AnyValue {
  oneof value { string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4; }
}`

const REQUEST = protobuf.parse(DEFINITIONS).root.lookupType('otlp.ExportTraceServiceRequest')

const hex = z.instanceof(Uint8Array).transform((bytes) => Buffer.from(bytes).toString('hex'))
const attributes = z
  .array(z.object({ key: z.string(), value: z.record(z.string(), z.unknown()) }))
  .default([])
  .transform((pairs) =>
    Object.fromEntries(pairs.map(({ key, value }) => [key, Object.values(value)[0] as string | number])),
  )
const span = z.object({
  traceId: hex,
  spanId: hex,
  parentSpanId: hex.default(''),
  name: z.string(),
  kind: z.number(),
  attributes,
  events: z.array(z.object({ name: z.string() })).default([]),
  links: z.array(z.object({ traceId: hex, spanId: hex, attributes })).default([]),
  status: z.object({ code: z.number().default(0) }).default({ code: 0 }),
})
const request = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes }),
      scopeSpans: z.array(z.object({ spans: z.array(span).default([]) })).default([]),
    }),
  ),
})

/** SpanKind of the definitions. */
export const KIND = { internal: 1, server: 2, client: 3, producer: 4, consumer: 5 } as const

export type ReceivedSpan = z.output<typeof span> & { readonly service: string }

export interface OtlpReceiver extends AsyncDisposable {
  /** What processes send to: OTEL_EXPORTER_OTLP_ENDPOINT. */
  readonly url: string
  /** In the order of arrival. */
  readonly spans: readonly ReceivedSpan[]
  /** What could not be decoded; empty when all is well. */
  readonly broken: readonly unknown[]
}

/** Starts a receiver on a free port of the loopback. */
export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = []
  const broken: unknown[] = []
  const server = createServer((incoming, response) => {
    const chunks: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
    incoming.on('end', () => {
      try {
        if (incoming.url === '/v1/traces') spans.push(...spansOf(Buffer.concat(chunks)))
      } catch (error) {
        broken.push(error)
      }
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    spans,
    broken,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function spansOf(body: Buffer): readonly ReceivedSpan[] {
  const decoded = REQUEST.toObject(REQUEST.decode(body), { longs: Number })
  return request
    .parse(decoded)
    .resourceSpans.flatMap(({ resource, scopeSpans }) =>
      scopeSpans.flatMap((scope) =>
        scope.spans.map((one) => ({ ...one, service: String(resource.attributes['service.name']) })),
      ),
    )
}
