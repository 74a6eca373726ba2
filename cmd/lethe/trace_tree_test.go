package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/fakeapi"
)

// publisherTrace is the trace of a publisher with its own spans.
const publisherTrace = "0af7651916cd43dd8448eb211c80319c"

// The picture in docs/operations.md is what the commands and a worker export for each
// kind of life, and each result carries the context of the span that sent it.
func TestTheSpansOfEachKindOfLife(t *testing.T) {
	b := newBench(t)
	b.ignoreCalls()
	otlp := newReceiver(t)
	entryAt := func(id int64) fakeapi.Entry { return fakeapi.KnowledgeBaseEntry(demoReplica, id) }
	for of, steps := range map[fakeapi.Entry][]fakeapi.Step{
		entryAt(2):         {{Fault: "503"}},
		entryAt(3):         {{Fault: fakeapi.AcceptPending}, {Fault: "404"}},
		fakeapi.Context(6): {{Fault: "418", Times: 2}},
	} {
		if err := b.apis.Script(of, steps...); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.apis.SetEntry(entryAt(4), fakeapi.StateUnknown); err != nil {
		t.Fatal(err)
	}
	traced := func(args ...string) {
		t.Helper()
		cmd := command(t, b.server.ClientURL(), args...)
		cmd.Env = append(cmd.Env, otlp.settings()...)
		if out, err := cmd.CombinedOutput(); err != nil && !strings.Contains(string(out), "failed") {
			t.Fatalf("lethe %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	entry := func(id, number string) {
		traced("request", "sensay-knowledge-base", "--replica", demoReplica.String(), "--entry", number, "--request-id", id, "--wait")
	}

	// These wait together when the worker comes, and one call takes two ids.
	traced("request", "--file", b.file("two.ndjson", `{"target":"kv-user-context","ids":[7],"id":"batched-1"}
{"target":"kv-user-context","ids":[8],"id":"batched-2"}
`))
	w := b.start(append(otlp.settings(), "KV_BATCH_IDS=2", "KV_BATCH_LINGER=1s", "CONFIRM_AFTER=500ms",
		"RETRY_INITIAL_INTERVAL=1s", "RETRY_RANDOMIZATION=0", "RETRY_MAX_INTERVAL=10s", "RETRY_MAX_ELAPSED=2500ms")...)
	batched := events.NewRequest("/test", events.UserContexts{IDs: []int64{8}})
	batched.ID = "batched-2"
	b.final(batched)
	traced("request", "kv-user-context", "--id", "1", "--request-id", "deleted", "--wait")
	entry("retried", "2")
	entry("pending", "3")
	entry("not-found", "4")
	invalid := &nats.Msg{Subject: events.RequestSubject(events.KVUserContext), Data: []byte("{}"), Header: nats.Header{
		"traceparent": {"00-" + publisherTrace + "-b7ad6b7169203331-01"}}}
	ack, err := b.js.PublishMsg(t.Context(), invalid)
	if err != nil {
		t.Fatal(err)
	}
	refused := events.NewRequest("/test", events.UserContexts{IDs: []int64{1}})
	refused.ID = events.SequenceID(ack.Sequence)
	b.final(refused)
	traced("request", "kv-user-context", "--id", "6", "--request-id", "failed", "--wait")
	again := events.NewRequest("/test", events.UserContexts{IDs: []int64{6}})
	again.ID = "failed"
	traced("failed", "replay", again.ID)
	b.until("the replay's result", func() bool { return len(b.results(again)) == 2 })

	if err := w.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := w.Wait(); err != nil {
		t.Fatal(err)
	}
	f := newForest(otlp)
	picture := "```text\n"
	for _, life := range []struct {
		title  string
		traces []string
	}{
		{"deleted at once", f.of("deleted")},
		{"retried, then deleted", f.of("retried")},
		{"accepted-pending, then confirmed", f.of("pending")},
		{"not-found", f.of("not-found")},
		{"invalid (the publisher's span is the parent)", []string{publisherTrace}},
		{"failed, then replayed", f.of("failed")},
		{"two requests, one call", slices.Concat(f.of("batched-1"), f.of("batched-2"), f.linked())},
	} {
		picture += life.title + "\n"
		for _, id := range life.traces {
			picture += f.tree(id)
		}
	}
	compareDocument(t, "../../docs/operations.md", "traces", picture+"```\n")
	for _, m := range b.messages(events.StreamResults) {
		parent := strings.Split(m.Header.Get("traceparent"), "-")
		if len(parent) != 4 {
			t.Fatalf("%s: the traceparent is %q", m.Subject, m.Header.Get("traceparent"))
		}
		if s := f.byID[parent[2]]; s == nil || !strings.HasPrefix(s.Name, "send "+strings.Join(strings.Split(m.Subject, ".")[:3], ".")) {
			t.Errorf("%s carries the context of %v", m.Subject, s)
		}
	}
}

// forest is all spans that were received.
type forest struct {
	spans []*traces.Span
	byID  map[string]*traces.Span
}

func newForest(r *receiver) *forest {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := &forest{spans: slices.Clone(r.spans), byID: map[string]*traces.Span{}}
	slices.SortStableFunc(f.spans, func(a, b *traces.Span) int { return cmp.Compare(a.StartTimeUnixNano, b.StartTimeUnixNano) })
	for _, s := range f.spans {
		f.byID[fmt.Sprintf("%x", s.SpanId)] = s
	}
	return f
}

// of are the traces that the publish of a request began.
func (f *forest) of(request string) (ids []string) {
	for _, s := range f.spans {
		if s.Kind == traces.Span_SPAN_KIND_PRODUCER && len(s.ParentSpanId) == 0 && attributeOf(s.Attributes, "messaging.message.id") == request {
			ids = append(ids, fmt.Sprintf("%x", s.TraceId))
		}
	}
	return ids
}

// linked are the traces that begin with links to others.
func (f *forest) linked() (ids []string) {
	for _, s := range f.spans {
		if len(s.ParentSpanId) == 0 && len(s.Links) > 0 {
			ids = append(ids, fmt.Sprintf("%x", s.TraceId))
		}
	}
	return ids
}

// tree draws a trace, one span a line: its name and kind, its error, and the spans that
// it is linked to.
func (f *forest) tree(trace string) string {
	var drawn strings.Builder
	var draw func(s *traces.Span, depth int)
	draw = func(s *traces.Span, depth int) {
		fmt.Fprintf(&drawn, "%s%s (%s)", strings.Repeat("  ", depth), s.Name, strings.ToLower(strings.TrimPrefix(s.Kind.String(), "SPAN_KIND_")))
		if s.Status.GetCode() == traces.Status_STATUS_CODE_ERROR {
			fmt.Fprintf(&drawn, ", error %s", attributeOf(s.Attributes, "error.type"))
		}
		linked := map[string]int{}
		for _, l := range s.Links {
			linked[f.byID[fmt.Sprintf("%x", l.SpanId)].GetName()]++
		}
		for _, name := range slices.Sorted(maps.Keys(linked)) {
			fmt.Fprintf(&drawn, ", linked to %d %q", linked[name], name)
		}
		drawn.WriteString("\n")
		for _, child := range f.spans {
			if string(child.ParentSpanId) == string(s.SpanId) {
				draw(child, depth+1)
			}
		}
	}
	for _, s := range f.spans {
		if fmt.Sprintf("%x", s.TraceId) == trace && f.byID[fmt.Sprintf("%x", s.ParentSpanId)] == nil {
			draw(s, 1)
		}
	}
	return drawn.String()
}

func attributeOf(attributes []*common.KeyValue, key string) string {
	for _, a := range attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// A request that is sampled can be found from the histogram of durations.
func TestTheRequestDurationLeadsToATrace(t *testing.T) {
	b := newBench(t)
	b.ignoreCalls()
	w := b.start(newReceiver(t).settings()...)
	const other = "1af7651916cd43dd8448eb211c80319c"
	for id, header := range map[int64]string{1: "00-" + publisherTrace + "-b7ad6b7169203331-01", 2: "00-" + other + "-b7ad6b7169203331-00"} {
		r := events.NewRequest("/test", events.UserContexts{IDs: []int64{id}})
		event, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		msg := requestMessage(row{Request: r, event: event})
		msg.Header.Set("traceparent", header)
		if _, err := b.js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
		b.final(r)
	}
	b.shows(w, "lethe_request_duration_seconds_count{lethe_outcome=\"deleted\","+ofKV+"}", exactly(2))
	page, err := w.scrapeAs("application/openmetrics-text")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for line := range strings.Lines(page.text) {
		found = found || strings.HasPrefix(line, "lethe_request_duration_seconds_bucket{") && strings.Contains(line, ` # {`) && strings.Contains(line, `trace_id="`+publisherTrace+`"`)
	}
	if !found || strings.Contains(page.text, other) {
		t.Errorf("the sampled request has no exemplar, or the other one has:\n%s", page.text)
	}
}
