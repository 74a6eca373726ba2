package consumer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/limiter"
	"github.com/lethe-dev/lethe/internal/streams"
)

// batchConfig is a lane's configuration in which requests wait up to a second to share a call.
func (env *environment) batchConfig(ids int, d deleter.Deleter) Config {
	c := env.config(kvTarget, d)
	c.BatchIDs, c.BatchLinger = ids, time.Second
	return c
}

// configFor is batchConfig for k-v.ai, and config for an API that takes one request in a call.
func (env *environment) configFor(target events.Target, d deleter.Deleter) Config {
	if target == sensayTarget {
		return env.config(target, d)
	}
	return env.batchConfig(100, d)
}

// refusing returns a fake of k-v.ai that refuses a call with one of the bad ids.
func refusing(status int, names bool, bad ...int64) *fakeAPI {
	return &fakeAPI{answer: func(_ int, res events.Resource) deleter.Answer {
		var refused []int64
		for _, id := range res.(events.UserContexts).IDs {
			if slices.Contains(bad, id) {
				refused = append(refused, id)
			}
		}
		if len(refused) == 0 {
			return answerDeleted
		}
		answer := deleter.Answer{Verdict: deleter.Invalid, Status: status, Message: "no"}
		if names {
			answer.Refused = refused
		}
		return answer
	}}
}

func TestRequestsThatWaitTogetherShareACall(t *testing.T) {
	env := newEnvironment(t)
	calls := answering(answerDeleted)
	requests := []events.Request{contexts(1, 2), contexts(2, 3), contexts(4), contexts(5), contexts(6, 7, 8, 9, 10, 11)}
	env.publish(requests...)
	env.run(env.batchConfig(6, calls))
	callIDs := map[string]int{}
	for _, r := range requests {
		got := env.final(kvTarget, r.ID)
		if got.Outcome != events.Deleted || got.Attempts != 1 {
			t.Errorf("%v is %s after %d attempts", got.Resource, got.Outcome, got.Attempts)
		}
		callIDs[got.Evidence.CallID] = got.Evidence.CallRequests
	}
	env.settled()
	// Two share an id, which is sent once; the large one is not split.
	if got := slices.Sorted(slices.Values(calls.calls)); !slices.Contains(got, fmt.Sprint(requests[4].Resource)) || calls.count() > 3 {
		t.Errorf("the calls are %v", got)
	}
	if len(callIDs) != calls.count() {
		t.Errorf("results name the calls %v", callIDs)
	}
	for _, res := range calls.calls {
		if res == fmt.Sprint(contexts(1, 2, 2, 3).Resource) {
			t.Errorf("an id is sent twice: %s", res)
		}
	}
}

func TestEachRequestOfARefusedCallHasItsOwnResult(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		names  bool
		calls  int
	}{
		"422 that names positions": {422, true, 2},
		"422 that names none":      {422, false, 8},
		"206 with a list":          {206, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			calls := refusing(c.status, c.names, 13)
			var requests []events.Request
			for id := range int64(16) {
				requests = append(requests, contexts(id*2+1, id*2+2))
			}
			env.publish(requests...)
			env.run(env.batchConfig(100, calls))
			for i, r := range requests {
				got := env.final(kvTarget, r.ID)
				want := events.Deleted
				if i == 6 { // 13 and 14
					want = events.Invalid
				}
				if got.Outcome != want {
					t.Errorf("%v is %s, want %s", got.Resource, got.Outcome, want)
				}
				if c.names && i == 6 && !slices.Equal(got.Error.IDs, []int64{13}) {
					t.Errorf("refused are %v", got.Error.IDs)
				}
			}
			env.settled()
			if calls.count() > c.calls {
				t.Errorf("%d calls, want at most %d", calls.count(), c.calls)
			}
		})
	}
}

func TestALostCallLeavesEachOfItsRequestsUnanswered(t *testing.T) {
	env := newEnvironment(t)
	requests := []events.Request{contexts(1), contexts(2), contexts(3)}
	env.publish(requests...)
	calls := answering(answerLost, answerDeleted)
	env.run(env.batchConfig(100, calls))
	for _, r := range requests {
		if got := env.final(kvTarget, r.ID); got.Outcome != events.Deleted || got.Attempts != 2 {
			t.Errorf("%s after %d attempts", got.Outcome, got.Attempts)
		}
	}
	unanswered := 0
	for _, m := range env.messages(events.StreamResults, "deletions.attempts.>") {
		if ledger.ReadProgress(m.Header).MayHaveDeleted {
			unanswered++
		}
	}
	if unanswered != len(requests) {
		t.Errorf("%d of %d requests know that a call was not answered", unanswered, len(requests))
	}
	env.settled()
}

func TestAnAnsweredRequestGoesIntoNoCall(t *testing.T) {
	env := newEnvironment(t)
	calls := answering(answerDeleted)
	_, stop := env.run(env.batchConfig(100, calls))
	old := contexts(1)
	env.publish(old)
	env.final(kvTarget, old.ID)
	env.settled()
	stop()
	fresh := contexts(2)
	env.publish(old, fresh)
	env.run(env.batchConfig(100, calls))
	env.final(kvTarget, fresh.ID)
	env.settled()
	if got := calls.calls[len(calls.calls)-1]; calls.count() != 2 || got != fmt.Sprint(fresh.Resource) {
		t.Errorf("the calls are %v", calls.calls)
	}
}

// newJob returns a job for a message that was just delivered.
func (env *environment) newJob(r events.Request) *job {
	env.Helper()
	d, _ := env.delivered(0)
	d.request = r
	return &job{delivery: d, Request: r, fingerprint: events.Fingerprint(r.Resource), ctx: env.Context(), end: unrecorded}
}

// hasRecord stores an attempt of j without a lease.
func (env *environment) hasRecord(l *Lane, j *job, p ledger.Progress) (seq uint64) {
	env.Helper()
	seq, err := recordAttempt(env.Context(), l.ledger, j.ID, j.fingerprint, p, 0)
	if err != nil {
		env.Fatal(err)
	}
	return seq
}

// Behind a backlog, a request that had to wait for a second permission would never get
// a call: its claim would expire each time.
func TestARequestWithRecordsGoesIntoTheCallThatItWaitedFor(t *testing.T) {
	env := newEnvironment(t)
	calls := answering(answerDeleted)
	l := New(env.js, env.batchConfig(100, calls))
	l.batcher.start = func(*batch) { t.Error("a second batch was started") }
	env.mayCall(l)
	jobs := []*job{env.newJob(contexts(1)), env.newJob(contexts(2)), env.newJob(contexts(3))}
	for _, j := range jobs[1:] {
		j.progress.Attempts, j.progress.Waits = 1, 1
		j.progress.Seq = env.hasRecord(l, j, j.progress)
	}
	l.work(t.Context(), t.Context(), &batch{jobs: jobs, full: make(chan struct{})})
	l.steps.Wait()
	if calls.count() != 1 {
		t.Fatalf("the calls are %v", calls.calls)
	}
	for i, j := range jobs {
		if got := env.final(kvTarget, j.ID); got.Evidence.CallRequests != len(jobs) || got.Attempts != min(i, 1)+1 {
			t.Errorf("request %d: attempts %d, in a call for %d", i, got.Attempts, got.Evidence.CallRequests)
		}
	}
}

// blockedReads is a ledger that reads the records of one request once may is closed.
type blockedReads struct {
	requestLedger
	id  string
	may chan struct{}
}

func (s blockedReads) CheckHead(ctx context.Context, id string, p ledger.Progress) error {
	if id == s.id {
		<-s.may
	}
	return s.requestLedger.CheckHead(ctx, id, p)
}

func TestACallLeavesOutRequestsThatAreDelayedOrMustBeAlone(t *testing.T) {
	env := newEnvironment(t)
	calls := answering(answerDeleted)
	l := New(env.js, env.batchConfig(100, calls))
	jobs := []*job{env.newJob(contexts(1)), env.newJob(contexts(2)), env.newJob(contexts(3)), env.newJob(contexts(4))}
	heldUp, single := jobs[2], jobs[3]
	env.hasRecord(l, single, ledger.Progress{Attempts: 1, Alone: true}) // a record that its message does not carry
	may := make(chan struct{})
	l.ledger = blockedReads{l.ledger, heldUp.ID, may}
	started := make(chan *batch, len(jobs))
	l.batcher.start = func(b *batch) { started <- b }
	env.mayCall(l)
	l.work(t.Context(), t.Context(), &batch{jobs: jobs, full: make(chan struct{})})
	close(may)
	l.steps.Wait()
	if want := fmt.Sprint(contexts(1, 2).Resource); calls.count() != 1 || calls.calls[0] != want && calls.calls[0] != fmt.Sprint(contexts(2, 1).Resource) {
		t.Errorf("the calls are %v", calls.calls)
	}
	later := map[*job]bool{}
	for range 2 {
		select {
		case b := <-started:
			later[b.jobs[0]] = b.alone
		default:
			t.Fatal("a job is in no batch")
		}
	}
	if alone, in := later[heldUp]; !in || alone {
		t.Errorf("the delayed request is in a later batch: %t, alone: %t", in, alone)
	}
	if !later[single] {
		t.Error("the request that must be alone is in no batch of its own")
	}
}

// lateAcks is a ledger whose acknowledgements of many records come too late.
type lateAcks struct{ requestLedger }

func (l lateAcks) AppendAll(ctx context.Context, all []*ledger.Pending) {
	l.requestLedger.AppendAll(ctx, all)
	for _, p := range all {
		p.Stored, p.Progress.Seq = false, 0
	}
}

// recordedBatchConfig is for an API that takes many requests in a call, and whose answer
// depends on earlier calls.
func (env *environment) recordedBatchConfig(d deleter.Deleter) Config {
	c := env.batchConfig(100, d)
	c.RecordAttempts = true
	return c
}

// A second record for the same attempt would mark the attempt as one that may have deleted.
func TestALateAcknowledgementOfAClaimLeavesOneRecord(t *testing.T) {
	env := newEnvironment(t)
	l := New(env.js, env.recordedBatchConfig(answering(answerNotFound)))
	l.ledger = lateAcks{l.ledger}
	env.mayCall(l)
	jobs := []*job{env.newJob(contexts(1)), env.newJob(contexts(2))}
	l.work(t.Context(), t.Context(), &batch{jobs: jobs, full: make(chan struct{})})
	l.steps.Wait()
	for _, j := range jobs {
		if got := env.final(kvTarget, j.ID); got.Outcome != events.NotFound || got.Attempts != 1 || got.Evidence.CallRequests != len(jobs) {
			t.Errorf("%s after %d attempts, in a call for %d", got.Outcome, got.Attempts, got.Evidence.CallRequests)
		}
		if n := len(env.messages(events.StreamResults, events.AttemptSubject(kvTarget, j.ID, 1))); n != 1 {
			t.Errorf("%d records of the attempt", n)
		}
	}
}

// The lease of a record counts from its first publish, however long the worker waited since.
func TestAClaimThatIsAppendedAgainLastsFromItsFirstAppend(t *testing.T) {
	env := newEnvironment(t)
	l := New(env.js, env.recordedBatchConfig(nil))
	l.ledger = lateAcks{l.ledger}
	env.mayCall(l)
	j := env.newJob(contexts(1))
	begun := time.Now()
	l.tryClaims(t.Context(), []*job{j}, begun)
	if !l.claim(j) || j.startDeadline.After(begun.Add(leaseSlack)) {
		t.Errorf("a call may begin until %s after the claim", j.startDeadline.Sub(begun))
	}
}

func TestAFurtherCallOfARecordedClaimBeginsWithinItsLease(t *testing.T) {
	t.Parallel()
	for _, recorded := range []bool{true, false} {
		t.Run(fmt.Sprintf("recorded: %t", recorded), func(t *testing.T) {
			env := newEnvironment(t)
			config := env.recordedBatchConfig(nil)
			config.RecordAttempts = recorded
			l := New(env.js, config)
			jobs := []*job{env.newJob(contexts(1)), env.newJob(contexts(2))}
			if got := l.claimAll(t.Context(), jobs); len(got) != len(jobs) {
				t.Fatalf("%d are claimed", len(got))
			}
			jobs[1].startDeadline = time.Now() // passed
			still := l.stillClaimed(t.Context(), jobs, []int{0, 1})
			if want := map[bool][]int{true: {0}, false: {0, 1}}[recorded]; !slices.Equal(still, want) {
				t.Errorf("%v go into a further call, want %v", still, want)
			}
		})
	}
}

// A call counts even if the message is delivered again.
func TestCallsBeforeAMessageIsReturnedCount(t *testing.T) {
	env := newEnvironment(t)
	r := contexts(1)
	env.publish(r)
	l := New(env.js, env.batchConfig(100, nil))
	stop, end := context.WithCancel(t.Context())
	end()
	j := env.newJob(r)
	if l.claimAll(t.Context(), []*job{j}) == nil {
		t.Fatal("not claimed")
	}
	l.retry(stop, j, callResult{retry: true, calls: 3})
	env.run(env.config(kvTarget, answering(answerDeleted)))
	if got := env.final(kvTarget, r.ID); got.Attempts != 4 {
		t.Errorf("%d attempts are counted, 4 were made", got.Attempts)
	}
	env.settled()
}

// A batch may wait for its permission while another call gets a 403.
func TestABatchFormedBeforeARefusalIsCalledOneByOne(t *testing.T) {
	env := newEnvironment(t)
	calls := answering(answerDeleted)
	l := New(env.js, env.batchConfig(100, calls))
	env.mayCall(l)
	started := make(chan *batch, 2)
	l.batcher.start = func(b *batch) { started <- b }
	jobs := []*job{env.newJob(contexts(1)), env.newJob(contexts(2)), env.newJob(contexts(3))}
	l.breaker.Record(answerForbidden, limiter.Call{})
	l.work(t.Context(), t.Context(), &batch{jobs: jobs, full: make(chan struct{})})
	close(started)
	later := 0
	for b := range started {
		if later++; !b.alone {
			t.Error("the others share a call again")
		}
	}
	if later != len(jobs)-1 {
		t.Errorf("%d others wait for a call", later)
	}
	if got := env.results("deletions.results.>"); len(got) != 1 || got[0].Evidence.CallRequests != 1 {
		t.Errorf("the calls are %v", calls.calls)
	}
}

func TestTheSpanOfACallLinksToEveryRequestInIt(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	otel.SetTracerProvider(sdk.NewTracerProvider(sdk.WithSyncer(spans)))
	env := bareEnvironment(t)
	if err := streams.Setup(t.Context(), env.js, settings); err != nil {
		t.Fatal(err)
	}
	requests := []events.Request{contexts(1), contexts(2), contexts(3)}
	env.publish(requests...)
	_, stop := env.run(env.batchConfig(100, answering(answerDeleted)))
	for _, r := range requests {
		env.final(kvTarget, r.ID)
	}
	env.settled()
	stop()
	process := map[string]bool{}
	var links []sdk.Link
	for _, span := range spans.GetSpans() {
		if span.Name == "process "+events.RequestSubject(kvTarget) {
			process[span.SpanContext.SpanID().String()] = true
		}
		if span.Name == "call for many" {
			links = append(links, span.Links...)
		}
	}
	for _, link := range links {
		if !process[link.SpanContext.SpanID().String()] {
			t.Errorf("a link to %s, which is not the span of a request", link.SpanContext.SpanID())
		}
	}
	if len(links) != len(requests) {
		t.Errorf("%d links", len(links))
	}
}

func TestASlowAPIGetsAllTheCallsThatConcurrencyAllows(t *testing.T) {
	env := newEnvironment(t)
	const calls, ids = 50, 10 // more requests than may wait at the same time
	publish := func(from int64) {
		var requests []events.Request
		for id := range int64(calls * ids) {
			requests = append(requests, contexts(from+id))
		}
		env.publish(requests...)
	}
	proceed := make(chan struct{})
	release := sync.OnceFunc(func() { close(proceed) })
	defer release()
	const slow = 1_000_000 // the API is slow for ids from here on
	var out atomic.Int32
	api := &fakeAPI{answer: func(_ int, res events.Resource) deleter.Answer {
		if res.(events.UserContexts).IDs[0] >= slow {
			out.Add(1)
			<-proceed
		}
		return answerDeleted
	}}
	c := env.batchConfig(ids, api)
	c.Concurrency, c.Timeout = calls, time.Minute
	env.run(c)
	publish(1) // so that the lane raises its concurrency
	env.settled()
	publish(slow)
	env.until("all calls are in flight", func() bool { return out.Load() == calls })
	release()
	env.settled()
	if got := len(env.results("deletions.results.>")); got != 2*calls*ids {
		t.Errorf("%d results of %d", got, 2*calls*ids)
	}
}
