package main

import (
	"strings"
	"testing"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/fakeapi"
)

// A replay, and what comes of it, belongs to the trace of the request that failed.
func TestAReplayContinuesTheTraceOfItsRequest(t *testing.T) {
	b := newBench(t)
	if err := b.apis.Script(fakeapi.Context(1), fakeapi.Step{Fault: "418", Times: -1}); err != nil {
		t.Fatal(err)
	}
	b.start("RETRY_MAX_ELAPSED=500ms")
	r := b.publish(events.UserContexts{IDs: []int64{1}})
	if got := b.final(r); got.Outcome != events.Failed {
		t.Fatalf("the request is %s", got.Outcome)
	}
	if err := b.apis.Script(fakeapi.Context(1)); err != nil {
		t.Fatal(err)
	}
	b.lethe("failed", "replay", r.ID).want(t, 0, "replayed")
	b.until("the replay's result", func() bool { return len(b.results(r)) == 2 })

	traces := map[string]bool{}
	l := &resultReader{js: b.js, warn: b.Output()}
	err := l.each(t.Context(), selection{subject: events.ResultFilter(r.Target(), r.ID, "")}, func(r *storedResult) (bool, error) {
		parts := strings.Split(r.header.Get("traceparent"), "-")
		if len(parts) != 4 {
			t.Fatalf("the traceparent is %q", r.header.Get("traceparent"))
		}
		traces[parts[1]] = true
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(traces) != 1 {
		t.Errorf("the two results are in %d traces: %v", len(traces), traces)
	}
}
