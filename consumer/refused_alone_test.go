package consumer

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
)

// firstID is the first id that a resource names.
func firstID(res events.Resource) int64 {
	if contexts, ok := res.(events.UserContexts); ok {
		return contexts.IDs[0]
	}
	return res.(events.KnowledgeBaseEntry).KnowledgeBaseID
}

// forbiddingAPI refuses a call with 403 if it names an id of at most upTo, and any call
// while the credential is revoked.
type forbiddingAPI struct {
	fakeAPI
	upTo    int64
	revoked atomic.Int64 // the status of its answers, 0 for a good credential
	version atomic.Int64 // of the credential
	refused atomic.Int64 // refused calls
}

func newForbiddingAPI(upTo int64) *forbiddingAPI {
	f := &forbiddingAPI{upTo: upTo}
	f.answer = func(_ int, res events.Resource) deleter.Answer {
		answer := answerDeleted
		if status := f.revoked.Load(); status != 0 {
			answer = deleter.Answer{Verdict: deleter.CredentialRefused, Status: int(status), Message: "revoked"}
		}
		ids := []int64{firstID(res)}
		if contexts, ok := res.(events.UserContexts); ok {
			ids = contexts.IDs
		}
		for _, id := range ids {
			if id <= f.upTo {
				answer = answerForbidden
			}
		}
		if answer.Verdict == deleter.CredentialRefused {
			f.refused.Add(1)
		}
		answer.Credential = int(f.version.Load())
		return answer
	}
	return f
}

// request returns a request for a target.
func request(target events.Target, id int64) events.Request {
	if target == kvTarget {
		return contexts(id)
	}
	return entry(id)
}

// Requests that the API refuses must not delay others. They fail once it is known that only
// they are refused.
func TestRefusedRequestsDelayNoOthersAndEnd(t *testing.T) {
	t.Parallel()
	for _, target := range events.Targets() {
		t.Run(string(target), func(t *testing.T) {
			env := newEnvironment(t)
			api := newForbiddingAPI(25)
			c := env.configFor(target, api)
			c.BatchLinger = 5 * time.Millisecond
			c.Rules.Retry.MaxInterval, c.Rules.Retry.MaxElapsed = 200*time.Millisecond, 300*time.Millisecond
			lane, _ := env.run(c)
			var bad []events.Request
			for id := range int64(25) {
				bad = append(bad, request(target, id+1))
			}
			env.publish(bad...)
			env.until("the lane is suspended", func() bool { return lane.State().Status == StatusSuspended })
			id := int64(1000)
			good := func() {
				r := request(target, id)
				id++
				env.publish(r)
				if got := env.final(target, r.ID); got.Outcome != events.Deleted {
					t.Errorf("a request that is not refused is %s, %+v", got.Outcome, got.Error)
				}
			}
			for range 20 {
				good()
			}
			env.until("the refused ones have failed", func() bool {
				good()
				return len(env.results(events.ResultFilter(target, "", events.Failed))) == len(bad)
			})
			for _, r := range env.results(events.ResultFilter(target, "", events.Failed)) {
				if r.Error.Code != events.CodeRefusedByAPI || firstID(r.Resource) > 25 || r.Evidence.CallRequests != 1 || r.Evidence.Status != 403 {
					t.Errorf("%v: %+v, %+v", r.Resource, r.Error, r.Evidence)
				}
			}
			env.settled()
			if state := lane.State(); state.Status != StatusRunning || len(state.Problems()) > 0 {
				t.Errorf("after all requests the lane is %+v", state)
			}
		})
	}
}

// A request that is always refused says nothing about the credential.
func TestARefusedRequestNeverBlocksTheLane(t *testing.T) {
	env := newEnvironment(t)
	api := newForbiddingAPI(1)
	lane, _ := env.run(env.config(sensayTarget, api))
	env.publish(entry(1))
	env.until("it is refused more often than it takes to suspend a lane", func() bool { return api.refused.Load() > refusalsToSuspend })
	if state := lane.State(); state.Status != StatusRunning || len(state.Problems()) != 1 || !strings.Contains(state.Problems()[0].Reason, "wait: 1") {
		t.Errorf("%+v", state)
	}
	if n := len(env.results("deletions.results.>")); n != 0 {
		t.Errorf("%d results, though no request was accepted", n)
	}
}

// However long a credential is revoked, no request fails, and few calls are made.
func TestARevokedCredentialFailsNoRequest(t *testing.T) {
	t.Parallel()
	for _, status := range []int64{401, 403} {
		for _, target := range events.Targets() {
			t.Run(fmt.Sprint(status, " ", target), func(t *testing.T) {
				env := newEnvironment(t)
				api := newForbiddingAPI(0)
				c := env.config(target, api)
				c.Rules.Retry.MaxElapsed = 0
				c.Rules.Retry.InitialInterval, c.Rules.Retry.MaxInterval = 20*time.Millisecond, 50*time.Millisecond
				lane, _ := env.run(c)
				first := request(target, 1)
				env.publish(first) // the credential is accepted once
				env.final(target, first.ID)
				api.revoked.Store(status)
				const n = 60
				for id := range int64(n) {
					env.publish(request(target, id+2))
				}
				env.until("the lane is suspended", func() bool { return lane.State().Status == StatusSuspended })
				before := api.refused.Load()
				if most := int64(refusalsToSuspend + 2*c.Concurrency); before > most {
					t.Errorf("%d calls until the lane is suspended, want at most %d", before, most)
				}
				probes := api.refused.Load() + 10
				env.until("it is probed for some time", func() bool { return api.refused.Load() > probes })
				if lane.State().Status != StatusSuspended {
					t.Error("the lane is no longer suspended")
				}
				api.revoked.Store(0)
				env.settled()
				if got := len(env.results(events.ResultFilter(target, "", events.Deleted))); got != n+1 {
					t.Errorf("%d of %d are deleted", got, n+1)
				}
			})
		}
	}
}

// Without the change the request would wait for an hour.
func TestAChangedCredentialIsTriedAtOnce(t *testing.T) {
	env := newEnvironment(t)
	api := newForbiddingAPI(0)
	api.revoked.Store(401)
	c := env.config(sensayTarget, api)
	c.Rules.Retry.InitialInterval, c.Rules.Retry.MaxInterval = time.Hour, time.Hour
	lane, _ := env.run(c)
	r := entry(1)
	env.publish(r)
	env.until("the request is scheduled", func() bool { return len(env.messages(events.StreamLater, "deletions.later.>")) == 1 })
	api.revoked.Store(0)
	lane.Retry()
	if got := env.final(sensayTarget, r.ID); got.Outcome != events.Deleted || got.Attempts != 2 {
		t.Errorf("%s after %d attempts", got.Outcome, got.Attempts)
	}
	env.settled()
}

// As in package limiter: the failures in a row that open the breaker, and the refusals with
// 403 that suspend a lane.
const failuresToOpen, refusalsToSuspend = 10, 20

// While others wait, a request that was refused is not the probe.
func TestARequestRefusedAloneProbesOnlyIfNoOtherWaits(t *testing.T) {
	env := newEnvironment(t)
	api := newForbiddingAPI(0)
	api.revoked.Store(401)
	c := env.config(sensayTarget, api)
	lane, _ := env.run(c)
	env.publish(entry(1))
	env.until("the request is refused again as the only one", func() bool { return api.refused.Load() > 3 })
	var more []events.Request
	for id := range int64(5) {
		more = append(more, entry(id+2))
	}
	from := api.refused.Load()
	env.publish(more...)
	// One or two probes may have begun before the others arrived.
	const late = 2
	env.until("calls are made for all", func() bool { return api.refused.Load() >= from+int64(len(more)+late) })
	seen := map[string]bool{}
	api.mu.Lock()
	calls := api.calls[from : from+int64(len(more)+late)]
	api.mu.Unlock()
	for _, call := range calls {
		seen[call] = true
	}
	delete(seen, fmt.Sprint(entry(1).Resource))
	if len(seen) < len(more) {
		t.Errorf("%d calls for %d different requests: %v", len(calls), len(seen), calls)
	}
	if status := lane.State().Status; status != StatusSuspended {
		t.Error(status)
	}
}

func TestABreakerWithoutARequestToProbeWithCloses(t *testing.T) {
	env := newEnvironment(t)
	api := newForbiddingAPI(0)
	c := env.config(sensayTarget, api)
	answer := api.answer
	var down atomic.Bool
	down.Store(true)
	api.answer = func(n int, res events.Resource) deleter.Answer {
		if down.Load() {
			return answerLost
		}
		return answer(n, res)
	}
	c.Rules.Retry.MaxElapsed = 0
	lane, _ := env.run(c)
	for id := range int64(failuresToOpen) {
		env.publish(entry(id + 1))
	}
	env.until("the breaker is open", func() bool { return lane.State().Status == StatusFailing })
	env.settled() // all have failed
	env.until("the lane runs again", func() bool { return lane.State().Status == StatusRunning })
	down.Store(false)
	r := entry(100)
	env.publish(r)
	env.final(sensayTarget, r.ID)
}
