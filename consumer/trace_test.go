package consumer

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/streams"
)

// One trace leads from the publisher through the schedule into the result.
func TestATraceContinuesThroughTheScheduleToTheResult(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(spans))
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	defer otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator())

	s := bareWorld(t)
	if err := streams.Setup(t.Context(), s.js, settings); err != nil {
		t.Fatal(err)
	}
	_, stop := s.run(s.config(sensayTarget, script(answerBusy, answerDeleted)))
	r := entry(7)
	body, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const traceID, inEvent = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c"
	s.publishRaw(sensayTarget, body, nats.Header{"traceparent": {"00-" + traceID + "-b7ad6b7169203331-01"}})
	s.final(sensayTarget, r.ID)
	other := entry(8)
	other.TraceParent = "00-" + inEvent + "-b7ad6b7169203331-01"
	s.publish(other)
	s.final(sensayTarget, other.ID)
	stop()

	count := map[string]int{}
	for _, span := range spans.GetSpans() {
		if span.SpanContext.TraceID().String() == inEvent {
			count["in the event's trace"]++
		}
		if span.SpanContext.TraceID().String() == traceID {
			count[span.Name]++
		}
	}
	for name, want := range map[string]int{
		"process deletions.requests.sensay-knowledge-base": 1, "process deletions.due.sensay-knowledge-base": 1,
		"in the event's trace": 4, "send deletions.attempts.sensay-knowledge-base.{id}.{n}": 3, "send deletions.later.sensay-knowledge-base.{id}": 1,
		"send deletions.results.sensay-knowledge-base.{id}.{outcome}": 1,
		"ack deletions.requests.sensay-knowledge-base":                1, "ack deletions.due.sensay-knowledge-base": 1,
	} {
		if count[name] != want {
			t.Errorf("%d spans %q in the publisher's trace, want %d", count[name], name, want)
		}
	}
	for _, m := range s.messages(events.StreamResults, events.ResultFilter(sensayTarget, r.ID, "")) {
		if got := m.Header["traceparent"]; len(got) != 1 || !strings.Contains(got[0], traceID) {
			t.Errorf("the result's traceparent is %q", got)
		}
	}
}
