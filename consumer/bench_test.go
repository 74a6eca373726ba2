package consumer

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/streams"
)

// The stages of one step, in the order in which a request goes through them;
// BenchmarkLane measures all of them together. The server runs in this process, so its
// allocations count too. It does not sync each message, so storing costs a round trip only.

// deleted is a Deleter that costs nothing.
type deleted struct{}

func (deleted) Delete(context.Context, events.Resource) deleter.Answer { return answerDeleted }

const manyMessages = 1000

func BenchmarkPull(b *testing.B) {
	env := newEnvironment(b)
	requests := make([]events.Request, manyMessages)
	for i := range requests {
		requests[i] = contexts(int64(i + 1))
	}
	env.publish(requests...)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer() // a new consumer delivers all of them again
		if err := env.js.DeleteConsumer(b.Context(), events.StreamRequests, string(kvTarget)); err != nil {
			b.Fatal(err)
		}
		if _, err := env.js.CreateConsumer(b.Context(), events.StreamRequests, streams.LaneConsumer(events.StreamRequests, kvTarget)); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		got := 0
		if err := pull(env.Context(), env.js, events.StreamRequests, string(kvTarget), manyMessages, func(*nats.Msg) { got++ }); err != nil || got != manyMessages {
			b.Fatalf("%d messages: %v", got, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/manyMessages, "ns/message")
}

// All the spans of one step, where none of them is recorded.
func BenchmarkSpansNotSampled(b *testing.B) {
	for _, c := range []struct {
		name   string
		header nats.Header
	}{
		{"new", nil},
		{"continued", nats.Header{"traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			setTracing(b, sdk.NeverSample(), nil)
			trace := newTracing(kvTarget)
			d, records := notSampled(b, c.header)
			jobs := []*job{{delivery: d}}
			b.ReportAllocs()
			for b.Loop() {
				ctx, end := trace.process(b.Context(), d)
				jobs[0].ctx = ctx
				afterProcess(trace, jobs, records)
				end(nil)
			}
		})
	}
}

func BenchmarkClaim(b *testing.B) {
	h := ledger.Progress{Attempts: 1, FirstAttempt: noon, RequestSeq: 1}
	fingerprint := events.Fingerprint(entry(1).Resource)
	b.Run("recording the attempt", func(b *testing.B) {
		env := newEnvironment(b)
		records := New(env.js, env.config(sensayTarget, nil)).ledger
		b.ReportAllocs()
		for b.Loop() {
			if _, err := recordAttempt(b.Context(), records, ledger.NewID(), fingerprint, h, time.Minute); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("an empty ledger", func(b *testing.B) {
		env := newEnvironment(b)
		records := New(env.js, env.config(kvTarget, nil)).ledger
		b.ReportAllocs()
		for b.Loop() {
			if err := records.CheckHead(b.Context(), ledger.NewID(), h); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("a ledger with an attempt", func(b *testing.B) {
		env := newEnvironment(b)
		records, h := New(env.js, env.config(kvTarget, nil)).ledger, h
		id := ledger.NewID()
		var err error
		if h.Seq, err = recordAttempt(b.Context(), records, id, fingerprint, h, 0); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if err := records.CheckHead(b.Context(), id, h); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkBatch(b *testing.B) {
	const requests = 100
	env := newEnvironment(b)
	lane := New(env.js, env.batchConfig(requests, deleted{}))
	env.mayCall(lane)
	jobs := make([]*job, requests)
	for i := range jobs {
		jobs[i] = &job{delivery: &delivery{}, Request: contexts(int64(i + 1))}
	}
	b.ReportAllocs()
	for b.Loop() {
		var full *batch
		lane.batcher.start = func(b *batch) { full = b }
		for _, j := range jobs {
			j.startDeadline = time.Now().Add(time.Minute) // as if claimed
			lane.batcher.add(j, false)
		}
		for _, s := range lane.callFor(b.Context(), b.Context(), 0, lane.batcher.close(full)) {
			if s.answer.Requests != requests {
				b.Fatalf("%+v", s)
			}
		}
	}
}

func BenchmarkNarrow(b *testing.B) {
	const requests = 100
	for _, refused := range []int{0, 1, 10} {
		b.Run(fmt.Sprintf("%d of %d refused", refused, requests), func(b *testing.B) {
			bad := make([]bool, requests)
			for i := range refused {
				bad[i*requests/refused] = true
			}
			b.ReportAllocs()
			for b.Loop() {
				api := &manyAPI{bad: bad}
				if results := api.bisection().run(requests); len(results) != requests {
					b.Fatal(results)
				}
			}
		})
	}
}

func BenchmarkPublishResult(b *testing.B) {
	env := newEnvironment(b)
	lane := New(env.js, env.config(kvTarget, nil))
	answer := answerDeleted
	answer.ObservedAt, answer.CallID = noon, ledger.NewID()
	j := &job{Request: contexts(1), progress: ledger.Progress{Attempts: 1, FirstAttempt: noon, RequestSeq: 1}}
	j.fingerprint = events.Fingerprint(j.Resource)
	b.ReportAllocs()
	for b.Loop() {
		j.ID = ledger.NewID()
		step := decide(lane.config.Rules, j.progress, answer, time.Time{}, noon)
		if err := lane.publishResult(b.Context(), j.ID, j.fingerprint, j.progress, j.result(step)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSchedule(b *testing.B) {
	env := newEnvironment(b)
	lane := New(env.js, env.config(kvTarget, nil))
	r := contexts(1)
	body, err := r.Encode()
	if err != nil {
		b.Fatal(err)
	}
	msg := &nats.Msg{Data: body, Header: nats.Header{"content-type": {events.ContentType}}}
	h, at := ledger.Progress{Attempts: 1, FirstAttempt: noon, RequestSeq: 1}, time.Now().Add(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if err := lane.ledger.Schedule(b.Context(), ledger.NewID(), msg, h, at); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSettle(b *testing.B) {
	env := newEnvironment(b)
	lane := New(env.js, env.config(kvTarget, nil))
	env.publish(contexts(1))
	var taken *nats.Msg
	if err := pull(env.Context(), env.js, events.StreamRequests, string(kvTarget), 1, func(msg *nats.Msg) { taken = msg }); err != nil || taken == nil {
		b.Fatalf("no message: %v", err)
	}
	request := contexts(1)
	b.ReportAllocs()
	for b.Loop() {
		// A message can be acknowledged once; the server ignores a repeat.
		d := &delivery{Msg: &nats.Msg{Subject: taken.Subject, Reply: taken.Reply, Sub: taken.Sub}, request: request}
		if !lane.inflight.add(d) {
			b.Fatal("the previous delivery is still in flight")
		}
		lane.settle(b.Context(), d, ack)
	}
	if err := env.nc.Flush(); err != nil { // sending is part of the work
		b.Fatal(err)
	}
	env.settledOn(events.StreamRequests)
}
