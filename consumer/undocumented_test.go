package consumer

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// The API accepts fewer ids in a call than it documents.
func TestRequestsThatAreTooManyForOneCallAreDeletedInSeveral(t *testing.T) {
	env := newEnvironment(t)
	api := &fakeAPI{answer: func(_ int, res events.Resource) deleter.Answer {
		if len(res.(events.UserContexts).IDs) > 5 {
			return deleter.Answer{Verdict: deleter.Retry, UnknownStatus: true, Status: 413}
		}
		return answerDeleted
	}}
	var requests []events.Request
	for id := range int64(40) {
		requests = append(requests, contexts(id+1))
	}
	env.publish(requests...)
	env.run(env.batchConfig(100, api))
	for _, r := range requests {
		if got := env.final(kvTarget, r.ID); got.Outcome != events.Deleted || got.Evidence.CallRequests > 5 {
			t.Errorf("%v is %s, %+v", got.Resource, got.Outcome, got.Evidence)
		}
	}
	env.settled()
}

// Of requests that share a call, only the one that causes an undocumented answer fails.
func TestAnUndocumentedStatusEndsOnlyItsOwnRequest(t *testing.T) {
	t.Parallel()
	for _, target := range events.Targets() {
		t.Run(string(target), func(t *testing.T) {
			env := newEnvironment(t)
			const bad = 13
			api := &fakeAPI{answer: func(_ int, res events.Resource) deleter.Answer {
				if contexts, ok := res.(events.UserContexts); ok && slices.Contains(contexts.IDs, bad) || firstID(res) == bad {
					return answerUndocumented
				}
				return answerDeleted
			}}
			var requests []events.Request
			for id := range int64(20) {
				requests = append(requests, request(target, id+1))
			}
			env.publish(requests...)
			c := env.configFor(target, api)
			c.Rules.Retry.MaxElapsed = 200 * time.Millisecond
			env.run(c)
			for i, r := range requests {
				got := env.final(target, r.ID)
				switch {
				case i+1 != bad && got.Outcome != events.Deleted:
					t.Errorf("%v is %s, %+v", got.Resource, got.Outcome, got.Error)
				case i+1 == bad && (got.Outcome != events.Failed || got.Error.Code != events.CodeUnexpectedAnswer || got.Evidence.CallRequests != 1 || got.Attempts < 3):
					t.Errorf("%v is %s after %d attempts, %+v", got.Resource, got.Outcome, got.Attempts, got.Error)
				}
			}
			env.settled()
		})
	}
}

// An endpoint may be retired, or an account closed. Few calls are made then, and no request
// of the backlog fails.
func TestAMissingEndpointDoesNotFailTheBacklog(t *testing.T) {
	t.Parallel()
	for _, target := range events.Targets() {
		t.Run(string(target), func(t *testing.T) {
			env := newEnvironment(t)
			const n = 300
			var back atomic.Bool
			api := &fakeAPI{answer: func(int, events.Resource) deleter.Answer {
				if back.Load() {
					return answerDeleted
				}
				return answerUndocumented
			}}
			for id := range int64(n) {
				env.publish(request(target, id+1))
			}
			c := env.configFor(target, api)
			c.BatchLinger = 5 * time.Millisecond
			lane, _ := env.run(c)
			env.until("the breaker is open", func() bool { return lane.State().Status == StatusFailing })
			if calls := api.count(); calls > 100 {
				t.Errorf("%d calls until the breaker is open", calls)
			}
			probes := api.count() + 10
			env.until("it is probed for some time", func() bool { return api.count() > probes })
			if results := env.results("deletions.results.>"); len(results) != 0 {
				t.Errorf("%d results, the first is %+v", len(results), results[0])
			}
			back.Store(true)
			env.settled()
			if got := len(env.results(events.ResultFilter(target, "", events.Deleted))); got != n {
				t.Errorf("%d of %d are deleted", got, n)
			}
		})
	}
}

// While a shared call is bisected, another worker can finish one of its requests, and
// receive the message of another.
func TestARequestOfAnotherWorkerGoesIntoNoFurtherCall(t *testing.T) {
	env := newEnvironment(t)
	requests := []events.Request{contexts(1), contexts(2), contexts(3)}
	jobs := make([]*job, len(requests))
	api := &fakeAPI{}
	lane := New(env.js, env.batchConfig(100, api))
	env.mayCall(lane)
	api.answer = func(call int, _ events.Resource) deleter.Answer {
		if call > 1 {
			return answerDeleted
		}
		done := &job{Request: requests[1], progress: ledger.Progress{Attempts: 1}}
		if err := lane.publishResult(t.Context(), done.ID, jobs[1].fingerprint, done.progress, done.result(
			nextStep{outcome: events.Deleted, evidence: events.Evidence{Status: 200, ObservedAt: time.Now()}})); err != nil {
			t.Error(err)
		}
		past := time.Now().Add(-time.Hour)
		jobs[2].extendedAt.Store(&past)
		for _, j := range jobs {
			j.startDeadline = past // so that the next call checks the claims again
		}
		return deleter.Answer{Verdict: deleter.Invalid, Status: 422, Message: "no"}
	}
	for i, r := range requests {
		d, _ := env.delivered(0)
		jobs[i] = &job{delivery: d, Request: r, ctx: t.Context(), fingerprint: events.Fingerprint(r.Resource)}
		jobs[i].startDeadline = time.Now().Add(time.Minute)
	}
	for i, got := range lane.callFor(t.Context(), t.Context(), 0, jobs) {
		if got.retry != (i > 0) {
			t.Errorf("request %d: %+v", i, got)
		}
	}
	if diff := cmp.Diff([]string{fmt.Sprint(contexts(1, 2, 3).Resource), fmt.Sprint(contexts(1).Resource)}, api.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}
