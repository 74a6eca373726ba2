package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// passthrough is the tracer provider if no spans are exported. It propagates a request's trace context unchanged, so
// that the reader of the result continues the publisher's span, not one that was never recorded. A request without a
// trace context gets a new trace that connects its messages and log lines. It is not sampled, because nothing records it
// (W3C Trace Context, section 3.2.2.5.1). That also saves the server work: it reads all headers of a message whose trace
// is sampled.
type passthrough struct {
	noop.TracerProvider
	roots *trace.TracerProvider
}

func newPassthrough() passthrough {
	return passthrough{roots: trace.NewTracerProvider(trace.WithSampler(trace.NeverSample()))}
}

// Tracer returns a tracer.
func (t passthrough) Tracer(name string, options ...api.TracerOption) api.Tracer {
	return passthroughTracer{roots: t.roots.Tracer(name, options...)}
}

type passthroughTracer struct {
	noop.Tracer
	roots api.Tracer
}

// Start returns a span that records nothing. It starts a new trace if ctx has none; no caller uses options for that.
func (t passthroughTracer) Start(ctx context.Context, name string, _ ...api.SpanStartOption) (context.Context, api.Span) {
	if api.SpanContextFromContext(ctx).IsValid() {
		return t.Tracer.Start(ctx, name)
	}
	_, root := t.roots.Start(ctx, name)
	root.End()
	return t.Tracer.Start(api.ContextWithSpanContext(ctx, root.SpanContext()), name)
}
