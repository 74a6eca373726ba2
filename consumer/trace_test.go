package consumer

import (
	"context"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/streams"
)

// setTracing sets the sampler and the exporter of spans, and propagates their context, until the
// test ends. Tracing is global to the process, so the test must not be parallel.
func setTracing(t testing.TB, sampler sdk.Sampler, exporter sdk.SpanExporter) {
	t.Helper()
	options := []sdk.TracerProviderOption{sdk.WithSampler(sampler)}
	if exporter != nil {
		options = append(options, sdk.WithSyncer(exporter))
	}
	provider, propagator := otel.GetTracerProvider(), otel.GetTextMapPropagator()
	otel.SetTracerProvider(sdk.NewTracerProvider(options...))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	t.Cleanup(func() { otel.SetTracerProvider(provider); otel.SetTextMapPropagator(propagator) })
}

// newSerialEnvironment is [newEnvironment] for a test that must not be parallel.
func newSerialEnvironment(t *testing.T) *environment {
	t.Helper()
	env := bareEnvironment(t)
	if err := streams.Setup(t.Context(), env.js, settings); err != nil {
		t.Fatal(err)
	}
	return env
}

// notSampled returns a delivery of a request, and its records.
func notSampled(t testing.TB, header nats.Header) (*delivery, []*ledger.Pending) {
	t.Helper()
	d := &delivery{Msg: &nats.Msg{Subject: events.RequestSubject(kvTarget), Header: header}, request: contexts(1)}
	l := ledger.New(nil, kvTarget, "here", testLog())
	return d, []*ledger.Pending{l.NewAttempt(t.Context(), d.request.ID, "", ledger.Progress{}, 0)}
}

// afterProcess begins and ends the spans of one step, except the one for processing.
func afterProcess(t *tracing, jobs []*job, records []*ledger.Pending) {
	j := jobs[0]
	t.request(j.ctx, j.request)
	_, end := t.call(context.Background(), jobs)
	end()
	t.answered(j.ctx, 1, answerDeleted)
	_, stored := t.append(j.ctx, "result", records[0])
	stored(nil)
	t.appendAll(func(int) context.Context { return j.ctx }, "result", records)()
	_, scheduled := t.publish(j.ctx, "schedule", j.Subject)
	scheduled(nil)
	t.outcome(j.ctx, events.Deleted, nil)
	t.settle(j.ctx, string(ack), j.Subject)(nil)
}

func TestSpansThatAreNotSampledAllocateNothing(t *testing.T) {
	setTracing(t, sdk.NeverSample(), nil)
	trace := newTracing(kvTarget)
	for name, header := range map[string]nats.Header{
		"a new trace":       nil,
		"a continued trace": {"traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}},
	} {
		d, records := notSampled(t, header)
		// The SDK itself allocates to find out that the span is not sampled.
		plain := testing.AllocsPerRun(100, func() {
			ctx := otel.GetTextMapPropagator().Extract(t.Context(), ledger.HeaderCarrier(d.Header))
			_, span := trace.tracer.Start(ctx, trace.requested, trace.processing...)
			span.End()
		})
		if got := testing.AllocsPerRun(100, func() {
			_, end := trace.process(t.Context(), d)
			end(nil)
		}); got > plain {
			t.Errorf("%s: processing allocates %v times, the SDK alone %v times", name, got, plain)
		}
		ctx, end := trace.process(t.Context(), d)
		jobs := []*job{{delivery: d, ctx: ctx}}
		if got := testing.AllocsPerRun(100, func() { afterProcess(trace, jobs, records) }); got > 0 {
			t.Errorf("%s: the spans after processing allocate %v times", name, got)
		}
		end(nil)
	}
}

// Each request of a shared call has spans for its own records, stored or refused.
func TestRecordsThatAreStoredTogetherHaveASpanEach(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	setTracing(t, sdk.AlwaysSample(), spans)
	env := newSerialEnvironment(t)
	l := New(env.js, env.recordedBatchConfig(answering(answerDeleted)))
	env.mayCall(l)
	stored, other := env.newJob(contexts(1)), env.newJob(contexts(2))
	env.hasRecord(l, other, ledger.Progress{Attempts: 1}) // so its claim is refused
	spans.Reset()
	for _, j := range []*job{stored, other} {
		j.ctx, j.end = l.trace.process(t.Context(), j.delivery)
		l.trace.request(j.ctx, j.Request)
	}
	l.work(t.Context(), t.Context(), &batch{jobs: []*job{stored, other}, full: make(chan struct{})})
	l.steps.Wait()

	sent := map[string][]codes.Code{}
	for _, s := range spans.GetSpans() {
		for _, j := range []*job{stored, other} {
			if strings.HasPrefix(s.Name, "send deletions.attempts.") && s.Parent.SpanID() == trace.SpanContextFromContext(j.ctx).SpanID() {
				sent[j.ID] = append(sent[j.ID], s.Status.Code)
			}
		}
	}
	if got := sent[stored.ID]; len(got) != 1 || got[0] != codes.Unset {
		t.Errorf("the claim that was stored has the spans %v", got)
	}
	if got := sent[other.ID]; len(got) < 2 || got[0] != codes.Error {
		t.Errorf("the claim that was refused has the spans %v", got)
	}
}

// One trace leads from the publisher through the schedule into the result.
func TestATraceContinuesThroughTheScheduleToTheResult(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	setTracing(t, sdk.AlwaysSample(), spans)
	env := newSerialEnvironment(t)
	_, stop := env.run(env.config(sensayTarget, answering(answerBusy, answerDeleted)))
	r := entry(7)
	body, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const traceID, inEvent = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c"
	env.publishRaw(sensayTarget, body, nats.Header{"traceparent": {"00-" + traceID + "-b7ad6b7169203331-01"}})
	env.final(sensayTarget, r.ID)
	other := entry(8)
	other.TraceParent = "00-" + inEvent + "-b7ad6b7169203331-01"
	env.publish(other)
	env.final(sensayTarget, other.ID)
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
	for _, m := range env.messages(events.StreamResults, events.ResultFilter(sensayTarget, r.ID, "")) {
		if got := m.Header["traceparent"]; len(got) != 1 || !strings.Contains(got[0], traceID) {
			t.Errorf("the result's traceparent is %q", got)
		}
	}
}
