package consumer

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/control"
	"github.com/lethe-dev/lethe/internal/ledger"
	"github.com/lethe-dev/lethe/internal/streams"
)

// pause writes a pause and waits until the lane has seen it.
func (env *environment) pause(l *Lane) {
	env.Helper()
	env.writePause()
	env.until("the lane is paused", func() bool { return l.State().Status == StatusPaused })
}

func (env *environment) writePause() {
	env.Helper()
	if _, _, err := control.Pause(context.Background(), env.js, kvTarget, "vendor asked", "anna", time.Time{}); err != nil {
		env.Error(err)
	}
}

func (env *environment) resume() {
	env.Helper()
	if _, _, err := control.Resume(env.Context(), env.js, kvTarget, "ben"); err != nil {
		env.Fatal(err)
	}
}

// A pause returns the requests that wait for their call, and fetches none.
func TestAPausedLaneReturnsWhatWaitsAndFetchesNothing(t *testing.T) {
	env := newEnvironment(t)
	calls := answering(answerDeleted)
	config := env.config(kvTarget, calls)
	config.Rate = 0.01 // so that all but the first request wait for their turn, for longer than the test
	lane, stop := env.run(config)
	requests := []events.Request{contexts(1), contexts(2), contexts(3), contexts(4)}
	env.publish(requests...)
	env.until("the first call", func() bool { return calls.count() > 0 })
	env.until("requests wait in memory", func() bool { return lane.inflight.size() > 0 })
	env.pause(lane)
	env.until("they are returned, and the last pull has ended", func() bool {
		return lane.inflight.size() == 0 && env.requestsConsumer().NumWaiting == 0
	})
	before, delivered := calls.count(), env.requestsConsumer().Delivered.Consumer
	more := contexts(5)
	env.publish(more)
	time.Sleep(2 * pullWait) // a lane that still pulled would have fetched it by now
	if n := env.requestsConsumer().Delivered.Consumer - delivered; n > 0 || calls.count() != before {
		t.Errorf("%d requests are fetched and %d calls made in a pause", n, calls.count()-before)
	}
	stop()

	other, _ := env.run(env.config(kvTarget, calls))
	env.until("a new worker sees the pause", func() bool { return other.State().Status == StatusPaused })
	if calls.count() != before {
		t.Error("a new worker calls in a pause")
	}
	env.resume()
	for _, r := range append(requests, more) {
		if got := env.final(kvTarget, r.ID); got.Outcome != events.Deleted || got.Attempts != 1 {
			t.Errorf("%s is %s after %d attempts", r.ID, got.Outcome, got.Attempts)
		}
	}
}

// A claim on which no call was made is released in the ledger, too.
func TestAPauseReleasesAClaim(t *testing.T) {
	env := newEnvironment(t)
	r := entry(7)
	calls := answering(answerNotFound)
	l := New(env.js, env.config(sensayTarget, calls))
	l.ledger = &watchedLedger{requestLedger: l.ledger, after: func(subject string) {
		if subject != events.AttemptSubject(sensayTarget, r.ID, 1) {
			return
		}
		if _, _, err := control.Pause(t.Context(), env.js, sensayTarget, "r", "anna", time.Time{}); err != nil {
			t.Error(err)
		}
		<-l.control.Open().Done()
	}}
	d, received := env.delivered(0)
	d.request, d.seq = r, 1
	env.step(l, d)
	if received("-NAK") != 1 || calls.count() != 0 {
		t.Errorf("returned %d times; %d calls", received("-NAK"), calls.count())
	}
	last, err := l.ledger.Last(t.Context(), r.ID)
	if err != nil || last == nil || last.Lease != 0 || last.Progress.Attempts != 0 || last.Progress.MayHaveDeleted {
		t.Errorf("the last record is %+v, %v", last, err)
	}
}

func TestAPauseStopsABisectionBetweenItsCalls(t *testing.T) {
	env := newEnvironment(t)
	calls := refusing(422, false, 3)
	refuse := calls.answer
	var lane *Lane
	ready := make(chan struct{})
	calls.answer = func(call int, res events.Resource) deleter.Answer {
		if call == 1 {
			<-ready
			env.writePause()
			<-lane.control.Open().Done()
		}
		return refuse(call, res)
	}
	requests := []events.Request{contexts(1), contexts(2), contexts(3), contexts(4)}
	env.publish(requests...)
	lane, _ = env.run(env.batchConfig(100, calls))
	close(ready)
	env.until("the lane is paused", func() bool { return lane.State().Status == StatusPaused })
	env.until("nothing is in flight", func() bool { return lane.inflight.size() == 0 })
	if n := calls.count(); n != 1 {
		t.Errorf("%d calls, want the one before the pause", n)
	}
	env.resume()
	for i, r := range requests {
		want := events.Deleted
		if i == 2 {
			want = events.Invalid
		}
		if got := env.final(kvTarget, r.ID); got.Outcome != want {
			t.Errorf("%v is %s, want %s", got.Resource, got.Outcome, want)
		}
	}
}

func TestALaneWithoutItsKeyMakesNoCalls(t *testing.T) {
	env := newEnvironment(t)
	calls := answering(answerDeleted)
	lane, _ := env.run(env.config(kvTarget, calls))
	env.until("the lane runs", func() bool { return lane.control.MayCall() })
	// As `nats kv del` does.
	if _, err := env.js.PublishMsg(t.Context(), &nats.Msg{Subject: streams.LaneKey(kvTarget), Header: nats.Header{"KV-Operation": {"DEL"}}}); err != nil {
		t.Fatal(err)
	}
	env.until("the lane is blocked", func() bool {
		s := lane.State()
		return s.Status == StatusBlocked && s.Code == CodeControlBucket
	})
	before := calls.count()
	r := contexts(1)
	env.publish(r)
	time.Sleep(2 * pullWait)
	if calls.count() != before {
		t.Error("it makes calls")
	}
	if err := streams.Setup(t.Context(), env.js, settings); err != nil {
		t.Fatal(err)
	}
	env.final(kvTarget, r.ID)
}

// A pull that failed before a pause is not a problem during the pause: nothing is fetched then.
func TestAPausedLaneReportsNoPullThatFails(t *testing.T) {
	env := newEnvironment(t)
	lane, _ := env.run(env.config(kvTarget, answering()))
	env.pause(lane)
	env.until("the last pull has ended", func() bool { return env.requestsConsumer().NumWaiting == 0 })
	lane.pulls.mu.Lock()
	lane.pulls.failing[events.StreamRequests] = ledger.Failure{Reason: "no reply", Fix: "wait", Since: time.Now().Add(-time.Minute)}
	lane.pulls.mu.Unlock()
	if s := lane.State(); s.Status != StatusPaused || len(s.Further) > 0 {
		t.Errorf("%+v", s)
	}
}

// deadlines records the start deadline of the latest call.
type deadlines struct{ until time.Time }

func (d *deadlines) Delete(ctx context.Context, _ events.Resource) deleter.Answer {
	d.until, _ = deleter.StartDeadline(ctx)
	return answerDeleted
}

// A worker that is stopped between the check and the write must not call later.
func TestACallMustBeginWhileTheLaneMayCall(t *testing.T) {
	env := newEnvironment(t)
	var called deadlines
	lane := New(env.js, env.config(kvTarget, &called))
	env.mayCall(lane)
	j := &job{delivery: &delivery{}, Request: contexts(1), startDeadline: time.Now().Add(time.Hour)}
	if _, made := lane.call(t.Context(), []*job{j}); !made {
		t.Fatal("no call was made")
	}
	if latest := time.Now().Add(control.BeginWithin); called.until.IsZero() || called.until.After(latest) {
		t.Errorf("the call may begin until %s, but the lane may call until %s at most", called.until, latest)
	}
}
