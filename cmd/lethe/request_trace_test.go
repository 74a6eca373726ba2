package main

import (
	"slices"
	"testing"

	traces "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/lethe-dev/lethe/events"
)

// A worker does not record a trace that began unsampled, so a command that exports
// nothing begins none.
func TestAWorkerExportsARequestThatWasPublishedWithoutAnExporter(t *testing.T) {
	b := newBench(t)
	otlp := newReceiver(t)
	b.start(otlp.settings()...)
	b.lethe("request", "kv-user-context", "--id", "1", "--request-id", "plain", "--wait").want(t, 0, "deleted")
	process := "process " + events.RequestSubject(events.KVUserContext)
	b.until("the worker's span", func() bool {
		otlp.mu.Lock()
		defer otlp.mu.Unlock()
		return slices.ContainsFunc(otlp.spans, func(s *traces.Span) bool { return s.GetName() == process && len(s.GetParentSpanId()) == 0 })
	})
}
