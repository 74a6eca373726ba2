package consumer

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
)

// sameResult compares results without the fields that are new in each.
var sameResult = cmp.Options{
	cmpopts.IgnoreFields(events.Result{}, "EventID", "Time"),
	cmpopts.IgnoreFields(events.Evidence{}, "CallID", "ObservedAt"),
}

// A result contains all evidence, whether its request shared a call or not.
func TestAResultContainsAllEvidence(t *testing.T) {
	t.Parallel()
	done := deleter.Answer{Verdict: deleter.Deleted, Status: 200, Message: "done", APIRequestID: "api-1"}
	refusal := deleter.Answer{Verdict: deleter.Invalid, Status: 422, Message: "no such id", APIRequestID: "api-2"}
	for _, c := range []struct {
		name     string
		requests []events.Request
		answer   deleter.Answer
		outcome  events.Outcome
		problem  *events.ResultError
	}{
		{"an entry", []events.Request{entry(7)}, done, events.Deleted, nil},
		{"a refused entry", []events.Request{entry(7)}, refusal, events.Invalid, &events.ResultError{Code: events.CodeRejectedByAPI, Message: "no such id"}},
		{"contexts", []events.Request{contexts(7, 8)}, done, events.Deleted, nil},
		{"contexts that share a call", []events.Request{contexts(7), contexts(8), contexts(9)}, done, events.Deleted, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newEnvironment(t)
			target := c.requests[0].Target()
			config := env.config(target, answering(c.answer))
			if target == kvTarget {
				config.BatchIDs, config.BatchLinger = max(len(c.requests), 2), patience
			}
			if len(c.requests) == 1 {
				config.BatchLinger = time.Millisecond
			}
			env.publish(c.requests...)
			env.run(config)
			for _, r := range c.requests {
				want := events.Result{
					Source: "/lethe/" + config.Instance, RequestID: r.ID, RequestSource: "/test", Target: target, Resource: r.Resource,
					Outcome: c.outcome, Attempts: 1, Error: c.problem,
					Evidence: &events.Evidence{Status: c.answer.Status, Message: c.answer.Message, APIRequestID: c.answer.APIRequestID, CallRequests: len(c.requests)},
				}
				got := env.final(target, r.ID)
				if diff := cmp.Diff(want, got, sameResult); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if got.EventID == "" || got.Time.IsZero() || got.Evidence.CallID == "" || got.Evidence.ObservedAt.IsZero() {
					t.Errorf("%+v, %+v", got, got.Evidence)
				}
			}
		})
	}
}

// Another event may take the id while a call without a recorded attempt is in flight.
// Whatever the API answers, the request gets its own result, which describes the call.
func TestAnIDThatIsReusedDuringTheCall(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		answer  deleter.Answer
		outcome events.Outcome
		code    events.Code
	}{
		{"deleted", answerDeleted, events.Deleted, ""},
		{"refused", deleter.Answer{Verdict: deleter.Invalid, Status: 422, Message: "no"}, events.Invalid, events.CodeRejectedByAPI},
		{"busy", answerBusy, events.Invalid, events.CodeIDReused},
		{"no answer", answerLost, events.Invalid, events.CodeIDReused},
		{"the credential is refused", answerUnauthorized, events.Invalid, events.CodeIDReused},
		{"accepted for later", answerPending, events.Invalid, events.CodeIDReused},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newEnvironment(t)
			mine, other := contexts(10), contexts(11)
			other.ID = mine.ID
			theirs := New(env.js, env.config(kvTarget, nil))
			calls := &fakeAPI{}
			calls.answer = func(n int, _ events.Resource) deleter.Answer {
				if n == 1 {
					j := &job{Request: other, progress: ledger.Progress{Attempts: 1, RequestSeq: 9}}
					step := nextStep{outcome: events.Deleted, evidence: events.Evidence{Status: 200, ObservedAt: time.Now()}}
					if err := theirs.publishResult(t.Context(), other.ID, events.Fingerprint(other.Resource), ledger.Progress{}, j.result(step)); err != nil {
						t.Error(err)
					}
				}
				return c.answer
			}
			config := env.config(kvTarget, calls)
			env.run(config)
			env.publish(mine)
			got := env.final(kvTarget, events.SequenceID(1))
			env.settled()
			want := events.Result{
				Source: "/lethe/" + config.Instance, RequestID: events.SequenceID(1), RequestSource: "/test", Target: kvTarget, Resource: mine.Resource,
				Outcome: c.outcome, Attempts: 1,
				Evidence: &events.Evidence{Status: c.answer.Status, Message: c.answer.Message, CallRequests: 1},
			}
			if c.code != "" {
				want.Error = &events.ResultError{Code: c.code}
			}
			if diff := cmp.Diff(want, got, sameResult, cmpopts.IgnoreFields(events.ResultError{}, "Message")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if n := calls.count(); n != 1 {
				t.Errorf("%d calls", n)
			}
			if got := env.results(events.ResultFilter(kvTarget, mine.ID, "")); len(got) != 1 || !cmp.Equal(got[0].Resource, other.Resource) {
				t.Errorf("the results of the id are %+v", got)
			}
		})
	}
}

// The result also describes calls that were made before a due step finds its id in use.
func TestAnIDThatIsReusedWhileItsRequestWaits(t *testing.T) {
	env := newEnvironment(t)
	mine, other := contexts(10), contexts(11)
	other.ID = mine.ID
	calls := answering(deleter.Answer{Verdict: deleter.Retry, Status: 503, RetryAfter: time.Second}, answerDeleted)
	config := env.config(kvTarget, calls)
	config.Rules.Retry.MaxInterval = time.Second
	_, stop := env.run(config)
	env.publish(mine)
	env.waiting()
	stop()
	env.recreateResults() // otherwise another event could not take the id
	env.publishForeign(events.ResultSubject(kvTarget, "some-other", events.Deleted), "{}", nil)
	j := &job{Request: other, progress: ledger.Progress{Attempts: 1, RequestSeq: 9}}
	step := nextStep{outcome: events.Deleted, evidence: events.Evidence{Status: 200, ObservedAt: time.Now()}}
	if err := New(env.js, config).publishResult(t.Context(), other.ID, events.Fingerprint(other.Resource), ledger.Progress{}, j.result(step)); err != nil {
		t.Fatal(err)
	}
	env.run(config)
	got := env.final(kvTarget, events.SequenceID(1))
	env.settled()
	if got.Error == nil || got.Error.Code != events.CodeIDReused || got.Attempts != 1 || calls.count() != 1 {
		t.Errorf("%s after %d attempts, %+v; %d calls", got.Outcome, got.Attempts, got.Error, calls.count())
	}
}

// A replay is for the request that failed, not for another one with its id.
func TestAReplayOfAnotherResourceIsAReusedID(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]events.Request{{contexts(10), contexts(11)}, {entry(7), entry(8)}} {
		first, second := pair[0], pair[1]
		second.ID = first.ID
		t.Run(string(first.Target()), func(t *testing.T) {
			env := newEnvironment(t)
			target := first.Target()
			calls := answering(deleter.Answer{Verdict: deleter.Retry, Status: 503}, answerDeleted)
			config := env.config(target, calls)
			config.Rules.Retry.MaxElapsed = time.Nanosecond
			env.run(config)
			env.publish(first)
			if got := env.final(target, first.ID); got.Outcome != events.Failed {
				t.Fatal(got.Outcome)
			}
			failed, err := New(env.js, config).ledger.Last(t.Context(), first.ID)
			if err != nil {
				t.Fatal(err)
			}
			body, err := second.Encode()
			if err != nil {
				t.Fatal(err)
			}
			env.publishRaw(target, body, nats.Header{"Lethe-Expected": {fmt.Sprint(failed.Seq)}})
			got := env.final(target, events.SequenceID(2))
			env.settled()
			if got.Error == nil || got.Error.Code != events.CodeIDReused || got.Attempts != 0 || got.Evidence != nil {
				t.Errorf("%s after %d attempts, %+v", got.Outcome, got.Attempts, got.Error)
			}
			if n := calls.count(); n != 1 {
				t.Errorf("%d calls", n)
			}
		})
	}
}
