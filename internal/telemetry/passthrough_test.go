package telemetry

import (
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	api "go.opentelemetry.io/otel/trace"
)

func kind(value string) metric.AddOption {
	return metric.WithAttributes(attribute.String("kind", value))
}

func remote() api.SpanContext {
	return api.NewSpanContext(api.SpanContextConfig{
		TraceID: api.TraceID{1}, SpanID: api.SpanID{2}, TraceFlags: api.FlagsSampled, Remote: true,
	})
}

func TestPassthrough(t *testing.T) {
	tracer := newPassthrough().Tracer("test")

	t.Run("a request's trace context is propagated unchanged", func(t *testing.T) {
		ctx := api.ContextWithRemoteSpanContext(t.Context(), remote())
		for range 3 {
			var span api.Span
			ctx, span = tracer.Start(ctx, "work", api.WithSpanKind(api.SpanKindConsumer))
			if got := span.SpanContext(); !got.Equal(remote()) {
				t.Errorf("the span has %v, want %v", got, remote())
			}
			span.End()
		}
		if got := api.SpanContextFromContext(ctx); !got.Equal(remote()) {
			t.Errorf("the context has %v, want %v", got, remote())
		}
	})
	t.Run("a request without a trace context gets one trace for all its spans", func(t *testing.T) {
		ctx, first := tracer.Start(t.Context(), "work")
		_, second := tracer.Start(ctx, "call")
		if !first.SpanContext().IsValid() || !first.SpanContext().Equal(second.SpanContext()) {
			t.Errorf("spans %v and %v, want a valid one twice", first.SpanContext(), second.SpanContext())
		}
		if first.IsRecording() || second.IsRecording() {
			t.Error("a span records")
		}
		_, other := tracer.Start(t.Context(), "work")
		if other.SpanContext().TraceID() == first.SpanContext().TraceID() {
			t.Error("two requests share a trace")
		}
	})
	t.Run("a new trace is not sampled, whatever the sampler, because nothing records it", func(t *testing.T) {
		t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
		_, span := newPassthrough().Tracer("test").Start(t.Context(), "work")
		if span.SpanContext().IsSampled() {
			t.Error("it is sampled")
		}
	})
}

func BenchmarkPassthrough(b *testing.B) {
	tracer := newPassthrough().Tracer("bench")
	b.Run("continued", func(b *testing.B) {
		ctx := api.ContextWithRemoteSpanContext(b.Context(), remote())
		b.ReportAllocs()
		for b.Loop() {
			_, span := tracer.Start(ctx, "work")
			span.End()
		}
	})
	b.Run("new", func(b *testing.B) {
		ctx := b.Context()
		b.ReportAllocs()
		for b.Loop() {
			_, span := tracer.Start(ctx, "work")
			span.End()
		}
	})
}
