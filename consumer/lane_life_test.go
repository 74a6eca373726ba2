package consumer

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/streams"
)

func TestAFullResultsStreamBlocksTheLaneUntilItHasSpace(t *testing.T) {
	env := newEnvironment(t)
	stream, err := env.js.Stream(t.Context(), events.StreamResults)
	if err != nil {
		t.Fatal(err)
	}
	limit := func(n int64) {
		t.Helper()
		config := stream.CachedInfo().Config
		config.MaxMsgs = n
		if _, err := env.js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	limit(1)
	api := answering(answerDeleted)
	lane, _ := env.run(env.config(sensayTarget, api))
	r := entry(7)
	env.publish(r) // its attempt is stored, its result is not
	env.until("the lane is blocked", func() bool { return lane.State().Status == StatusBlocked })
	if s := lane.State(); !strings.Contains(s.Reason, "stream "+events.StreamResults+": ") || !strings.Contains(s.Fix, "raise max_msgs with `nats stream edit DELETION_RESULTS --max-msgs`") || strings.Contains(s.Reason, r.ID) {
		t.Errorf("it names no stream, or no fix: %+v", s)
	}
	if n := len(env.messages(events.StreamRequests, ">")); n != 1 {
		t.Errorf("%d requests wait, want 1: it must not be acknowledged without its result", n)
	}
	limit(-1)
	if got := env.final(sensayTarget, r.ID); got.Outcome != events.Deleted || api.count() != 1 {
		t.Errorf("%s after %d calls", got.Outcome, api.count())
	}
	env.until("the lane runs again", func() bool { return lane.State().Status == StatusRunning })
}

func TestAMissingResultsStreamBlocksTheLane(t *testing.T) {
	env := newEnvironment(t)
	api := answering(answerDeleted)
	lane, _ := env.run(env.config(sensayTarget, api))
	if err := env.js.DeleteStream(t.Context(), events.StreamResults); err != nil {
		t.Fatal(err)
	}
	r := entry(7)
	env.publish(r)
	env.until("the lane does not run", func() bool { return lane.State().Status != StatusRunning })
	if api.count() != 0 {
		t.Errorf("%d calls without a stream for their attempts", api.count())
	}
	if err := streams.Setup(t.Context(), env.js, streams.Settings{Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	env.final(sensayTarget, r.ID)
}

// The records, with the attempt, are lost while the call is in flight.
func TestAnAnswerIsStoredEvenIfItsRecordsAreGone(t *testing.T) {
	t.Parallel()
	for _, r := range []events.Request{contexts(10), entry(7)} {
		t.Run(string(r.Target()), func(t *testing.T) {
			env := newEnvironment(t)
			recreate := func() {
				if err := env.js.DeleteStream(t.Context(), events.StreamResults); err != nil {
					t.Error(err)
				}
				if err := streams.Setup(t.Context(), env.js, settings); err != nil {
					t.Error(err)
				}
			}
			api := &fakeAPI{answer: func(call int, _ events.Resource) deleter.Answer {
				recreate()
				return []deleter.Answer{answerBusy, answerDeleted, answerNotFound}[min(call, 3)-1]
			}}
			env.run(env.config(r.Target(), api))
			env.publish(r)
			if got := env.final(r.Target(), r.ID); got.Outcome != events.Deleted || api.count() != 2 {
				t.Errorf("%s after %d calls", got.Outcome, api.count())
			}
			env.settled()
		})
	}
}

// Another worker may have made an attempt while this one was stopped in its call, and its
// record went with the others.
func TestAnAnswerWhoseRecordsAreGoneDoesNotMakeALaterNotFoundTrue(t *testing.T) {
	env := newEnvironment(t)
	env.run(env.config(sensayTarget, &fakeAPI{answer: func(call int, _ events.Resource) deleter.Answer {
		if call == 1 {
			env.recreateResults()
			return answerBusy
		}
		return answerNotFound
	}}))
	r := entry(7)
	env.publish(r)
	got := env.final(sensayTarget, r.ID)
	if got.Outcome != events.Deleted || !got.Evidence.AfterUnansweredAttempt {
		t.Errorf("%s, %+v", got.Outcome, got.Evidence)
	}
}

func TestStoppingFinishesCallsInFlightAndReturnsTheOtherMessages(t *testing.T) {
	env := newEnvironment(t)
	calling, proceed := make(chan struct{}, 100), make(chan struct{})
	release := sync.OnceFunc(func() { close(proceed) })
	defer release()
	slow := &fakeAPI{answer: func(int, events.Resource) deleter.Answer {
		calling <- struct{}{}
		<-proceed
		return answerDeleted
	}}
	c := env.config(sensayTarget, slow)
	c.Concurrency = 2
	_, stop := env.run(c)
	for i := range 10 {
		env.publish(entry(int64(i + 1)))
	}
	<-calling
	<-calling
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	env.run(env.config(sensayTarget, answering(answerDeleted)))
	env.until("another worker does the rest", func() bool { return len(env.results("deletions.results.>")) == 8 })
	release()
	<-stopped
	if n := len(env.results("deletions.results.>")); n != 10 || slow.count() != 2 {
		t.Errorf("%d results, %d calls by the first worker", n, slow.count())
	}
	env.settled()
}

func TestALaneSurvivesAServerRestart(t *testing.T) {
	env := newEnvironment(t)
	dir := env.server.StoreDir()
	calling, proceed := make(chan struct{}), make(chan struct{})
	slow := &fakeAPI{answer: func(n int, _ events.Resource) deleter.Answer {
		if n == 1 {
			close(calling)
			<-proceed
		}
		return answerDeleted
	}}
	env.run(env.config(sensayTarget, slow))
	first, second := entry(7), entry(8)
	env.publish(first)
	<-calling
	address := env.server.Addr()
	env.server.Shutdown()
	env.server.WaitForShutdown()
	close(proceed) // the result cannot be stored yet
	env.server = startServer(t, dir, address.(*net.TCPAddr).Port)
	env.until("the connection is back", func() bool { return env.nc.IsConnected() })
	if got := env.final(sensayTarget, first.ID); got.Outcome != events.Deleted || got.Attempts != 1 {
		t.Errorf("%s after %d attempts", got.Outcome, got.Attempts)
	}
	env.publish(second)
	env.final(sensayTarget, second.ID)
}

func TestALaneThatStartsWithoutAConsumerWaitsForIt(t *testing.T) {
	env := newEnvironment(t)
	if err := env.js.DeleteConsumer(t.Context(), events.StreamLater, string(kvTarget)); err != nil {
		t.Fatal(err)
	}
	lane, _ := env.run(env.config(kvTarget, answering(answerDeleted)))
	env.until("the lane is blocked", func() bool {
		return lane.State().Status == StatusBlocked && strings.Contains(lane.State().Reason, "missing")
	})
	if err := streams.Setup(t.Context(), env.js, settings); err != nil {
		t.Fatal(err)
	}
	r := contexts(1)
	env.publish(r)
	env.final(kvTarget, r.ID)
}

// A request is claimed, but its turn to call does not come. The next worker must not take the
// claim for an unanswered call.
func TestAClaimWithoutACallIsReleased(t *testing.T) {
	env := newEnvironment(t)
	hanging, stop := env.run(env.config(sensayTarget, answering()))
	for range hanging.config.Concurrency { // calls that do not end
		if _, err := hanging.limiter.Wait(t.Context(), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	r := entry(7)
	env.publish(r)
	env.until("the request is claimed", func() bool { return len(env.messages(events.StreamResults, ">")) > 0 })
	stop()
	api := answering(answerNotFound)
	env.run(env.config(sensayTarget, api))
	got := env.final(sensayTarget, r.ID)
	if got.Outcome != events.NotFound || got.Attempts != 1 || got.Evidence.AfterUnansweredAttempt || api.count() != 1 {
		t.Errorf("%s after %d attempts and %d calls, after an unanswered one: %v", got.Outcome, got.Attempts, api.count(), got.Evidence.AfterUnansweredAttempt)
	}
}

// A server that was disconnected shows for a moment the schedule that the step in flight
// came from. A worker that waited for that schedule would never continue.
func TestAStepDoesNotWaitForTheScheduleThatItCameFrom(t *testing.T) {
	env := newEnvironment(t)
	r := entry(7)
	body, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	other := New(env.js, env.config(sensayTarget, nil))
	if _, err := recordAttempt(t.Context(), other.ledger, r.ID, events.Fingerprint(r.Resource), ledger.Progress{Attempts: 1, FirstAttempt: time.Now(), RequestSeq: 1}, 0); err != nil {
		t.Fatal(err)
	}
	if err := other.ledger.Schedule(t.Context(), r.ID, &nats.Msg{Data: body}, ledger.Progress{RequestSeq: 1}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	due := &nats.Msg{Subject: events.DueSubject(sensayTarget), Data: body, Header: nats.Header{}}
	ledger.Progress{RequestSeq: 1}.Write(due.Header)
	if _, err := env.js.PublishMsg(t.Context(), due); err != nil {
		t.Fatal(err)
	}
	env.run(env.config(sensayTarget, answering(answerDeleted)))
	if got := env.final(sensayTarget, r.ID); got.Outcome != events.Deleted {
		t.Error(got.Outcome)
	}
}
