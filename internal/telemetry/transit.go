package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// transit is the tracer provider where no spans are exported. A request's trace context goes through unchanged, so
// that whoever reads the result hangs its span under the publisher's and not under one that was never recorded. A
// request that comes without one gets a new trace, sampled as OTEL_TRACES_SAMPLER says, so that all that is
// published and logged for it can be found together.
type transit struct {
	noop.TracerProvider
	roots *trace.TracerProvider
}

func newTransit() transit {
	return transit{roots: trace.NewTracerProvider()}
}

// Tracer gives the same tracer for every name.
func (t transit) Tracer(name string, options ...api.TracerOption) api.Tracer {
	return transitTracer{roots: t.roots.Tracer(name, options...)}
}

type transitTracer struct {
	noop.Tracer
	roots api.Tracer
}

// Start gives a span that records nothing. A new trace begins where ctx has none; no option asks for one.
func (t transitTracer) Start(ctx context.Context, name string, _ ...api.SpanStartOption) (context.Context, api.Span) {
	if api.SpanContextFromContext(ctx).IsValid() {
		return t.Tracer.Start(ctx, name)
	}
	_, root := t.roots.Start(ctx, name)
	root.End()
	return t.Tracer.Start(api.ContextWithSpanContext(ctx, root.SpanContext()), name)
}
